"""A data set whose files lie elsewhere now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.vision.datasets import DatasetConfig
from distill.vision.datasets.held_back import HeldBack

FILES = ("_csv", "_file", "_table")
"""What the names of settings end with that name one more file of a data set."""


def moved(config: DatasetConfig, place: Path) -> DatasetConfig:
    """The same data set with its files in `place`; files beside or in its old folder are looked for there, too.

    Raises:
        UsageError: the data set is not read from files.
    """
    if isinstance(config, HeldBack):
        return config.model_copy(update={"of": moved(config.of, place)})
    old = getattr(config, "path", None)
    if old is None:
        raise UsageError(
            f"--data {place}: the data set {config.kind} is drawn, not read, so it lies nowhere. Leave it out."
        )
    changes = {"path": str(place)}
    for name in type(config).model_fields:
        file = getattr(config, name)
        if name.endswith(FILES) and isinstance(file, str):
            inside = place / Path(file).relative_to(old) if Path(file).is_relative_to(old) else place / Path(file).name
            beside = place.parent / Path(file).name
            changes[name] = str(
                next((candidate for candidate in (inside, Path(file), beside) if candidate.is_file()), inside)
            )
    return config.model_copy(update=changes)


def without_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A data set's settings as JSON without where its files lie: of a table or list beside them the name alone is left.

    What the files hold is compared by hash; where they are read from does not decide what a run becomes.
    """
    left: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "path":
            continue
        if name == "of" and isinstance(value, Mapping):
            left[name] = without_place(value)
        elif name.endswith(FILES) and isinstance(value, str):
            left[name] = Path(value).name
        else:
            left[name] = value
    return left
