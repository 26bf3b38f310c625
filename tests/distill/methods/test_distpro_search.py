"""The steps of the search, against autograd through the whole of them; and what is left of it."""

import copy
import functools
import itertools
from collections.abc import Iterator

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.func import functional_call

from distill.config import SGD, TrainingSettings
from distill.errors import Diverged
from distill.methods import Outputs
from distill.methods.distpro_search import DistProSearch, DistProSearchConfig
from distill.process import search
from distill.process.hyper_gradient import hyper_gradient
from distill.process.pathways import Grid
from distill.process.settings import SGDFactors
from distill.training.batches import Batch
from distill.training.dry_run import DryRun
from distill.training.step import Objective, Step, make_optimizer
from distill.vision.models import ImageClassifier
from tests.distill.methods.toy import SIZE_PX, dry, network, teacher_for

LABELS = torch.arange(8) % 3
TRAINING = TrainingSettings(epochs=1, batch_size=8, optimizer=SGD(lr=0.1, nesterov=True))
SMALL = Grid(transforms=("two_convolutions",), pairs="lower_to_higher")


def batches() -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(0)
    while True:
        images = torch.rand(8, 1, SIZE_PX, SIZE_PX, generator=generator, dtype=torch.float64)
        yield Batch(images, LABELS, torch.arange(8))


class Searched:
    """A search on a student with batch normalisation, in float64, some steps after its beginning."""

    def __init__(self, config: DistProSearchConfig, steps: int) -> None:
        torch.manual_seed(0)
        self.student = network(3, normalised=True)
        self.teacher = teacher_for("", 3).double()
        self.run: DryRun = dry(config, [self.student], self.teacher.float(), LABELS)
        self.teacher.double()
        method = self.run.method.double()
        assert isinstance(method, DistProSearch)
        self.method = method
        self.objective = Objective(nn.ModuleList([self.student]), method, self.run.students).double()
        self.asked = 0
        self.optimizer = make_optimizer(TRAINING, self.objective)
        fabric = Fabric(accelerator="cpu", devices=1)
        self.step = Step(fabric, self.objective, self.optimizer, self.answer, SIZE_PX)
        self.stream = batches()
        self.search = method.stepper(self.step, self.stream)
        method.start_epoch(1)
        with self.run.tapped():
            for _ in range(steps):
                self.search(next(self.stream))

    @torch.no_grad()
    def answer(self, batch: Batch) -> Outputs:
        self.asked += 1
        assert self.run.teacher is not None
        return Outputs(self.teacher(batch.images), self.run.teacher.take())


def exact_gradient(whole: Searched, batch: Batch, other: Batch) -> Tensor:
    """In the raw factors, through the optimizer's step, twice differentiated."""
    raw = whole.method.raw.clone().requires_grad_()
    buffers = {name: buffer.clone() for name, buffer in whole.objective.named_buffers()}
    arguments, of_other = whole.step.arguments(batch), whole.step.arguments(other)
    named = {name: value for name, value in whole.objective.named_parameters() if name.startswith("students.")}
    weights = {name: value.detach().clone().requires_grad_() for name, value in named.items()}
    whole.objective.losses = whole.method.parts
    parts = functional_call(whole.objective, {**weights, **buffers}, arguments)
    loss = parts["label"] + whole.method.scale * (whole.method.weights_of(raw) * parts["distances"]).sum()
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    chosen = TRAINING.optimizer
    assert isinstance(chosen, SGD)
    ahead = {}
    for (name, value), parameter, gradient in zip(weights.items(), named.values(), gradients, strict=True):
        gradient = gradient + chosen.weight_decay * value.detach()
        velocity = chosen.momentum * whole.optimizer.state[parameter]["momentum_buffer"] + gradient
        ahead[name] = value.detach() - chosen.lr * (gradient + chosen.momentum * velocity)
    error = functional_call(whole.objective, {**ahead, **buffers}, of_other)["label"]
    whole.objective.losses = None
    return torch.autograd.grad(error, raw)[0]


