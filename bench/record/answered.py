"""What a row says of its model's answers to held-out pictures."""

from typing import Self

from pydantic import model_validator

from distill.contract import Strict
from export.artifact.answers import Answers


class ChangedAnswer(Strict):
    """A picture that eager PyTorch answers otherwise.

    Attributes:
        picture: its file, or which one it is.
        label: the right class.
        eager, here: the two answers; `here` is None where the device cannot decode the picture.
    """

    picture: str
    label: str
    eager: str
    here: str | None


class AgainstEager(Strict):
    """The answers beside those of eager PyTorch to the very same pictures, read by this machine's decoder.

    Attributes:
        accuracy: eager's, in [0, 1].
        only_here, only_eager: pictures that only one of the two answers rightly.
        p_value: of the exact paired test that both are equally accurate (McNemar, binomial, two-sided).
        confidence: eager's mean share of the class it answers, in [0, 1].
        class_correct: its right answers, class by class.
        changed: every picture whose answer is another.
    """

    accuracy: float
    only_here: int
    only_eager: int
    p_value: float
    confidence: float
    class_correct: tuple[int, ...]
    changed: tuple[ChangedAnswer, ...]


class Answered(Strict):
    """Labelled held-out pictures that were answered where the row was measured.

    Attributes:
        answers: which are right, picture by picture.
        accuracy_interval: 95 %, Wilson's.
        confidence: mean share of the class it answers, in [0, 1]; unreadable pictures count for nothing.
        class_names: in label order.
        class_images, class_correct: how many pictures each class has, and how many of them are answered rightly.
        unreadable: pictures that the device does not decode, each with the reason; they count as wrong.
        rewritten: pictures in formats that phones do not decode, which went there as PNG.
        host_agreement: share of pictures which the same artifact answers alike on the computer; None if it was not run.
        host_difference: root mean square difference of the logits from those, as a share of their spread over pictures.
        eager: beside eager PyTorch; None where the eager artifact of its checkpoint is not there.
        fault: what is wrong with the answers, in words, where something is.
        logits_sha256: of the logits, float32 [pictures, classes], little-endian.
    """

    answers: Answers
    accuracy_interval: tuple[float, float]
    confidence: float
    class_names: tuple[str, ...]
    class_images: tuple[int, ...]
    class_correct: tuple[int, ...]
    unreadable: tuple[str, ...]
    rewritten: int
    host_agreement: float | None
    host_difference: float | None
    eager: AgainstEager | None
    fault: str | None
    logits_sha256: str

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if sum(self.class_images) != self.answers.num_images:
            raise ValueError(f"the classes have {sum(self.class_images)} pictures, answered {self.answers.num_images}")
        return self

    @property
    def accuracy(self) -> float:
        """Share of right answers, in [0, 1]."""
        return sum(self.class_correct) / self.answers.num_images

    @property
    def agreement(self) -> float | None:
        """Share of pictures that eager answers alike; None without eager."""
        return None if self.eager is None else 1 - len(self.eager.changed) / self.answers.num_images

    @property
    def confidence_shift(self) -> float | None:
        """How much surer it is of its answers than eager; None without eager."""
        return None if self.eager is None else self.confidence - self.eager.confidence
