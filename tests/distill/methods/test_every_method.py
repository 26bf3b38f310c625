"""What holds for every method, whatever it computes."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from distill.config import TrainingSettings
from distill.methods import METHODS, Method, Outputs
from distill.methods.hinton_kd import HintonKDConfig, soft_target_loss
from distill.methods.method import Family
from distill.methods.scratch import ScratchConfig
from distill.methods.weighted_sum import Part, WeightedSumConfig
from distill.training.step import Objective, choose_trained, make_optimizer
from tests.distill.methods.toy import OF_PICTURES, SIZE_PX, dry, losses_of, method_config, network, samples, teacher_for

LABELS = torch.arange(6) % 5


def setting(kind: str) -> tuple[Method, tuple[Outputs, ...], Outputs, nn.ModuleList]:
    """A method and what it is given of six images, in half precision, with gradient everywhere."""
    config = method_config(kind)
    torch.manual_seed(0)
    students, teacher = [network(5) for _ in range(config.needs.students)], teacher_for(kind, 5)
    run = dry(config, students, teacher, LABELS)
    run.method.eval()  # batch normalisation of adapters would pass on what a rounding changed
    images = torch.rand(6, 1, SIZE_PX, SIZE_PX)

    def said(model: nn.Module, number: int | None) -> Outputs:
        logits = 3 * model(images)
        taps = run.teacher if number is None else run.students[number] if run.students else None
        found = {} if taps is None else taps.take()
        return Outputs(half(logits), {place: half(value) for place, value in found.items()})

    with run.tapped():
        ours = tuple(said(student, number) for number, student in enumerate(students))
        return run.method, ours, said(teacher, None), nn.ModuleList(students)


def half(values: Tensor) -> Tensor:
    return values.detach().bfloat16().requires_grad_()


def wide(outputs: Outputs) -> Outputs:
    taps = {place: value.detach().float() for place, value in outputs.taps.items()}
    return Outputs(outputs.logits.detach().float(), taps)


@pytest.mark.parametrize("kind", OF_PICTURES)
def test_what_comes_in_half_precision_is_compared_in_float32(kind: str) -> None:
    method, students, teacher, _ = setting(kind)
    heard = None if method.config.needs.teacher == "none" else teacher
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = method(students, heard, samples(LABELS))
        expected = method(tuple(wide(one) for one in students), None if heard is None else wide(heard), samples(LABELS))
    for name, loss in narrow.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5), name


@pytest.mark.parametrize("kind", OF_PICTURES)
def test_all_that_a_method_trains_is_in_the_optimizer_once(kind: str) -> None:
    method, _, _, students = setting(kind)
    objective = Objective(students, method)
    groups = make_optimizer(TrainingSettings(epochs=1, batch_size=1), objective).param_groups
    found = [parameter for group in groups for parameter in group["params"]]
    assert len(found) == len({id(parameter) for parameter in found})
    # What its own stepper trains has no gradient in the loop.
    expected = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}
    assert {id(parameter) for parameter in found} == expected


@pytest.mark.parametrize("temperature", [0.001, 1000.0])
def test_a_temperature_that_float32_cannot_use_is_refused(temperature: float) -> None:
    with pytest.raises(ValidationError, match="temperature"):
        HintonKDConfig(temperature=temperature)


def test_a_divergence_of_equal_logits_is_zero_up_to_rounding_at_every_temperature_allowed() -> None:
    same = 10 * torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))
    for temperature in (0.01, 1.0, 100.0):
        found = soft_target_loss(same + 1, same, temperature=temperature).item()
        assert abs(found) < 1e-6 * max(temperature, 1) ** 2


def with_taps(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """What is said, changed, with gradient."""
    taps = {place: change(value.detach().float()).requires_grad_() for place, value in outputs.taps.items()}
    return Outputs(change(outputs.logits.detach().float()).requires_grad_(), taps)


def gradients(students: tuple[Outputs, ...], losses: dict[str, Tensor]) -> list[Tensor]:
    """Of everything that the students say."""
    torch.stack(list(losses.values())).sum().backward()
    said = [value for one in students for value in (one.logits, *one.taps.values())]
    return [value.grad for value in said if value.grad is not None]


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing but zeros": torch.zeros_like,
    "large": lambda values: 100 * values,
    "one image": lambda values: values[:1].clone(),
    "all images alike": lambda values: values[:1].expand_as(values).clone(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", OF_PICTURES)
def test_losses_and_gradients_are_finite_whatever_is_said(kind: str, change: str) -> None:
    method, students, teacher, _ = setting(kind)
    students = tuple(with_taps(one, CHANGES[change]) for one in students)
    heard = None if method.config.needs.teacher == "none" else with_taps(teacher, CHANGES[change])
    labels = LABELS[: len(students[0].logits)]
    losses = method(students, heard, samples(labels))
    assert all(torch.isfinite(loss) for loss in losses.values())
    found = gradients(students, losses)
    assert found
    assert all(torch.isfinite(gradient).all() for gradient in found)
    if change == "nothing but zeros":
        assert max(gradient.abs().max().item() for gradient in found) < 1e6
    trained = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in trained)


@pytest.mark.parametrize("kind", OF_PICTURES)
def test_in_every_stage_all_that_learns_gets_a_gradient(kind: str) -> None:
    config = method_config(kind)
    torch.manual_seed(0)
    students, teacher = [network(5) for _ in range(config.needs.students)], teacher_for(kind, 5)
    run = dry(config, students, teacher, LABELS)
    objective = Objective(nn.ModuleList(students), run.method, run.students)
    images = torch.rand(6, 1, SIZE_PX, SIZE_PX)
    for stage in run.method.stages():
        choose_trained(objective, stage)
        learning = [name for name, parameter in objective.named_parameters() if parameter.requires_grad]
        assert learning
        with run.tapped():
            with torch.no_grad():
                logits = teacher(images)
            taps = {} if run.teacher is None else run.teacher.take()
            heard = None if config.needs.teacher == "none" else logits
            losses = objective(images, LABELS, torch.arange(6), heard, taps)
        objective.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        assert [name for name, parameter in objective.named_parameters() if parameter.grad is not None] == learning


@pytest.mark.parametrize("kind", OF_PICTURES)
def test_a_method_goes_into_a_sum_or_says_why_not(kind: str) -> None:
    if kind in ("weighted_sum", "deep_mutual_learning"):
        return  # refused by their settings, see test_weighted_sum
    staged = {"activation_boundaries", "flow_of_solution_procedure", "factor_transfer"}
    field = {"factor_transfer": "paraphraser_epochs"}.get(kind, "first_epochs")
    part = method_config(kind).model_copy(update={field: None} if kind in staged else {})
    other = ScratchConfig() if kind != "scratch" else HintonKDConfig()
    if part.needs.held_back:
        with pytest.raises(ValidationError, match=f"{kind} cannot be part of a sum: it holds training images back"):
            WeightedSumConfig(parts=(Part(method=part), Part(method=other)))
        return
    sum_config = WeightedSumConfig(parts=(Part(method=part, weight=0.5), Part(method=other)))
    torch.manual_seed(0)
    student, teacher = network(5), teacher_for(kind, 5)
    run = dry(sum_config, [student], teacher, LABELS)
    losses = losses_of(run, [student], teacher, torch.rand(6, 1, SIZE_PX, SIZE_PX), samples(LABELS))
    assert {name.split(".")[0] for name in losses} == {kind, other.kind}


def test_every_family_has_methods_and_every_method_a_family() -> None:
    assert {config.family for config in METHODS.values()} == set(get_args(Family))
