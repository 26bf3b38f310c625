"""weighted_sum: several methods at once, each with a weight."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.method import ALL_TASKS, WHOLE, Family, Method, Needs, Outputs, Samples, Setting

if TYPE_CHECKING:
    from distill.methods import AnyMethod, MethodConfig


class Part(Strict):
    """One method of a sum.

    Attributes:
        method: with its own settings, as if it were alone.
        weight: its losses are multiplied by it.
    """

    method: "MethodConfig"
    weight: Annotated[float, Field(gt=0)] = 1.0


class WeightedSumConfig(Strict):
    """Several methods at once, each with a weight: their losses are added.

    Every part counts the labels as it does alone. To count them once, give the parts that have an alpha alpha = 1 and
    add `scratch`, whose weight is then the labels' weight.

    Attributes:
        parts: two or more different methods of one student, e.g.
            `[{"method": {"kind": "scratch"}, "weight": 0.1}, {"method": {"kind": "hinton_kd", "alpha": 1.0}}]`.
    """

    family: ClassVar[Family] = "sum"

    kind: Literal["weighted_sum"] = "weighted_sum"
    parts: Annotated[tuple[Part, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _check(self) -> "WeightedSumConfig":
        kinds = [part.method.kind for part in self.parts]
        for part in self.parts:
            complaint = _unfit(part.method)
            if complaint:
                raise ValueError(f"{part.method.kind} cannot be part of a sum: {complaint}")
        repeated = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if repeated:
            raise ValueError(
                f"{', '.join(repeated)} stands in the sum more than once, but losses are recorded by the method's "
                "name; use each method once"
            )
        return self

    @property
    def needs(self) -> Needs:
        """Whatever any part needs; all parts see the teacher with the batch's statistics if one does."""
        needs = [part.method.needs for part in self.parts]
        asked = {of_part.teacher for of_part in needs}
        return Needs(
            teacher="taps" if "taps" in asked else "logits" if "logits" in asked else "none",
            larger_teacher_view=any(of_part.larger_teacher_view for of_part in needs),
            taps=tuple(dict.fromkeys(taps for of_part in needs for taps in of_part.taps)),
            one_process=any(of_part.one_process for of_part in needs),
            idle_parameters=any(of_part.idle_parameters for of_part in needs),
            teacher_statistics="batch" if any(of_part.teacher_statistics == "batch" for of_part in needs) else "kept",
            tasks=tuple(task for task in ALL_TASKS if all(task in of_part.tasks for of_part in needs)),
        )

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError for a part that takes steps or goes through stages itself."""
        return WeightedSum(self, setting)


def _unfit(method: "AnyMethod") -> str | None:
    if isinstance(method, WeightedSumConfig):
        return "it is a sum itself; list its parts instead, with the product of the weights"
    if method.needs.students > 1:
        return "it trains a cohort of students that teach one another, the other parts train one student"
    if method.needs.held_back:
        return "it holds training images back for a search of its own, which the other parts are trained on"
    return None


class WeightedSum(Method):
    """All parts see the same student, teacher and labels; each keeps its own parameters, curriculum and scalars."""

    def __init__(self, config: WeightedSumConfig, setting: Setting) -> None:
        super().__init__(config)
        self.weights = {part.method.kind: part.weight for part in config.parts}
        self.with_teacher = {part.method.kind for part in config.parts if part.method.needs.teacher != "none"}
        self.parts = nn.ModuleDict({part.method.kind: part.method.build(setting) for part in config.parts})
        for kind, part in self._named():
            _refuse_own_steps(kind, part)

    def start_epoch(self, epoch: int) -> None:
        """Every part's."""
        for _, part in self._named():
            part.start_epoch(epoch)

    def start_step(self, progress: float) -> None:
        """Every part's."""
        for _, part in self._named():
            part.start_step(progress)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Every part's groups."""
        return [group for _, part in self._named() for group in part.parameter_groups()]

    def scalars(self) -> dict[str, float]:
        """Every part's, as `METHOD.NAME`."""
        return {f"{kind}.{name}": value for kind, part in self._named() for name, value in part.scalars().items()}

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """Every part's losses times its weight, as `METHOD.NAME`."""
        losses: dict[str, Tensor] = {}
        for kind, part in self._named():
            of_part = part(students, teacher if kind in self.with_teacher else None, samples)
            losses |= {f"{kind}.{name}": self.weights[kind] * loss for name, loss in of_part.items()}
        return losses

    def _named(self) -> list[tuple[str, Method]]:
        return list(self.parts.items())  # pyright: ignore[reportReturnType]


def _refuse_own_steps(kind: str, part: Method) -> None:
    if type(part).stepper is not Method.stepper:
        raise UsageError(f"{kind} takes its steps itself, so it cannot be part of a sum. Run it alone.")
    if part.stages() != (WHOLE,):
        stages = ", ".join(stage.name for stage in part.stages())
        raise UsageError(
            f"{kind} goes through stages ({stages}), which the other parts of a sum do not. Give it the settings that "
            "train it in one, or run it alone."
        )
