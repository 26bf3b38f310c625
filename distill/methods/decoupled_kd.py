"""decoupled_kd: KD split into "how sure of the label" and "what about the other classes" (Zhao et al. 2022)."""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.precision import at_least_float32


class DecoupledKDConfig(Strict):
    """KD split into its target-class and its other-classes part, weighed separately (arXiv:2203.08679).

    Attributes:
        target_weight, other_weight: alpha and beta of the paper.
        temperature: T of both parts.
        warmup_epochs: the distillation part grows linearly over so many epochs; 0 = at once.
    """

    needs: ClassVar[Needs] = Needs()
    family: ClassVar[Family] = "soft targets"

    kind: Literal["decoupled_kd"] = "decoupled_kd"
    target_weight: Annotated[float, Field(ge=0)] = 1.0
    other_weight: Annotated[float, Field(ge=0)] = 8.0
    temperature: Temperature = 4.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 0

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return DecoupledKD(self)


class DecoupledKD(Method):
    """Cross-entropy with the labels plus the two weighted parts."""

    def __init__(self, config: DecoupledKDConfig) -> None:
        super().__init__(config)
        self.growth = 1.0

    def start_epoch(self, epoch: int) -> None:
        """Warm-up (1-based epoch)."""
        self.growth = min(epoch / self.config.warmup_epochs, 1.0) if self.config.warmup_epochs else 1.0

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`target`, `other` and `label`, all >= 0."""
        assert teacher is not None
        (student,) = students
        config = self.config
        target, other = decoupled_losses(student.logits, teacher.logits, samples.labels, temperature=config.temperature)
        return {
            "target": self.growth * config.target_weight * target,
            "other": self.growth * config.other_weight * other,
            "label": samples.label_loss(student.logits),
        }


def decoupled_losses(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD, each times T^2.

    TCKD is the divergence of the two-way distributions (label, everything else); NCKD that of the distributions over
    the other classes. For one image KL = TCKD + (1 - p_t(label)) * NCKD.

    Deviation: everything stays in log space, where a very sure student gives no infinity; the authors sum
    probabilities and mask with -1000.

    Args:
        student: logits [B, classes], three classes or more.
        teacher: logits [B, classes], detached.
        labels: int64 [B].
        temperature: T > 0.

    Returns:
        Two scalars >= 0 in nats, means over the batch.
    """
    log_student, log_teacher = (F.log_softmax(at_least_float32(x) / temperature, dim=1) for x in (student, teacher))
    others = _others(labels, student.shape[1])
    target = _divergence(
        _label_against_rest(log_student, labels, others), _label_against_rest(log_teacher, labels, others)
    )
    other = _divergence(_rest(log_student, others), _rest(log_teacher, others))
    return temperature**2 * target, temperature**2 * other


def _others(labels: Tensor, classes: int) -> Tensor:
    """Every class but the label, [B, classes - 1]; no masks, whose size a GPU would have to tell the host."""
    columns = torch.arange(classes - 1, device=labels.device)
    return columns + (columns >= labels[:, None])


def _label_against_rest(log_p: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    label = log_p.gather(1, labels[:, None])
    rest = log_p.gather(1, others).logsumexp(dim=1, keepdim=True)
    return torch.cat([label, rest], dim=1)


def _rest(log_p: Tensor, others: Tensor) -> Tensor:
    return F.log_softmax(log_p.gather(1, others), dim=1)


def _divergence(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
