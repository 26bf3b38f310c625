"""Run by test_processes.py in two processes: a shared step of every method is the step of the whole batch."""

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from distill.config import with_overrides
from distill.errors import UsageError
from distill.methods import AnyMethod, Outputs, Stage
from distill.methods.scratch import Scratch, ScratchConfig
from distill.run_folder import State
from distill.studies import short_demo
from distill.training import reduction
from distill.training.batches import Batch
from distill.training.dry_run import DryRun
from distill.training.processes import Processes, start_processes
from distill.training.reduction import mean_over_processes
from distill.training.stages import spans, start
from distill.training.step import Objective, Step
from distill.vision.models import ImageClassifier
from tests.distill.methods.toy import OF_PICTURES, SIZE_PX, dry, method_config, network, teacher_for

CLASSES = 5
LABELS = torch.arange(12) % CLASSES
Teacher = Callable[[Batch], Outputs | None]
Named = dict[str, float]


def objective_of(config: AnyMethod, teacher: ImageClassifier) -> tuple[Objective, DryRun]:
    """Students and method, the same in every process; batch normalisation of adapters would see only its share."""
    torch.manual_seed(1)
    students = [network(CLASSES) for _ in range(config.needs.students)]
    run = dry(config, students, teacher, LABELS)
    run.method.start_epoch(9)
    for module in run.method.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    return Objective(nn.ModuleList(students), run.method, run.students), run


def answers_of(config: AnyMethod, teacher: ImageClassifier, table: Tensor, run: DryRun) -> Teacher:
    """Kept logits, which are far apart for the two halves of the batch, and what is tapped."""

    @torch.no_grad()
    def answer(batch: Batch) -> Outputs | None:
        if config.needs.teacher == "none":
            return None
        teacher(batch.images)
        return Outputs(table[batch.indices], {} if run.teacher is None else run.teacher.take())

    return answer


def whole_step(config: AnyMethod, teacher: ImageClassifier, batch: Batch, table: Tensor) -> tuple[Objective, Named]:
    """One descent at rate 1 on the whole batch, in this process alone, which the others do not disturb."""
    objective, run = objective_of(config, teacher)
    with run.tapped(), alone():
        answer = answers_of(config, teacher, table, run)(batch)
        logits, taps = (None, {}) if answer is None else (answer.logits, dict(answer.taps))
        losses = objective(batch.images, batch.labels, batch.indices, logits, taps)
        torch.stack(list(losses.values())).sum().backward()
    with torch.no_grad():
        for parameter in (each for each in objective.parameters() if each.requires_grad):
            assert parameter.grad is not None
            parameter -= parameter.grad
    return objective, {name: loss.item() for name, loss in losses.items()}


