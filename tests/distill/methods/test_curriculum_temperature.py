from collections.abc import Callable

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from distill.config import SGD, AdamW, Steps, TrainingSettings
from distill.methods import Outputs, Stage
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig, reversed_gradient
from distill.methods.hinton_kd import HintonKDConfig
from distill.run_folder import State
from distill.studies import short_demo
from distill.training.batches import Batch
from distill.training.stages import Span, start
from distill.training.step import Objective
from tests.distill.methods.toy import SIZE_PX, built, network, samples

Draw = Callable[..., torch.Tensor]


def test_the_cosine_of_equation_7_has_its_end_points_and_its_cap() -> None:
    config = CurriculumTemperatureConfig(lambda_min=0.2, lambda_max=1.2, capped_epochs=10)
    assert config.curriculum(0) == pytest.approx(0.2, abs=1e-10)
    assert config.curriculum(5) == pytest.approx(0.7, abs=1e-10)
    assert config.curriculum(10) == pytest.approx(1.2, abs=1e-10)
    assert config.curriculum(200) == config.curriculum(10)


def test_the_cosine_of_equation_7_is_the_negative_of_the_authors_schedule() -> None:
    for epoch in range(1, 14):
        authors = (np.cos(min(epoch, 10) * np.pi / 10) + 1) / 2 - 1
        assert CurriculumTemperatureConfig().curriculum(epoch) == pytest.approx(-authors, abs=1e-10)


def test_the_linear_schedule_reaches_its_maximum() -> None:
    config = CurriculumTemperatureConfig(schedule="linear", capped_epochs=4)
    assert [config.curriculum(epoch) for epoch in (0, 1, 2, 4, 9)] == [0, 0.25, 0.5, 1, 1]


def test_temperature_starts_where_the_authors_start_and_stays_in_range() -> None:
    method = built(CurriculumTemperatureConfig()).double()
    assert method.scalars()["temperature"] == pytest.approx(1 + 20 / (1 + np.exp(-1)), abs=1e-10)
    for theta, bound in ((-50.0, 1.0), (50.0, 21.0)):
        torch.nn.init.constant_(method.theta, theta)  # type: ignore[arg-type]
        assert method.scalars()["temperature"] == pytest.approx(bound, abs=1e-10)


def test_equals_the_slow_numpy_twin(
    logits: Draw, softmax: Callable[..., np.ndarray], divergence: Callable[..., float]
) -> None:
    student, teacher, labels = logits(7, 4, seed=6), logits(7, 4, seed=7), torch.arange(7) % 4
    temperature = 1 + 20 / (1 + np.exp(-1))
    rows = list(zip(student.numpy(), teacher.numpy(), labels.tolist(), strict=True))
    soft = np.mean([divergence(softmax(t, temperature), softmax(s, temperature)) for s, t, _ in rows])
    label = np.mean([-np.log(softmax(s)[y]) for s, _, y in rows])
    method = built(CurriculumTemperatureConfig(alpha=0.3)).double()
    found = method((Outputs(student),), Outputs(teacher), samples(labels))
    assert found["soft"].item() == pytest.approx(0.3 * temperature**2 * soft, abs=1e-10)
    assert found["label"].item() == pytest.approx(0.7 * label, abs=1e-10)


def test_the_adversarys_gradient_comes_from_both_places_of_the_temperature(
    logits: Draw, softmax: Callable[..., np.ndarray]
) -> None:
    """Minus d(T^2 KL)/d(theta), T inside and outside, in every epoch: NumPy's by a complex step, exact to rounding."""
    student, teacher, labels = logits(7, 4, seed=8), logits(7, 4, seed=9), torch.zeros(7, dtype=torch.int64)
    method = built(CurriculumTemperatureConfig(alpha=1.0)).double()
    method.start_epoch(5)
    method((Outputs(student),), Outputs(teacher), samples(labels))["soft"].backward()

    temperature = 1 + 20 / (1 + np.exp(-(1 + 1e-30j)))
    total = 0j
    for s, t in zip(student.numpy(), teacher.numpy(), strict=True):
        p_s, p_t = softmax(s, temperature), softmax(t, temperature)
        total += temperature**2 * (p_t * (np.log(p_t) - np.log(p_s))).sum() / 7
    theta = method.theta
    assert isinstance(theta, torch.nn.Parameter)
    assert theta.grad is not None
    assert theta.grad.item() == pytest.approx(-total.imag / 1e-30, abs=1e-10)


def step(logits: Draw, curriculum_epoch: int) -> tuple[float, float, torch.Tensor]:
    """Loss before and after one update of theta alone, and theta's gradient."""
    method = built(CurriculumTemperatureConfig(alpha=1.0)).double()
    method.start_epoch(curriculum_epoch)
    student, teacher, labels = logits(16, 5, seed=0), logits(16, 5, seed=1), torch.zeros(16, dtype=torch.int64)
    before = method((Outputs(student),), Outputs(teacher), samples(labels))["soft"]
    before.backward()
    theta = method.theta
    assert isinstance(theta, torch.nn.Parameter)
    assert theta.grad is not None
    with torch.no_grad():
        theta -= 1e-2 * theta.grad
    after = method((Outputs(student),), Outputs(teacher), samples(labels))["soft"]
    return before.item(), after.item(), theta.grad


