"""What an epoch shows while it runs: mean losses, images per second, and the first loss that is not finite."""

import time

import torch
from rich.progress import Progress, TaskID
from torch import Tensor

from distill.config import RunConfig
from distill.errors import Diverged
from distill.training.reduction import mean_over_processes, minimum_over_processes

CUDA_STEPS_BETWEEN_READS = 20
"""On a GPU losses are read (which makes the host wait) only every so many steps."""

NEVER = torch.iinfo(torch.int64).max


class LossWatch:
    """Means of the named losses, and the first step at which one was not finite, without making a GPU wait.

    Where several processes share a batch, what is read is the whole batch's; all of them must read at the same steps.
    """

    def __init__(self, config: RunConfig, epoch: int, device: torch.device) -> None:
        self.config = config
        self.epoch = epoch
        self.steps = 0
        self.sums: dict[str, Tensor] = {}
        self.first_bad = torch.full((), NEVER, dtype=torch.int64, device=device)
        self.every = CUDA_STEPS_BETWEEN_READS if device.type == "cuda" else 1

    def add(self, step: int, losses: dict[str, Tensor]) -> None:
        """Take note of one step's losses."""
        self.steps += 1
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss if name in self.sums else loss.clone()
        bad = ~torch.isfinite(torch.stack(list(self.sums.values()))).all()
        self.first_bad = torch.minimum(self.first_bad, torch.where(bad, step, NEVER))

    def due(self, step: int, steps: int) -> bool:
        """True if it is time to look."""
        return (step + 1) % self.every == 0 or step + 1 == steps

    def check(self) -> dict[str, float]:
        """Means so far; raises Diverged if a loss was not finite."""
        means = self.means()
        step = int(minimum_over_processes(self.first_bad))
        if step != NEVER:
            parts = ", ".join(f"{name} = {value:g}" for name, value in means.items())
            raise Diverged(
                f"the loss is no longer finite since step {step + 1} of epoch {self.epoch + 1} "
                f"(method {self.config.method.kind}: {parts}). Training stopped at once; the state after epoch "
                f"{self.epoch} is kept. A lower rate usually helps: "
                f"--set training.optimizer.lr={self.config.training.optimizer.lr / 10:g} --restart"
            )
        return means

    def means(self) -> dict[str, float]:
        """Mean of each named loss over the steps so far."""
        totals = mean_over_processes(torch.stack(list(self.sums.values()))).tolist()
        return {name: total / self.steps for name, total in zip(self.sums, totals, strict=True)}


class Meter:
    """Shows loss and images per second while an epoch runs."""

    def __init__(self, display: Progress, bar: TaskID) -> None:
        self.display = display
        self.bar = bar
        self.started = time.perf_counter()
        self.shown_steps = 0

    def show(self, losses: dict[str, float], images: int, steps: int) -> None:
        """Update the line: losses so far, images seen in this epoch, steps taken in it."""
        rate = images / (time.perf_counter() - self.started)
        parts = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self.display.update(self.bar, advance=steps - self.shown_steps, note=f"{parts}  {rate:.0f} images/s")
        self.shown_steps = steps
