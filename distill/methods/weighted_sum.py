"""weighted_sum: several methods at once, each with a weight."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.method import Method, Outputs

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

    def build(self) -> Method:
        """The module that computes it."""
        return WeightedSum(self)


def _unfit(method: "AnyMethod") -> str | None:
    if isinstance(method, WeightedSumConfig):
        return "it is a sum itself; list its parts instead, with the product of the weights"
    if method.build().num_students > 1:
        return "it trains a cohort of students that teach one another, the other parts train one student"
    return None


class WeightedSum(Method):
    """All parts see the same student, teacher and labels; each keeps its own parameters, curriculum and scalars."""

    def __init__(self, config: WeightedSumConfig) -> None:
        super().__init__(config)
        self.weights = {part.method.kind: part.weight for part in config.parts}
        self.parts = nn.ModuleDict({part.method.kind: part.method.build() for part in config.parts})
        self.needs_teacher = any(part.needs_teacher for _, part in self._named())
        self.needs_larger_teacher_view = any(part.needs_larger_teacher_view for _, part in self._named())

    def start_epoch(self, epoch: int) -> None:
        """Every part's."""
        for _, part in self._named():
            part.start_epoch(epoch)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Every part's groups."""
        return [group for _, part in self._named() for group in part.parameter_groups()]

    def scalars(self) -> dict[str, float]:
        """Every part's, as `METHOD.NAME`."""
        return {f"{kind}.{name}": value for kind, part in self._named() for name, value in part.scalars().items()}

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, labels: Tensor) -> dict[str, Tensor]:
        """Every part's losses times its weight, as `METHOD.NAME`."""
        losses: dict[str, Tensor] = {}
        for kind, part in self._named():
            found = part(students, teacher if part.needs_teacher else None, labels)
            losses |= {f"{kind}.{name}": self.weights[kind] * loss for name, loss in found.items()}
        return losses

    def _named(self) -> list[tuple[str, Method]]:
        return list(self.parts.items())  # pyright: ignore[reportReturnType]
