"""Classes that an artifact answers worse than eager does, which accuracy over all of them may hide."""

from dataclasses import dataclass

from export.artifact.manifest import Parity
from export.proof.limits import QUANTIZED_MIN_ACCURACY_KEPT


@dataclass(frozen=True)
class ClassRecall:
    """How many images of one class are answered rightly; `number` is its position in `class_names`."""

    number: int
    images: int
    correct: int
    eager_correct: int

    @property
    def fall(self) -> float:
        """How far its recall falls, in [-1, 1]."""
        return (self.eager_correct - self.correct) / self.images

    @property
    def falls(self) -> bool:
        """Whether it keeps less of its recall than a quantized model must keep of its accuracy.

        One that would keep enough with a single image more does not fall: that may be chance.
        """
        return self.correct + 1 < QUANTIZED_MIN_ACCURACY_KEPT * self.eager_correct


def recalls(parity: Parity) -> list[ClassRecall]:
    """Every class with images, the one that falls furthest first; empty without labels."""
    if parity.class_images is None or parity.class_correct is None or parity.eager_class_correct is None:
        return []
    counts = zip(parity.class_images, parity.class_correct, parity.eager_class_correct, strict=True)
    classes = [ClassRecall(number, *each) for number, each in enumerate(counts)]
    return sorted((each for each in classes if each.images), key=lambda each: -each.fall)
