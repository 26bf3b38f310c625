"""Float artifacts by their logits: whether they are eager's up to rounding, and whether the images can show it.

Top-1 answers alone hide a toolchain's mistake on every image whose answer is clear, and make one of rounding where two
classes are level.
"""

from dataclasses import dataclass

import numpy as np

from export.artifact.manifest import PrecisionName
from export.artifact.runner import Batch
from export.proof.limits import FLOAT_MAX_DIFFERENCE, FLOAT_ROUNDING

LEAST_SPREAD = 1e-3
"""Of the logits, as a share of the largest one; images that move them less do not exercise the network."""


@dataclass(frozen=True)
class Closeness:
    """How close an artifact's logits come to eager's.

    Attributes:
        largest: greatest absolute difference of a logit.
        allowed: what the precision allows.
        spread: of eager's logits, see `spread_of`.
        agreement: share of equal answers among images that are no near ties, in [0, 1].
        near_ties: answers that differ where eager's two classes are closer than fp32 rounding is allowed to move them.
    """

    largest: float
    allowed: float
    spread: float
    agreement: float
    near_ties: int

    @property
    def is_close(self) -> bool:
        """Whether no logit is further off than rounding explains."""
        return self.largest <= self.allowed

    @property
    def words(self) -> str:
        """For the reason of a verdict."""
        ties = f"; {self.near_ties} other answer(s) are near ties" if self.near_ties else ""
        if self.is_close:
            return f"logits are off by at most {self.largest:.2g}, {self.allowed:.2g} is allowed{ties}"
        return (
            f"wrong numbers: logits are off by up to {self.largest:.3g} where their spread of {self.spread:.3g} from "
            f"image to image allows {self.allowed:.2g}{ties}"
        )


def closeness(logits: Batch, eager: Batch, precision: PrecisionName) -> Closeness:
    """Compare finite logits [N, classes] of a float precision with eager's."""
    spread = spread_of(eager)
    answers, expected = logits.argmax(1), eager.argmax(1)
    rows = np.arange(len(eager))
    margins = eager[rows, expected].astype(np.float64) - eager[rows, answers]
    ties = (answers != expected) & (margins <= 2 * _allowed(eager, spread, "fp32"))
    wrong = int(((answers != expected) & ~ties).sum())
    return Closeness(
        largest=float(np.abs(logits.astype(np.float64) - eager).max()),
        allowed=_allowed(eager, spread, precision),
        spread=spread,
        agreement=1 - wrong / max(1, len(eager) - int(ties.sum())),
        near_ties=int(ties.sum()),
    )


def spread_of(eager: Batch) -> float:
    """Standard deviation of a logit from image to image, over all classes; of one image, from class to class."""
    scores = eager.astype(np.float64)
    return float(np.sqrt(scores.var(axis=0).mean())) if len(scores) > 1 else float(scores.std())


def why_not_exercised(eager: Batch) -> str | None:
    """Why eager's logits [N, classes] cannot show that an artifact is right, in words; None if they can."""
    answers = np.unique(eager.argmax(1))
    if len(eager) > 1 and spread_of(eager) < LEAST_SPREAD * float(np.abs(eager).max()):
        return "eager's logits hardly depend on the image"
    if len(eager) > 1 and len(answers) == 1:
        return f"eager gives all of them the same answer (class {answers[0]})"
    return None


def _allowed(eager: Batch, spread: float, precision: PrecisionName) -> float:
    rounding = FLOAT_ROUNDING[precision] * float(np.abs(eager).max())
    return max(FLOAT_MAX_DIFFERENCE[precision] * spread, rounding)
