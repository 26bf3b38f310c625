"""CONTRACT 1: a trained network on disk, `card.json` beside `weights.safetensors`."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import JsonValue

from distill.contract import Contract, Strict, sha256_of_file, write_whole
from distill.errors import UsageError
from distill.vision.datasets import DatasetConfig, Split, SplitName
from distill.vision.datasets.moved import moved
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TaskName

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

    @property
    def quality(self) -> float:
        """By the task's measure."""
        return self.accuracy

    @property
    def share(self) -> float:
        """A share in [0, 1], the more the better: accuracy, mIoU, or the pixels within a factor of 1.25 in depth."""
        return self.accuracy

    def figures(self) -> dict[str, str]:
        """For people, title -> value; the task's measure first."""
        return {
            "accuracy": f"{100 * self.accuracy:.2f} %",
            "macro F1": f"{self.macro_f1:.3f}",
            "ECE": f"{self.ece:.3f}",
            "entropy (nats)": f"{self.entropy_nats:.3f}",
            "loss": f"{self.loss:.3f}",
        }


class SegmentationMetrics(Strict):
    """Quality of masks over all pixels of a split whose class is known.

    Attributes:
        epoch: 1-based.
        miou: mean intersection over union of the classes that are there or answered, in [0, 1].
        class_iou: of each class, in the order of the class names; None for one that is neither there nor answered.
        dice: mean Dice coefficient of the same classes, in [0, 1].
        pixel_accuracy: share of the pixels that are answered rightly, in [0, 1].
        loss: mean cross-entropy of a pixel.
    """

    epoch: int
    miou: float
    class_iou: tuple[float | None, ...]
    dice: float
    pixel_accuracy: float
    loss: float

    @property
    def quality(self) -> float:
        """By the task's measure."""
        return self.miou

    @property
    def share(self) -> float:
        """A share in [0, 1], the more the better: accuracy, mIoU, or the pixels within a factor of 1.25 in depth."""
        return self.miou

    def figures(self) -> dict[str, str]:
        """For people, title -> value; the task's measure first."""
        return {
            "mIoU": f"{100 * self.miou:.2f} %",
            "Dice": f"{self.dice:.3f}",
            "pixel accuracy": f"{100 * self.pixel_accuracy:.2f} %",
            "loss": f"{self.loss:.3f}",
        }


class DepthMetrics(Strict):
    """Quality of depth maps over all pixels of a split whose depth is known.

    Attributes:
        epoch: 1-based.
        rmse_m: root of the mean squared error, in metres.
        rel: mean of the absolute error as a share of the depth.
        delta1: share of the pixels whose depth is right within a factor of 1.25, in [0, 1].
        loss: mean absolute error, in metres.
    """

    epoch: int
    rmse_m: float
    rel: float
    delta1: float
    loss: float

    @property
    def quality(self) -> float:
        """By the task's measure."""
        return self.rmse_m

    @property
    def share(self) -> float:
        """A share in [0, 1], the more the better: accuracy, mIoU, or the pixels within a factor of 1.25 in depth."""
        return self.delta1

    def figures(self) -> dict[str, str]:
        """For people, title -> value; the task's measure first."""
        return {
            "RMSE": f"{self.rmse_m:.3f} m",
            "REL": f"{self.rel:.3f}",
            "δ < 1.25": f"{100 * self.delta1:.2f} %",
            "mean error": f"{self.loss:.3f} m",
        }


AnyMetrics = Metrics | SegmentationMetrics | DepthMetrics


def of_classifier(metrics: AnyMetrics) -> Metrics:
    """The metrics of a classifier of pictures; raises UsageError for those of another task."""
    if not isinstance(metrics, Metrics):
        raise UsageError("this is for classifiers of pictures; these networks answer for every pixel.")
    return metrics


class Mistake(Strict):
    """An image that is taken for another class.

    Attributes:
        image: its position in the split, from 0.
        name: of its file, relative to the data set; empty where there is none.
        label, taken_for: places in the class names.
        confidence: probability of the wrong class, in [0, 1].
    """

    image: int
    name: str
    label: int
    taken_for: int
    confidence: float


class Judgement(Strict):
    """What a network answers to a whole split, class by class.

    Attributes:
        metrics: `epoch` is the one whose weights were asked.
        images: of each class, in the order of the class names; pixels where every pixel has a class, empty where none
            has.
        right: how many of them are answered rightly.
        confusions: (class, class that it is taken for, images), the most frequent first, 1,000 at most.
        mistakes: the worst, those that the network is surest of, 24 at most; empty in cards before version 4 and where
            images have no class.
    """

    metrics: AnyMetrics
    images: tuple[int, ...]
    right: tuple[int, ...]
    confusions: tuple[tuple[int, int, int], ...]
    mistakes: tuple[Mistake, ...] = ()

    def recall(self, label: int) -> float | None:
        """Share of a class's images that are answered rightly, in [0, 1]; None without images."""
        return self.right[label] / self.images[label] if self.images[label] else None

    def weakest_first(self) -> list[int]:
        """The classes, those of the lowest recall first; those without images last."""
        recalls = [self.recall(label) for label in range(len(self.images))]
        return sorted(range(len(recalls)), key=lambda label: (recalls[label] is None, recalls[label] or 0.0))

    def taken_for(self, label: int) -> tuple[int, int] | None:
        """(Class that this one is most often taken for, images); None if it never is."""
        return next(((other, count) for own, other, count in self.confusions if own == label), None)


