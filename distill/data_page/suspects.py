"""Which labels a trained network doubts: confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068).

A label is doubted if the network is surer of another class than it is of that class's own pictures on average. The
estimate is cleanlab's.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distill.data_page.survey import PictureFolder, Place
from distill.errors import UsageError
from distill.vision.datasets.split import Split, SplitName

if TYPE_CHECKING:
    from distill.checkpoint import Checkpoint


@dataclass(frozen=True)
class Suspect:
    """One picture whose label is doubted.

    Attributes:
        file: where it lies.
        name: its path relative to the data set, readable.
        split: where it belongs.
        label: what it is said to be.
        rather: what the network takes it for.
        confidence: probability that the network gives to its label, in [0, 1].
        is_trained_on: True if the network was trained on this picture with this label, so that it doubts it less.
    """

    file: Place
    name: str
    split: SplitName
    label: str
    rather: str
    confidence: float
    is_trained_on: bool


@dataclass(frozen=True)
class Doubts:
    """What a network doubts.

    Attributes:
        judge: the network and where it lies, in words.
        suspects: the least likely labels first; those of pictures that it was not trained on before the others.
    """

    judge: str
    suspects: tuple[Suspect, ...]


def find_suspects(run: Path, config: PictureFolder) -> Doubts:
    """Ask a trained network for every picture of a folder.

    Args:
        run: a run folder or a checkpoint; of a run with a teacher, the teacher is asked.
        config: the pictures.

    Raises:
        UsageError: no such network, other classes than the folder's, or cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--suspects needs {error.name}, which is not installed: pip install 'pocket-distill[suspects]'"
        ) from error
    from distill import checkpoint

    loaded = checkpoint.load(run / "teacher" if (run / "teacher").exists() else run)
    splits: dict[SplitName, Split] = {}
    names: tuple[SplitName, ...] = ("train", "validation", "test") if config.has_test else ("train", "validation")
    for name in names:
        splits[name] = config.load(name, loaded.card.preprocess)
    classes = splits["train"].class_names
    if loaded.card.class_names != classes:
        raise UsageError(
            f"{loaded.folder} was trained for the classes {', '.join(loaded.card.class_names)}; the folder has "
            f"{', '.join(classes)}. Ask a network that was trained on these pictures."
        )
    files: dict[str, Place] = {
        config.name(file): file  # pyright: ignore[reportArgumentType]
        for part in config.find().parts.values()
        for file in part.files
    }
    training = loaded.card.training
    trained_on: set[SplitName] = {
        name for name, split in splits.items() if training and split.sha256() == training.data.train_sha256
    }
    parts: list[list[SplitName]] = [
        [name for name in names if name not in trained_on],
        [name for name in names if name in trained_on],
    ]
    suspects: list[Suspect] = []
    for part in filter(None, parts):
        labels = np.concatenate([splits[name].labels for name in part])
        probabilities = np.concatenate([_probabilities(loaded, splits[name]) for name in part])
        places: list[tuple[SplitName, int]] = [(name, index) for name in part for index in range(len(splits[name]))]
        doubted = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
        chosen = [places[position] for position in doubted]
        suspects += _described(chosen, probabilities[doubted], splits, files, trained_on)
    return Doubts(f"{loaded.card.model} in {loaded.folder}", tuple(suspects))


def _described(
    places: Sequence[tuple[SplitName, int]],
    probabilities: NDArray[np.float64],
    splits: Mapping[SplitName, Split],
    files: Mapping[str, Place],
    trained_on: Collection[SplitName],
) -> Iterator[Suspect]:
    for (name, index), likely in zip(places, probabilities, strict=True):
        split = splits[name]
        assert split.names is not None
        label, file = int(split.labels[index]), split.names[index]
        others = np.where(np.arange(len(likely)) == label, -1, likely)
        yield Suspect(
            file=files[file],
            name=file,
            split=name,
            label=split.class_names[label],
            rather=split.class_names[int(others.argmax())],
            confidence=float(likely[label]),
            is_trained_on=name in trained_on,
        )


def _probabilities(loaded: "Checkpoint", split: Split) -> NDArray[np.float64]:
    import torch

    from distill.evaluation.evaluate import predict
    from distill.training.batches import Batches

    logits = predict(loaded.model, Batches(split, batch_size=256, device=torch.device("cpu")))
    return logits.double().softmax(dim=1).numpy()
