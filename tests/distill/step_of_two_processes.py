"""Run by test_processes.py in two processes: a shared step of every method is the step of the whole batch."""

import copy
import json

import pytest
import torch
from torch import Tensor, nn

from distill.batches import Batch
from distill.config import with_overrides
from distill.errors import UsageError
from distill.methods import METHODS, Method
from distill.methods.weighted_sum import WeightedSumConfig
from distill.processes import Processes, start_processes
from distill.recipes import demo
from distill.reduction import mean_over_processes
from distill.train import Objective, Step

CLASSES, SIZE_PX = 5, 4


def methods() -> list[Method]:
    """Every method with its default settings, and a sum."""
    parts = [{"method": {"kind": kind}} for kind in ("spherical_kd", "curriculum_temperature")]
    alone = [config().build() for config in METHODS.values() if config is not WeightedSumConfig]  # type: ignore[call-arg]
    return [*alone, WeightedSumConfig.model_validate_json(json.dumps({"parts": parts})).build()]


def whole_step(objective: Objective, batch: Batch, teacher: Tensor | None) -> dict[str, float]:
    """One descent at rate 1 on the whole batch, in this process alone."""
    losses = objective(batch.images, batch.labels, teacher)
    torch.stack(list(losses.values())).sum().backward()
    with torch.no_grad():
        for parameter in objective.parameters():
            assert parameter.grad is not None
            parameter -= parameter.grad
    return {name: loss.item() for name, loss in losses.items()}


def shared_step(processes: Processes, objective: Objective, batch: Batch, teacher: Tensor | None) -> dict[str, float]:
    """The same through Fabric, every process with its share."""
    of = processes.share.of
    part = Batch(of(batch.images), of(batch.labels), of(batch.indices))
    answer = None if teacher is None else of(teacher)
    wrapped, optimizer = processes.fabric.setup(objective, torch.optim.SGD(objective.parameters(), lr=1.0))
    step = Step(processes.fabric, wrapped, optimizer, lambda _: answer, SIZE_PX)  # type: ignore[arg-type]
    return {name: mean_over_processes(loss).item() for name, loss in step(part).items()}


def check_method(processes: Processes, method: Method, batch: Batch, teacher: Tensor) -> None:
    """Losses and every parameter after the step agree, those of the method itself included."""
    torch.manual_seed(1)
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(SIZE_PX**2, CLASSES)) for _ in range(method.num_students)]
    method.start_epoch(9)
    alone = Objective(nn.ModuleList(networks), method)
    together = copy.deepcopy(alone)
    answers = teacher if method.needs_teacher else None
    expected, found = whole_step(alone, batch, answers), shared_step(processes, together, batch, answers)
    name = type(method).__name__
    assert found.keys() == expected.keys(), name
    for loss, value in expected.items():
        assert abs(found[loss] - value) < 2e-5, (name, loss, found[loss], value)
    for left, right in zip(alone.parameters(), together.parameters(), strict=True):
        assert torch.allclose(left, right, atol=2e-5), (name, left, right)


def check_first(processes: Processes) -> None:
    """What the first process finds, all know: results and errors."""
    assert processes.first(lambda: processes.share.number) == 0

    def refuse() -> None:
        assert processes.share.number == 0
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        processes.first(refuse)


def main() -> None:
    processes = start_processes(with_overrides(demo(), ["device=cpu"]))
    assert processes.share.count == 2
    check_first(processes)
    numbers = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % CLASSES
    batch = Batch(torch.rand(12, 1, SIZE_PX, SIZE_PX, generator=numbers), labels, torch.arange(12))
    # The two halves differ in scale, so that whatever is averaged over the wrong images shows.
    teacher = 3 * torch.randn(12, CLASSES, generator=numbers) * torch.linspace(0.2, 3, 12)[:, None]
    for method in methods():
        check_method(processes, method, batch, teacher)
    if processes.share.number == 0:
        print(f"{len(methods())} methods agree")


if __name__ == "__main__":
    main()