class DataIdentity(Strict):
    """Which data a network was trained, validated and tested on, and how to load them again.

    Attributes:
        train_images: of each class, in the order of the class names; empty in cards of version 1, and where pixels have
            classes and images have none.
        test_sha256, num_test: None and 0 where there is no third split, and in cards of version 1.
    """

    config: DatasetConfig
    train_sha256: str
    validation_sha256: str
    num_train: int
    num_validation: int
    train_images: tuple[int, ...] = ()
    test_sha256: str | None = None
    num_test: int = 0

    def at(self, place: Path | None) -> DatasetConfig:
        """The data set with its files in `place`, or where they were; errors as `moved`."""
        return self.config if place is None else moved(self.config, place)

    def load(self, split: SplitName, preprocess: Preprocess, place: Path | None = None) -> Split:
        """One of the splits, as it was.

        Args:
            split: `train`, `validation`, or `test` if the card knows one.
            preprocess: what the network sees.
            place: the data's folder now; None for the one of then.

        Raises:
            UsageError: it is missing or unreadable, or its images, labels or classes have changed since.
        """
        config = self.at(place)
        try:
            images = config.load(split, preprocess)
        except UsageError as error:
            then = getattr(self.config, "path", None)
            if place is not None or then is None:
                raise
            where = "" if Path(then).is_absolute() else ", relative to the folder that the run was started in"
            raise UsageError(
                f"{error} The run's data were in {then!r}{where}. If they lie elsewhere now, name the place: "
                "--data FOLDER"
            ) from error
        expected, sha256 = getattr(self, f"{split}_sha256"), images.sha256()
        if sha256 != expected:
            count = getattr(self, f"num_{split}")
            raise UsageError(
                f"the {split} images of {getattr(config, 'path', config.kind)} are not those this checkpoint was "
                f"trained with: {len(images)} images with hash {sha256[:12]}…, the card says {count} with "
                f"{str(expected)[:12]}…. Accuracy measured on them would not be this model's. Put the old data back, "
                "name their place with --data FOLDER, or train again on the new."
            )
        return images


class Training(Strict):
    """Where the weights come from.

    Attributes:
        method: name of the distillation method (`scratch` without a teacher).
        config: the whole run configuration; `python -m distill run` accepts it again.
        teacher_sha256: weights hash of the teacher, or of the file it was brought as; None without a teacher.
        epoch: the epoch (1-based) after which these weights were taken.
        best, last: metrics of the best epoch (by the task's measure on the validation images, which a
            quantization-aware run takes under rounding) and of the last one; all of them are of the network in float.
        finished: False while the run that writes this is still going.
        validation, test: what the network of the best epoch answers, class by class, asked when the run was over; None
            in other cards, in those of version 1, and where there is no third split. The test images are shown to it
            this once; they have no part in the choice of the epoch.
    """

    method: str
    config: dict[str, JsonValue]
    teacher_sha256: str | None
    data: DataIdentity
    seed: int
    epoch: int
    best: AnyMetrics
    last: AnyMetrics
    finished: bool
    validation: Judgement | None = None
    test: Judgement | None = None


class Card(Contract):
    """What a checkpoint says of itself.

    Attributes:
        task: what the network answers; `classification` in cards before version 3.
        model: name as in `distill.vision.models`.
        class_names: in the order of the outputs; of depth its one output.
        temperature: the logits are divided by it; 1 unless the model was calibrated by temperature scaling.
        training: None for weights that were brought from elsewhere.
        versions: package versions at the time of writing.
    """

    SCHEMA_VERSION: ClassVar[int] = 5

    schema_version: Literal[5] = 5
    task: TaskName
    model: str
    class_names: tuple[str, ...]
    preprocess: Preprocess
    temperature: float
    num_parameters: int
    weights_sha256: str
    training: Training | None
    versions: dict[str, str]

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Older cards know nothing of what came later.

        Before version 3 all classified; before version 5 pictures were resized bilinearly and no share was cut.
        """
        if raw.get("schema_version") not in (1, 2, 3, 4):
            return raw
        return {"task": "classification"} | raw | {"schema_version": 5}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        model: the classifier, in eval mode, on the CPU.
        folder: where it lies.
        data: where its data lie now; None for where the card says.
    """

    card: Card
    model: "ImageClassifier"
    folder: Path
    data: Path | None = None

    def split(self, name: SplitName) -> Split:
        """One split of the data that it was trained on, as the network sees it; errors as `DataIdentity.load`.

        The card must know of data.
        """
        assert self.card.training is not None, "whoever asks makes sure of it"
        return self.card.training.data.load(name, self.card.preprocess, self.data)


def save(
    folder: Path,
    model: "ImageClassifier",
    *,
    name: str,
    class_names: tuple[str, ...],
    preprocess: Preprocess,
    training: Training | None,
    task: TaskName = "classification",
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
        task=task,
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
    sha256 = sha256_of_file(weights_file)
    if sha256 != card.weights_sha256:
        raise UsageError(
            f"{weights_file} does not match its card: SHA-256 is {sha256[:12]}…, the card says "
            f"{card.weights_sha256[:12]}…. The file was changed or cut off; copy it again or train again."
        )
    return card


def load(path: Path, data: Path | None = None) -> Checkpoint:
    """Read a checkpoint after verifying that the weights are the ones the card speaks of.

    Args:
        path: a run or checkpoint folder.
        data: where its data lie now, if they were moved.

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
    return Checkpoint(card, model.eval(), folder, data)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the named packages (default: those that decide what a training run computes)."""
    names = packages or ("torch", "torchvision", "timm", "lightning-fabric", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
