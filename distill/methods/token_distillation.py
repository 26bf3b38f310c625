"""token_distillation: a transformer's second token learns the teacher's answers (DeiT).

Touvron et al. 2021, "Training data-efficient image transformers & distillation through attention", arXiv:2012.12877.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.labels import label_loss
from distill.methods.method import Balance, Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.taps import TapPairs


class TokenDistillationConfig(Strict):
    """Labels for the class token's classifier, the teacher's answers for the distillation token's.

    The network needs both, as timm's `deit_tiny_distilled_patch16_224` has; it answers with their mean.

    Attributes:
        class_head, distillation_head: paths of the two classifiers.
        hard: the teacher's likeliest class is the second label, which the paper found better; else its soft targets.
        alpha: weight of what the teacher says; 1 - alpha weighs the labels. The paper's is one half.
        temperature: of the soft targets; the paper's.
    """

    family: ClassVar[Family] = "soft targets"

    kind: Literal["token_distillation"] = "token_distillation"
    class_head: Annotated[str, Field(min_length=1)] = "head"
    distillation_head: Annotated[str, Field(min_length=1)] = "head_dist"
    hard: bool = True
    alpha: Balance = 0.5
    temperature: Temperature = 3.0

    @property
    def heads(self) -> TapPairs:
        """Where the two classifiers are read."""
        places = tuple(dict.fromkeys((self.class_head, self.distillation_head)))
        return TapPairs(student=places, teacher=places)

    @property
    def needs(self) -> Needs:
        """The teacher's logits, and what the student's two classifiers say."""
        return Needs(taps=(self.heads,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError if a place gives no logits."""
        return TokenDistillation(self, setting)


class TokenDistillation(Method):
    """One loss for each classifier."""

    def __init__(self, config: TokenDistillationConfig, setting: Setting) -> None:
        super().__init__(config)
        names = config.class_head, config.distillation_head
        places = setting.places[config.heads].student
        self.class_place, self.distillation_place = places[0], places[-1]
        for name, place in zip(names, (self.class_place, self.distillation_place), strict=True):
            if tuple(setting.student[place]) != (setting.num_classes,):
                raise UsageError(
                    f"token_distillation reads the logits of two classifiers; {name} of the student gives "
                    f"{tuple(setting.student[place])}, not ({setting.num_classes},). Name the classifiers with "
                    "method.class_head and method.distillation_head."
                )

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`teacher` (times alpha) and `label` (times 1 - alpha), both >= 0."""
        assert teacher is not None
        (student,) = students
        alpha, said = self.config.alpha, student.taps[self.distillation_place]
        if self.config.hard:
            loss = label_loss(said, teacher.logits.argmax(1))
        else:
            loss = soft_target_loss(said, teacher.logits, temperature=self.config.temperature)
        label = samples.label_loss(student.taps[self.class_place])
        return {"teacher": alpha * loss, "label": (1 - alpha) * label}