@pytest.mark.parametrize("normalisation", ["biased_softmax", "sigmoid"])
def test_the_gradient_of_the_factors_is_that_of_the_error_after_the_step(
    normalisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With steps so short that no ReLU of these networks changes sides on the way; see test_hyper_gradient.py."""
    monkeypatch.setattr(search, "hyper_gradient", functools.partial(hyper_gradient, step_length=1e-5))
    config = DistProSearchConfig(normalisation=normalisation, factors=SGDFactors(lr=1.0))  # type: ignore[arg-type]
    whole = Searched(config, steps=2)
    batch, other = next(whole.stream), next(whole.stream)
    before = whole.method.raw.clone()
    with whole.run.tapped():
        expected = exact_gradient(whole, batch, other)
        whole.stream = itertools.chain([other], whole.stream)
        whole.search.held_back = whole.stream  # type: ignore[attr-defined]
        whole.search(batch)
    assert whole.method.raw.grad is not None
    assert (whole.method.raw.grad - expected).norm() <= 1e-4 * expected.norm()
    assert torch.equal(whole.method.raw, before - whole.method.raw.grad)
    assert expected.norm() > 0


def test_a_step_is_the_plain_one_with_the_new_weights_asks_once_and_moves_statistics_once() -> None:
    whole = Searched(DistProSearchConfig(grid=SMALL), steps=1)
    batch = next(whole.stream)
    twin: tuple[ImageClassifier, DistProSearch] = copy.deepcopy((whole.student, whole.method))
    optimizer_state = copy.deepcopy(whole.optimizer.state_dict())
    norms = [module for module in whole.objective.modules() if isinstance(module, nn.BatchNorm2d)]
    calls: list[int] = []
    whole.student.network.register_forward_hook(lambda *_: calls.append(1))
    of_transforms: list[int] = []
    for number, transform in enumerate(whole.method.distances.transforms):
        transform.register_forward_hook(lambda *_, number=number: of_transforms.append(number))
    asked = whole.asked
    with whole.run.tapped():
        losses = whole.search(batch)
    assert (len(calls), whole.asked - asked) == (4, 1)
    assert of_transforms == list(range(len(whole.method.distances)))
    assert {int(norm.num_batches_tracked) for norm in norms if norm.num_batches_tracked is not None} == {2}
    student, method = twin
    method.raw.copy_(whole.method.raw)
    taps = type(whole.run.students[0])(student.network, whole.run.students[0].places)
    objective = Objective(nn.ModuleList([student]), method, (taps,))
    optimizer = make_optimizer(TRAINING, objective)
    optimizer.load_state_dict(optimizer_state)
    step = Step(whole.step.fabric, objective, optimizer, whole.answer, SIZE_PX)
    with whole.run.tapped(), taps.attached():
        expected = step(batch)
    assert losses == expected
    for (name, left), right in zip(whole.objective.state_dict().items(), objective.state_dict().values(), strict=True):
        # Slopes are weighed after they are found, and not before: the last bits may differ.
        assert not isinstance(left, Tensor) or torch.allclose(left, right, rtol=1e-12, atol=1e-14), name


def test_weights_stay_on_the_simplex_and_every_epoch_gives_a_row_of_means() -> None:
    whole = Searched(DistProSearchConfig(grid=SMALL), steps=0)
    seen: list[list[Tensor]] = []
    with whole.run.tapped():
        for epoch in (1, 2):
            whole.method.start_epoch(epoch)
            seen.append([])
            for _ in range(3):
                whole.search(next(whole.stream))
                weights = whole.method.weights_of(whole.method.raw)
                assert (weights > 0).all()
                assert weights.sum() < 1
                seen[-1].append(whole.method.raw.clone())
    expected = [torch.stack(rows).mean(0).tolist() for rows in seen]
    for found, row in zip(whole.method.process(), expected, strict=True):
        assert found == pytest.approx(row)
    levels = whole.method.scalars()
    assert list(levels) == [f"weight_of_teacher_level_{level}" for level in (1, 2, 3)]
    assert sum(levels.values()) == pytest.approx(whole.method.weights_of(whole.method.raw).sum().item())
    other = Searched(DistProSearchConfig(grid=SMALL), steps=0).method
    other.load_state_dict(copy.deepcopy(whole.method.state_dict()))
    assert other.process() == whole.method.process()
    assert torch.equal(other.raw, whole.method.raw)


def test_factors_that_are_not_finite_end_the_search_before_the_epoch_is_kept() -> None:
    method = Searched(DistProSearchConfig(grid=SMALL), steps=0).method
    method.raw.fill_(torch.nan)
    with pytest.raises(Diverged, match="weights of the pathways are not finite"):
        method.scalars()


def test_the_loss_of_an_auxiliary_head_is_learnt_from_during_a_search_too() -> None:
    method = Searched(DistProSearchConfig(grid=SMALL), steps=0).method
    some = torch.tensor(1.0)
    losses = method.losses({"distances": torch.zeros(len(method.distances)), "label": some, "auxiliary": 2 * some})
    assert {name: loss.item() for name, loss in losses.items()} == {"feature": 0, "label": 1, "auxiliary": 2}
