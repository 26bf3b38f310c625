import numpy as np
import pytest
import torch
from torch import nn

from distill.errors import UsageError
from distill.methods import Outputs, Samples
from distill.methods.fitnet import FitNet, FitNetConfig, HintsFirst, adapter, hint_loss
from distill.methods.hinton_kd import soft_target_loss
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
MIDDLE = TapPairs(student=("stage-end:2",), teacher=("stage-end:2",))


def test_equals_the_slow_numpy_twin() -> None:
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(5, 4, 3, 2, generator=draw, dtype=torch.float64) for _ in range(2))
    pairs = zip(student.numpy().ravel(), teacher.numpy().ravel(), strict=True)
    assert hint_loss(student, teacher).item() == pytest.approx(np.mean([(s - t) ** 2 for s, t in pairs]), abs=1e-10)


def test_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    same = torch.randn(5, 4, 3, 3)
    assert hint_loss(same, same).item() == 0


def test_half_precision_activations_are_compared_in_float32() -> None:
    student, teacher = torch.randn(5, 4, 3, 3).bfloat16(), torch.randn(5, 4, 3, 3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = hint_loss(student, teacher)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(hint_loss(student.double(), teacher.double()).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "kernel"),
    [
        ((3, 8, 6), (5, 8, 6), (1, 1)),
        ((3, 8, 6), (5, 4, 3), (3, 3)),
        ((3, 4, 3), (5, 8, 6), (4, 4)),
        ((3, 8, 7), (5, 7, 5), (2, 3)),
        ((3, 8, 6), (5, 8, 3), (1, 4)),
    ],
)
def test_an_adapter_gives_the_teachers_shape_whatever_the_students(
    student: tuple[int, ...], teacher: tuple[int, ...], kernel: tuple[int, int]
) -> None:
    module = adapter("layer2", torch.Size(student), torch.Size(teacher), rectified=True)
    assert isinstance(module, nn.Sequential)
    assert module[0].kernel_size == kernel
    found = module(torch.randn(2, *student))
    assert found.shape == (2, *teacher)
    assert found.min() == 0
    assert (
        adapter("layer2", torch.Size(student), torch.Size(teacher), rectified=False)(torch.randn(2, *student)).min() < 0
    )


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((3, 4, 4), (5, 7, 7), r"no adapter from the student's \(3, 4, 4\) at layer2 to the teacher's \(5, 7, 7\)"),
        ((64,), (5, 7, 7), r"compares maps \[C, H, W\]; layer2 gives \(64,\)"),
    ],
)
def test_what_has_no_adapter_is_refused(student: tuple[int, ...], teacher: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adapter("layer2", torch.Size(student), torch.Size(teacher), rectified=True)


def test_three_hints_are_weighed_beside_the_labels() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(3, width=8)
    run = dry(FitNetConfig(weight=7.0), [student], teacher, LABELS)
    method = run.method.eval()
    assert isinstance(method, FitNet)
    found = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    hints = [
        hint_loss(adapt(features(student, IMAGES, stage)), features(teacher, IMAGES, stage))
        for stage, adapt in enumerate(method.adapters)
    ]
    assert found["hint"].item() == pytest.approx(7 * sum(hint.item() for hint in hints), rel=1e-5)
    assert found["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(student(IMAGES), LABELS).item())
    torch.stack(list(found.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    (group,) = method.parameter_groups()
    assert len(group["params"]) == len(list(method.parameters())) == 12


def test_in_two_stages_hints_teach_what_lies_before_them_and_distillation_the_student_alone() -> None:
    student, teacher = network(3), network(3, width=8)
    config = FitNetConfig(taps=MIDDLE, hints_first=HintsFirst(hint_epochs=5))
    method = dry(config, [student], teacher, LABELS).method
    first, second = method.stages()
    assert (first.epochs, first.judged, second.epochs, second.judged) == (5, False, None, True)
    names = [f"students.0.{name}" for name, _ in student.named_parameters()]
    names += [f"method.{name}" for name, _ in method.named_parameters()]
    assert [name for name in names if first.trains(name)] == [
        *(f"students.0.network.stages.{stage}.0.{what}" for stage in (0, 1) for what in ("weight", "bias")),
        *(name for name in names if name.startswith("method.adapters.0.")),
    ]
    assert [name for name in names if second.trains(name)] == [name for name in names if name.startswith("students.")]


def test_in_the_second_stage_lambda_falls_linearly_and_soft_targets_have_no_square_of_the_temperature() -> None:
    draw = torch.Generator().manual_seed(2)
    ours, theirs = torch.randn(6, 3, generator=draw).double(), torch.randn(6, 3, generator=draw).double()
    settings = HintsFirst(hint_epochs=1, soft_weight_start=4.0, soft_weight_end=1.0)
    method = dry(FitNetConfig(hints_first=settings), [network(3)], network(3), LABELS).method
    _, second = method.stages()
    assert second.losses is not None
    for progress, weight in ((0.0, 4.0), (0.5, 2.5), (1.0, 1.0)):
        method.start_step(progress)
        found = second.losses((Outputs(ours),), Outputs(theirs), Samples(LABELS, LABELS))
        soft = soft_target_loss(ours, theirs, temperature=3.0).item() / 9
        assert found["soft"].item() == pytest.approx(weight * soft, abs=1e-10)
        assert found["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(ours, LABELS).item())
