"""logit_standardization: soft targets from logits without their own scale (Sun et al. 2024, arXiv:2403.01427)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.conditional_teacher_student import ConditionalTeacherStudentConfig
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig
from distill.methods.decoupled_kd import DecoupledKDConfig
from distill.methods.dist import DISTConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32
from distill.methods.weighted_soft_labels import WeightedSoftLabelsConfig

LEAST_DEVIATION = 0.1
"""By which logits are divided whose own deviation is smaller."""

SoftTargets = Annotated[
    HintonKDConfig
    | ConditionalTeacherStudentConfig
    | CurriculumTemperatureConfig
    | WeightedSoftLabelsConfig
    | DecoupledKDConfig
    | DISTConfig,
    Field(discriminator="kind"),
]


class LogitStandardizationConfig(Strict):
    """A front for a method of soft targets: it sees logits of mean 0 and deviation 1; labels see them as they are.

    Attributes:
        method: of soft targets, with its own settings; the authors' base temperature is 2.
        weight: of all its losses but the label's. With the defaults 9 soft to 0.1 label, as the authors have.
    """

    family: ClassVar[Family] = "soft targets"

    kind: Literal["logit_standardization"] = "logit_standardization"
    method: SoftTargets = HintonKDConfig(temperature=2.0, alpha=0.9)
    weight: Annotated[float, Field(gt=0)] = 10.0

    @property
    def needs(self) -> Needs:
        """The method's."""
        return self.method.needs

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError for two classes."""
        if setting.num_classes < 3:
            raise UsageError(
                f"logit_standardization needs three classes or more, there are {setting.num_classes}: two logits of "
                f"mean 0 and deviation 1 are the same but for their sign. Use {self.method.kind} alone."
            )
        return LogitStandardization(self, setting)


class LogitStandardization(Method):
    """The method's label loss of the logits, and its other losses of the standardised ones."""

    def __init__(self, config: LogitStandardizationConfig, setting: Setting) -> None:
        super().__init__(config)
        self.method = config.method.build(setting)

    def parameter_groups(self) -> "list[dict[str, object]]":
        """The method's."""
        return list(self.method.parameter_groups())

    def start_epoch(self, epoch: int) -> None:
        """The method's."""
        self.method.start_epoch(epoch)

    def start_step(self, progress: float) -> None:
        """The method's."""
        self.method.start_step(progress)

    def scalars(self) -> dict[str, float]:
        """The method's."""
        return self.method.scalars()

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """The method's losses, weighted, and its `label`."""
        assert teacher is not None
        (student,) = students
        plain = self.method(students, teacher, samples)
        standardised = self.method((_standardised(student),), _standardised(teacher), samples)
        return {name: plain[name] if name == "label" else self.config.weight * standardised[name] for name in plain}


def standardised(logits: Tensor) -> Tensor:
    """Logits [B, classes] minus each image's mean, divided by their deviation (of a sample, as the authors take it).

    Deviation: a deviation below 0.1 counts as that, since the gradient has no bound where it is zero, which is where a
    head initialised with zeros begins; the authors add 1e-7.
    """
    logits = at_least_float32(logits)
    centred = logits - logits.mean(dim=1, keepdim=True)
    variance = centred.square().sum(dim=1, keepdim=True) / (logits.shape[1] - 1)
    return centred / variance.clamp_min(LEAST_DEVIATION**2).sqrt()


def _standardised(outputs: Outputs) -> Outputs:
    return Outputs(standardised(outputs.logits), outputs.taps)
