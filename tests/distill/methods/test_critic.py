"""The critic's loss in closed form, what it learns, and whose gradient goes where."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from distill.errors import UsageError
from distill.methods import Outputs, Samples, Setting
from distill.methods.critic import AdversarialSettings, Critic, critics_loss
from distill.methods.intra_class_feature_variation import AdversarialVariation, IntraClassFeatureVariationConfig
from distill.methods.method import Stepper
from distill.methods.scratch import ScratchConfig
from distill.methods.task_losses import losses_of
from distill.methods.weighted_sum import Part, WeightedSumConfig
from distill.taps import PlacePairs

CLASSES, SIZE = 3, 16
MAPS = torch.Size((4, 8, 8))


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """A score whose gradient is the same everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, answers: Tensor) -> Tensor:
        return (answers * self.weight).sum((1, 2, 3))


@pytest.mark.parametrize("length", [0.5, 1.0, 3.0])
def test_the_loss_of_a_linear_critic_is_known_in_closed_form(length: float) -> None:
    weight = drawn(0, CLASSES, SIZE, SIZE)
    critic = Linear(length * weight / weight.norm())
    student, teacher = drawn(1, 2, CLASSES, SIZE, SIZE), drawn(2, 2, CLASSES, SIZE, SIZE)
    apart = critic(student).mean() - critic(teacher).mean()
    found = critics_loss(critic, student, teacher, gradient_penalty=10.0)
    assert found.item() == pytest.approx((apart + 10 * (length - 1) ** 2).item(), rel=1e-4)
    found.backward()
    assert critic.weight.grad is not None
    slope = (student.mean(0) - teacher.mean(0)) + 20 * (length - 1) * weight / weight.norm()
    assert torch.allclose(critic.weight.grad, slope, atol=1e-4)


@pytest.mark.parametrize("size", [7, 16, 48, 100])
def test_answers_of_any_size_have_one_score_each_and_a_picture_its_own(size: int) -> None:
    critic = Critic(CLASSES, width=8).eval()
    answers = drawn(0, 3, CLASSES, size, size)
    together = critic(answers)
    assert together.shape == (3,)
    assert torch.allclose(critic(answers[1:2]), together[1:2], atol=1e-6)


def test_a_critic_learns_to_tell_answers_apart() -> None:
    """The teacher's are sure of themselves, the student's are not."""
    torch.manual_seed(0)
    critic = Critic(CLASSES, width=8)
    optimizer = torch.optim.Adam(critic.parameters(), lr=4e-3, betas=(0.9, 0.99))
    for step in range(40):
        answers = drawn(step, 8, CLASSES, SIZE, SIZE)
        loss = critics_loss(critic, 0.1 * answers, 5 * answers.roll(1, 0), gradient_penalty=10.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    others = drawn(99, 8, CLASSES, SIZE, SIZE)
    with torch.no_grad():
        assert critic(5 * others).min() > critic(0.1 * others).max()


def test_a_teacher_of_another_size_is_judged_at_the_students() -> None:
    loss = critics_loss(
        Critic(CLASSES, width=8), drawn(0, 2, CLASSES, 16, 16), drawn(1, 2, CLASSES, 32, 32), gradient_penalty=10.0
    )
    assert torch.isfinite(loss)


def method(**changes: object) -> AdversarialVariation:
    config = IntraClassFeatureVariationConfig(adversarial=AdversarialSettings(width=8, **changes))  # type: ignore[arg-type]
    places = {config.taps: PlacePairs(("a",), ("b",))}
    setting = Setting(
        torch.zeros(2, dtype=torch.int64), CLASSES, student={"a": MAPS}, teacher={"b": MAPS}, places=places
    )
    built = config.build(setting)
    assert isinstance(built, AdversarialVariation)
    return built


def said(seed: int, place: str) -> Outputs:
    logits = drawn(seed, 2, CLASSES, SIZE, SIZE).requires_grad_()
    return Outputs(logits, {place: drawn(seed + 10, 2, *MAPS).requires_grad_()})


def samples() -> Samples:
    labels = torch.randint(0, CLASSES, (2, SIZE, SIZE), generator=torch.Generator().manual_seed(3))
    return Samples(labels, torch.arange(2), losses=losses_of("segmentation", "berhu"))


def test_the_student_is_asked_to_please_and_the_critic_stands_still() -> None:
    """The stage trains all but the critic, whose own step comes behind and takes no gradient to the student."""
    found = method()
    (stage,) = found.stages()
    names = [f"method.{name}" for name, _ in found.named_parameters()]
    assert names
    assert not any(stage.trains(name) for name in names)
    assert stage.trains("students.0.network.head.weight")
    found.requires_grad_(False)
    student = said(0, "a")
    losses = found((student,), said(1, "b"), samples())
    with torch.no_grad():
        assert losses["adversarial"].item() == pytest.approx(
            -0.001 * found.critic(student.logits).mean().item(), rel=0.2
        )
    (gradient,) = torch.autograd.grad(losses["adversarial"], student.logits)
    assert gradient.abs().max() > 0
    assert all(parameter.grad is None for parameter in found.parameters())


def test_the_critics_step_moves_the_critic_alone_and_is_resumed() -> None:
    found = method(lr=0.01)
    found.requires_grad_(False)
    student, teacher = said(0, "a"), said(1, "b")

    def plain(batch: object) -> dict[str, Tensor]:
        return {name: loss.detach() for name, loss in found((student,), teacher, samples()).items()}

    stepper: Stepper = found.stepper(plain, None)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in found.state_dict().items()}
    losses = stepper(None)  # type: ignore[arg-type]
    assert set(losses) == {"variation", "soft", "label", "adversarial", "critic"}
    assert not any(loss.requires_grad for loss in losses.values())
    changed = [name for name, value in found.named_parameters() if not torch.equal(before[name], value)]
    assert changed
    assert student.logits.grad is None
    assert not any(parameter.requires_grad for parameter in found.parameters())
    other = found.stepper(plain, None)  # type: ignore[arg-type]
    other.load_state_dict(stepper.state_dict())
    assert str(other.state_dict()["optimizer"]["state"][0]["step"]) == "tensor(1.)"


def test_it_is_off_unless_asked_for_and_has_no_place_in_a_sum() -> None:
    usual = IntraClassFeatureVariationConfig()
    assert usual.adversarial is None
    assert not usual.needs.one_process
    asked = IntraClassFeatureVariationConfig(adversarial=AdversarialSettings())
    assert asked.needs.one_process
    places = {asked.taps: PlacePairs(("a",), ("b",))}
    setting = Setting(torch.zeros(2, dtype=torch.int64), CLASSES, {"a": MAPS}, {"b": MAPS}, places)
    both = WeightedSumConfig(parts=(Part(method=asked), Part(method=ScratchConfig())))
    with pytest.raises(UsageError, match="takes its steps itself, so it cannot be part of a sum"):
        both.build(setting)
    with pytest.raises(ValidationError, match="width"):
        AdversarialSettings(width=20)


def test_a_step_of_the_critic_makes_no_gpu_wait() -> None:
    """On the meta device there are no values to be read."""
    critic = Critic(CLASSES, width=8).to("meta")
    student, teacher = (torch.empty(2, CLASSES, SIZE, SIZE, device="meta") for _ in range(2))
    critics_loss(critic, student, teacher, gradient_penalty=10.0).backward()
    assert all(parameter.grad is not None for parameter in critic.parameters())
