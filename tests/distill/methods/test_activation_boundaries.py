import pytest
import torch
from torch import nn

from distill.errors import UsageError
from distill.methods.activation_boundaries import ActivationBoundaries, ActivationBoundariesConfig, boundary_loss
from distill.methods.hinton_kd import soft_target_loss
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, losses_of, network, samples

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


def maps(*shape: int, seed: int) -> torch.Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("margin", [1.0, 0.5])
def test_equals_the_slow_numpy_twin(margin: float) -> None:
    student, teacher = maps(5, 4, 3, 2, seed=0), maps(5, 4, 3, 2, seed=1)
    expected = 0.0
    for s, t in zip(student.numpy().ravel(), teacher.numpy().ravel(), strict=True):
        if t <= 0 and s > -margin:
            expected += (s + margin) ** 2
        elif t > 0 and s <= margin:
            expected += (s - margin) ** 2
    assert boundary_loss(student, teacher, margin=margin).item() == pytest.approx(expected / 5, abs=1e-10)


def test_a_student_beyond_the_margin_on_the_teachers_side_has_nothing_to_learn() -> None:
    teacher = maps(5, 4, 3, 3, seed=2)
    assert boundary_loss(1.01 * teacher.sign(), teacher, margin=1.0).item() == 0
    assert boundary_loss(-teacher.sign(), teacher, margin=1.0).item() > 100


def test_in_two_stages_boundaries_teach_all_before_them_and_labels_the_student_alone() -> None:
    student, teacher = network(3), network(3, width=8)
    method = dry(ActivationBoundariesConfig(), [student], teacher, LABELS).method
    first, second = method.stages()
    assert (first.epochs, first.judged, second.epochs, second.judged) == (30, False, None, True)
    names = [f"students.0.{name}" for name, _ in student.named_parameters()]
    names += [f"method.{name}" for name, _ in method.named_parameters()]
    assert {name for name in names if first.trains(name)} == {name for name in names if ".head." not in name}
    assert [name for name in names if second.trains(name)] == [name for name in names if name.startswith("students.")]


def test_deeper_maps_count_twice_as_much_and_maps_of_one_shape_need_no_connector() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(3)
    run = dry(ActivationBoundariesConfig(weight=2.0, first_epochs=None, soft_weight=0.5), [student], teacher, LABELS)
    assert isinstance(run.method, ActivationBoundaries)
    assert all(isinstance(connector, nn.Identity) for connector in run.method.connectors)
    assert run.students[0].places == ("stages.0.1:input", "stages.1.1:input", "stages.2.1:input")
    found = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    before = []
    for model in (student, teacher):
        values, x = [], (IMAGES - model.mean) * model.inverse_std
        for stage in model.network.stages:  # type: ignore[union-attr]
            values.append(stage[0](x))  # type: ignore[index, operator]
            x = values[-1].relu()
        before.append(values)
    parts = [boundary_loss(ours, theirs, margin=1.0).item() for ours, theirs in zip(*before, strict=True)]
    expected = sum(weight * part for weight, part in zip((0.25, 0.5, 1.0), parts, strict=True))
    assert found["boundary"].item() == pytest.approx(2 * expected, rel=1e-4)
    soft = soft_target_loss(student(IMAGES), teacher(IMAGES), temperature=4.0).item()
    assert found["soft"].item() == pytest.approx(0.5 * soft, rel=1e-4)


def test_what_has_no_connector_is_refused() -> None:
    taps = TapPairs(student=("stage-end:-1:pre",), teacher=("stage-end:1:pre",))
    with pytest.raises(UsageError, match=r"no adapter from the student's \(16, 2, 2\)"):
        dry(ActivationBoundariesConfig(taps=taps), [network(3)], network(3, width=8), LABELS)
