"""deep_mutual_learning: a cohort of students that teach one another (Zhang et al. 2018, arXiv:1706.00384)."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting


class DeepMutualLearningConfig(Strict):
    """A cohort of students that learn from the labels and from one another; no teacher.

    Attributes:
        cohort: how many students; the cross-quality paper uses 3. Every one is saved, the best is the product.
    """

    family: ClassVar[Family] = "cohort"

    kind: Literal["deep_mutual_learning"] = "deep_mutual_learning"
    cohort: Annotated[int, Field(ge=2, le=16)] = 3

    @property
    def needs(self) -> Needs:
        """A cohort and no teacher."""
        return Needs(teacher="none", students=self.cohort)

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return DeepMutualLearning(self)


class DeepMutualLearning(Method):
    """The sum over the members of label loss and mean divergence from the peers.

    Deviation: all members take their step at once from the same predictions; the authors update one after another.
    """

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`label` and `mutual`, each summed over the members, both >= 0."""
        logits = [student.logits for student in students]
        label = torch.stack([samples.label_loss(member) for member in logits]).sum()
        return {"label": label, "mutual": mutual_loss(logits)}


def mutual_loss(logits: list[Tensor]) -> Tensor:
    """Sum over members i of 1 / (m - 1) * sum over peers j of KL(p_j || p_i), peers detached, temperature 1.

    Args:
        logits: one tensor [B, classes] per member, two or more.

    Returns:
        Scalar >= 0 in nats, mean over the batch; the same for any order of the members.
    """
    pairs = [
        soft_target_loss(member, peer.detach(), temperature=1.0)
        for i, member in enumerate(logits)
        for j, peer in enumerate(logits)
        if i != j
    ]
    return torch.stack(pairs).sum() / (len(logits) - 1)