@contextmanager
def alone() -> Generator[None]:
    """Losses are not reduced over processes within the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduction, "_several", lambda: False)
        yield


def shared_step(
    processes: Processes, config: AnyMethod, teacher: ImageClassifier, batch: Batch, table: Tensor
) -> tuple[Objective, Named]:
    """The same through Fabric, every process with its share."""
    objective, run = objective_of(config, teacher)
    of = processes.share.of
    part = Batch(of(batch.images), of(batch.labels), of(batch.indices))
    wrapped, optimizer = processes.fabric.setup(objective, torch.optim.SGD(objective.parameters(), lr=1.0))
    step = Step(processes.fabric, wrapped, optimizer, answers_of(config, teacher, table, run), SIZE_PX)
    with run.tapped():
        losses = step(part)
    return objective, {name: mean_over_processes(loss).item() for name, loss in losses.items()}


def check_method(processes: Processes, kind: str, batch: Batch, table: Tensor) -> None:
    """Losses and every parameter after the step agree, those of the method itself included."""
    config = method_config(kind)
    torch.manual_seed(0)
    teacher = teacher_for(kind, CLASSES)
    whole, expected = whole_step(config, teacher, batch, table)
    together, found = shared_step(processes, config, teacher, batch, table)
    assert found.keys() == expected.keys(), kind
    for loss, value in expected.items():
        assert abs(found[loss] - value) < 2e-5 * max(1, abs(value)), (kind, loss, found[loss], value)
    for (name, left), right in zip(whole.named_parameters(), together.parameters(), strict=True):
        assert torch.allclose(left, right, atol=2e-5, rtol=1e-4), (kind, name, left, right)


def check_gathered(processes: Processes) -> None:
    """Averaged over processes, the gradient of own values through the gather is that of the whole batch."""
    whole = torch.randn(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    of = processes.share.of

    def loss(values: Tensor) -> Tensor:
        return (values @ values.T).pow(3).sum() + values.exp().mean()

    own = of(whole.detach()).requires_grad_()
    gathered = reduction.gathered(own)
    assert torch.equal(gathered, whole)
    loss(gathered).backward()
    loss(whole).backward()
    assert own.grad is not None
    assert whole.grad is not None
    assert torch.allclose(own.grad / processes.share.count, of(whole.grad), rtol=1e-12)


class Halves(Scratch):
    """The head alone, then all but the head: in each stage there are parameters that get no gradient."""

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("head", 1, trains=lambda name: ".head." in name),
            Stage("rest", trains=lambda name: ".stages." in name),
        )


def check_stages(processes: Processes, batch: Batch) -> None:
    """Two stages of one step each: every stage wraps anew, and what does not learn is not waited for."""
    torch.manual_seed(3)
    objective = Objective(nn.ModuleList([network(CLASSES)]), Halves(ScratchConfig()))
    whole = copy.deepcopy(objective)
    changes = ["training.optimizer.kind=sgd", "training.optimizer.momentum=0", "training.optimizer.weight_decay=0"]
    schedule = ["training.schedule.kind=steps", "training.schedule.epochs=[]", f"image.size_px={SIZE_PX}"]
    config = with_overrides(short_demo(), [*changes, *schedule, "training.optimizer.lr=0.5"])
    of = processes.share.of
    part = Batch(of(batch.images), of(batch.labels), of(batch.indices))
    for span in spans(objective.method.stages(), 2, kind="halves"):
        stage = start(span, objective, lambda _: None, None, config, State(epoch=span.first), processes.fabric)
        stage.start_epoch(span.first)
        stage.start_step(span.first, config.training)
        stage.stepper(part)
        with alone():
            whole(batch.images, batch.labels, batch.indices, None, {})["label"].backward()
        with torch.no_grad():
            for name, parameter in whole.named_parameters():
                assert parameter.grad is not None
                parameter -= 0.5 * parameter.grad if span.stage.trains(name) else 0
                parameter.grad = None
    for (name, left), right in zip(whole.named_parameters(), objective.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-6), name


def check_first(processes: Processes) -> None:
    """What the first process finds, all know: results and errors."""
    assert processes.first(lambda: processes.share.number) == 0

    def refuse() -> None:
        assert processes.share.number == 0
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        processes.first(refuse)


def main() -> None:
    processes = start_processes(with_overrides(short_demo(), ["device=cpu"]))
    assert processes.share.count == 2
    check_first(processes)
    check_gathered(processes)
    numbers = torch.Generator().manual_seed(0)
    batch = Batch(torch.rand(12, 1, SIZE_PX, SIZE_PX, generator=numbers), LABELS, torch.arange(12))
    # The two halves differ in scale, so that whatever is averaged over the wrong images shows.
    table = 3 * torch.randn(12, CLASSES, generator=numbers) * torch.linspace(0.2, 3, 12)[:, None]
    check_stages(processes, batch)
    for kind in OF_PICTURES:
        check_method(processes, kind, batch, table)
    if processes.share.number == 0:
        print(f"{len(OF_PICTURES)} methods agree")


if __name__ == "__main__":
    main()
