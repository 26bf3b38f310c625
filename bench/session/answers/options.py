"""What the command line asks about accuracy, of any device."""

from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError

ANSWERS = Path("out/answers")


@dataclass(frozen=True)
class PathOptions:
    """As on the command line.

    Attributes:
        wanted: whether the whole path, from picture to answer, is timed beside the model's call.
        picture: what it is timed with; None for held-out pictures.
    """

    wanted: bool = False
    picture: Path | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a picture that nothing is timed with."""
        if self.picture is not None and not self.wanted:
            raise UsageError(f"--picture {self.picture}: the whole path is not timed. Add --path, or leave it out.")


@dataclass(frozen=True)
class AccuracyOptions:
    """As on the command line.

    Attributes:
        images: held-out images per artifact; 0 for none.
        data: where these lie now; None for where the manifest says.
        keep: where logits of phones are kept, a folder for each session.
        repeat: calls with one input in each launch, whose outputs are compared.
    """

    images: int = 0
    data: Path | None = None
    keep: Path = ANSWERS
    repeat: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError for a place of data that nothing is read from."""
        if self.data is not None and not self.images:
            raise UsageError(f"--data {self.data}: no picture is read without --accuracy N. Add that, or leave it out.")