def test_a_descent_step_of_the_optimizer_raises_the_loss_through_theta(logits: Draw) -> None:
    before, after, gradient = step(logits, 10)
    assert gradient != 0
    assert after > before


def test_the_same_descent_step_lowers_the_loss_through_the_student(logits: Draw) -> None:
    method = built(CurriculumTemperatureConfig()).double()
    method.start_epoch(10)
    student, teacher, labels = logits(16, 5, seed=0).requires_grad_(), logits(16, 5, seed=1), torch.arange(16) % 5
    arguments = Outputs(teacher), samples(labels)
    before = torch.stack(list(method((Outputs(student),), *arguments).values())).sum()
    before.backward()
    assert student.grad is not None
    after = torch.stack(list(method((Outputs(student - 1e-2 * student.grad),), *arguments).values())).sum()
    assert after.item() < before.item()


def moved(optimizer: AdamW | SGD, curriculum: float, steps: int = 100) -> float:
    """How far the loop's own steps move theta while the student stands still."""
    config = CurriculumTemperatureConfig(lambda_min=curriculum, lambda_max=curriculum)
    training = TrainingSettings(epochs=1, batch_size=8, optimizer=optimizer, schedule=Steps(epochs=()))
    torch.manual_seed(0)
    objective = Objective(nn.ModuleList([network(5)]), built(config, 5))
    span = Span(Stage("theta", trains=lambda name: "theta" in name), 0, 1)
    teacher = 3 * torch.randn(8, 5)
    run = short_demo().model_copy(update={"method": config, "training": training})
    run = run.model_copy(update={"image": run.image.model_copy(update={"size_px": SIZE_PX})})
    stage = start(span, objective, lambda _: Outputs(teacher), None, run, State(), Fabric(accelerator="cpu", devices=1))
    batch = Batch(torch.rand(8, 1, SIZE_PX, SIZE_PX), torch.arange(8) % 5, torch.arange(8))
    stage.start_epoch(0)
    for step in range(steps):
        stage.start_step(step / steps, training)
        stage.stepper(batch)
    return objective.method.theta.item() - 1  # type: ignore[operator,union-attr]


@pytest.mark.parametrize("optimizer", [AdamW(lr=1e-4), SGD(lr=1e-3, momentum=0.9)], ids=["adamw", "sgd"])
def test_the_curriculum_acts_on_thetas_steps_whatever_the_optimizer(optimizer: AdamW | SGD) -> None:
    """Lambda as in the authors' first epoch and at its maximum: theta goes that much slower, and with 0 nowhere."""
    full = moved(optimizer, 1.0)
    assert abs(full) > 1e-4
    assert moved(optimizer, 0.0245) == pytest.approx(0.0245 * full, rel=0.05, abs=1e-6)
    assert moved(optimizer, 0.0) == 0


def test_the_student_learns_the_same_in_every_epoch(logits: Draw) -> None:
    gradients = []
    for epoch in (1, 10):
        method = built(CurriculumTemperatureConfig()).double()
        method.start_epoch(epoch)
        student = logits(8, 5, seed=2).requires_grad_()
        losses = method((Outputs(student),), Outputs(logits(8, 5, seed=3)), samples(torch.zeros(8, dtype=torch.int64)))
        torch.stack(list(losses.values())).sum().backward()
        gradients.append(student.grad)
    assert torch.equal(*gradients)


def test_the_student_learns_as_from_plain_distillation_at_the_same_temperature(logits: Draw) -> None:
    labels, teacher = torch.arange(8) % 5, logits(8, 5, seed=4)
    learned = built(CurriculumTemperatureConfig()).double()
    fixed = built(HintonKDConfig(temperature=learned.scalars()["temperature"], alpha=0.5))
    gradients = []
    for method in (learned, fixed):
        student = logits(8, 5, seed=5).requires_grad_()
        torch.stack(list(method((Outputs(student),), Outputs(teacher), samples(labels)).values())).sum().backward()
        gradients.append(student.grad)
    assert torch.allclose(*gradients, atol=1e-12)


def test_theta_is_in_the_optimizer_and_is_not_decayed() -> None:
    method = built(CurriculumTemperatureConfig())
    method.start_epoch(5)
    (group,) = method.parameter_groups()
    assert group["weight_decay"] == 0
    assert group["lr_factor"] == pytest.approx(0.5)
    assert group["params"][0] is method.theta


def test_the_gradient_is_reversed() -> None:
    value = torch.tensor(2.0, requires_grad=True)
    (3 * reversed_gradient(value)).backward()
    assert value.grad == -3


@pytest.mark.parametrize(
    "changes", [{"temperature_start": 0.0}, {"temperature_start": 90.0}, {"temperature_range": 100.0}]
)
def test_a_temperature_that_float32_cannot_use_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"temperature_start|must not exceed 100"):
        CurriculumTemperatureConfig(**changes)  # type: ignore[arg-type]
