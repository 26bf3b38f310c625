"""What holds for every method, whatever it computes."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from distill.config import TrainingSettings
from distill.methods import METHODS, Method, Outputs
from distill.methods.hinton_kd import HintonKDConfig, soft_target_loss
from distill.step import Objective, make_optimizer
from tests.distill.methods.toy import SIZE_PX, dry, method_config, network, samples

LABELS = torch.arange(6) % 5


def setting(kind: str) -> tuple[Method, tuple[Outputs, ...], Outputs, nn.ModuleList]:
    """A method and what it is given of six images, in half precision, with gradient everywhere."""
    config = method_config(kind)
    torch.manual_seed(0)
    students, teacher = [network(5) for _ in range(config.needs.students)], network(5, width=8)
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


@pytest.mark.parametrize("kind", METHODS)
def test_what_comes_in_half_precision_is_compared_in_float32(kind: str) -> None:
    method, students, teacher, _ = setting(kind)
    heard = None if method.config.needs.teacher == "none" else teacher
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = method(students, heard, samples(LABELS))
        expected = method(tuple(wide(one) for one in students), None if heard is None else wide(heard), samples(LABELS))
    for name, loss in narrow.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5), name


@pytest.mark.parametrize("kind", METHODS)
def test_all_that_a_method_trains_is_in_the_optimizer_once(kind: str) -> None:
    method, _, _, students = setting(kind)
    objective = Objective(students, method)
    groups = make_optimizer(TrainingSettings(epochs=1, batch_size=1), objective).param_groups
    found = [parameter for group in groups for parameter in group["params"]]
    assert len(found) == len({id(parameter) for parameter in found})
    assert {id(parameter) for parameter in found} == {id(parameter) for parameter in objective.parameters()}


@pytest.mark.parametrize("temperature", [0.001, 1000.0])
def test_a_temperature_that_float32_cannot_use_is_refused(temperature: float) -> None:
    with pytest.raises(ValidationError, match="temperature"):
        HintonKDConfig(temperature=temperature)


def test_a_divergence_of_equal_logits_is_zero_up_to_rounding_at_every_temperature_allowed() -> None:
    same = 10 * torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))
    for temperature in (0.01, 1.0, 100.0):
        found = soft_target_loss(same + 1, same, temperature=temperature).item()
        assert abs(found) < 1e-6 * max(temperature, 1) ** 2
