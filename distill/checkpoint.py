"""CONTRACT 1: a trained network on disk, `card.json` beside `weights.safetensors`."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import JsonValue

from distill.contract import Contract, Strict, sha256_of_file, write_whole
from distill.errors import UsageError
from distill.vision.datasets import DatasetConfig, Split, SplitName
from distill.vision.datasets.moved import moved
from distill.vision.preprocess import Preprocess

if TYPE_CHECKING:  # cards are read by commands that should answer before torch is loaded
    from distill.vision.models import ImageClassifier

CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"


class Metrics(Strict):
    """Quality on the whole validation split after one epoch.

    Attributes:
        epoch: 1-based.
        accuracy, macro_f1: fractions in [0, 1].
        ece: expected calibration error, 15 bins, in [0, 1].
        entropy_nats: mean entropy of the predicted distribution, temperature 1.
        loss: mean cross-entropy.
    """

    epoch: int
    accuracy: float
    macro_f1: float
    ece: float
    entropy_nats: float
    loss: float


class DataIdentity(Strict):
    """Which data a network was trained and validated on, and how to load them again."""

    config: DatasetConfig
    train_sha256: str
    validation_sha256: str
    num_train: int
    num_validation: int

    def load(self, split: SplitName, preprocess: Preprocess, place: Path | None = None) -> Split:
        """One of the two splits, as it was.

        Args:
            split: `train` or `validation`.
            preprocess: what the network sees.
            place: the data's folder now; None for the one of then.

        Raises:
            UsageError: it is missing or unreadable, or its images, labels or classes have changed since.
        """
        config = self.config if place is None else moved(self.config, place)
        try:
            found = config.load(split, preprocess)
        except UsageError as error:
            then = getattr(self.config, "path", None)
            if place is not None or then is None:
                raise
            where = "" if Path(then).is_absolute() else ", relative to the folder that the run was started in"
            raise UsageError(
                f"{error} The run's data were in {then!r}{where}. If they lie elsewhere now, name the place: "
                "--data FOLDER"
            ) from error
        expected = self.train_sha256 if split == "train" else self.validation_sha256
        sha256 = found.sha256()
        if sha256 != expected:
            count = self.num_train if split == "train" else self.num_validation
            raise UsageError(
                f"the {split} images of {getattr(config, 'path', config.kind)} are not those this checkpoint was "
                f"trained with: {len(found)} images with hash {sha256[:12]}…, the card says {count} with "
                f"{expected[:12]}…. Accuracy measured on them would not be this model's. Put the old data back, name "
                "their place with --data FOLDER, or train again on the new."
            )
        return found


class Training(Strict):
    """Where the weights come from.

    Attributes:
        method: name of the distillation method (`scratch` without a teacher).
        config: the whole run configuration; `python -m distill run` accepts it again.
        teacher_sha256: weights hash of the teacher, or of the file it was brought as; None without a teacher.
        epoch: the epoch (1-based) after which these weights were taken.
        best, last: metrics of the best epoch (by validation accuracy, which a quantization-aware run takes under
            rounding) and of the last one; all of them are of the network in float.
        finished: False while the run that writes this is still going.
    """

    method: str
    config: dict[str, JsonValue]
    teacher_sha256: str | None
    data: DataIdentity
    seed: int
    epoch: int
    best: Metrics
    last: Metrics
    finished: bool


class Card(Contract):
    """What a checkpoint says of itself.

    Attributes:
        model: name as in `distill.vision.models`.
        temperature: the logits are divided by it; 1 unless the model was calibrated by temperature scaling.
        training: None for weights that were brought from elsewhere.
        versions: package versions at the time of writing.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    model: str
    class_names: tuple[str, ...]
    preprocess: Preprocess
    temperature: float
    num_parameters: int
    weights_sha256: str
    training: Training | None
    versions: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the card, the classifier in eval mode on the CPU, and where it lies."""

    card: Card
    model: "ImageClassifier"
    folder: Path


def save(
    folder: Path,
    model: "ImageClassifier",
    *,
    name: str,
    class_names: tuple[str, ...],
    preprocess: Preprocess,
    training: Training | None,
) -> Card:
    """Write weights and card into `folder`; each file appears whole or not at all, the card last.

    Only the network's own weights are stored: no adapters, no teacher, no normalisation constants.

    Raises:
        WorkFailed: full disk or unwritable folder.
    """
    from safetensors.torch import save as serialize

    weights = {key: value.detach().cpu().contiguous() for key, value in model.network.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, serialize(weights))
    card = Card(
        model=name,
        class_names=class_names,
        preprocess=preprocess,
        temperature=model.temperature,
        num_parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        weights_sha256=sha256_of_file(folder / WEIGHTS_FILE),
        training=training,
        versions=versions(),
    )
    card.write(folder / CARD_FILE)
    return card


def find(path: Path) -> Path:
    """The checkpoint folder meant by `path`: itself, or `best/` of a run folder.

    Raises:
        UsageError: there is no checkpoint there.
    """
    for folder in (path, path / "best"):
        if (folder / CARD_FILE).is_file():
            return folder
    what = "no such folder" if not path.exists() else f"neither it nor its best/ holds a {CARD_FILE}"
    raise UsageError(
        f"{path} is not a checkpoint: {what}. Expected a run folder or a folder with {CARD_FILE} and {WEIGHTS_FILE}; "
        "train one with: python -m distill run RECIPE"
    )


def read_card(folder: Path) -> Card:
    """The card of a checkpoint folder, after verifying that the weights are the ones it speaks of; needs no torch.

    Raises:
        UsageError: a broken card, or weights that do not match it.
    """
    card = Card.read(folder / CARD_FILE)
    weights_file = folder / WEIGHTS_FILE
    if not weights_file.is_file():
        raise UsageError(f"{folder} has a card but no {WEIGHTS_FILE}. Copy the missing file back or train again.")
    found = sha256_of_file(weights_file)
    if found != card.weights_sha256:
        raise UsageError(
            f"{weights_file} does not match its card: SHA-256 is {found[:12]}…, the card says "
            f"{card.weights_sha256[:12]}…. The file was changed or cut off; copy it again or train again."
        )
    return card


def load(path: Path) -> Checkpoint:
    """Read a checkpoint after verifying that the weights are the ones the card speaks of.

    Raises:
        UsageError: no checkpoint, a broken card, weights that do not match the card, or an unknown network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from distill.vision.models import build

    folder = find(path)
    card = read_card(folder)
    weights_file = folder / WEIGHTS_FILE
    model = build(card.model, num_classes=len(card.class_names), preprocess=card.preprocess)
    try:
        model.network.load_state_dict(load_file(weights_file))
    except (SafetensorError, RuntimeError) as error:
        raise UsageError(f"{weights_file} does not fit the network {card.model!r}: {error}") from error
    model.temperature = card.temperature
    return Checkpoint(card, model.eval(), folder)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the named packages (default: those that decide what a training run computes)."""
    names = packages or ("torch", "torchvision", "timm", "lightning-fabric", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
