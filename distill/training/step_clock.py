"""How long a training step takes, without making a GPU wait for the clock."""

import time
from statistics import median

import torch


class StepClock:
    """Marks the end of every step: with events on a GPU, which are read at the end, with the wall clock elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.events: list[torch.cuda.Event] = []
        self.times_s: list[float] = []
        self.tick()

    def tick(self) -> None:
        """A step has ended; the time since the last tick is its time, loading of the batch included."""
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.events.append(event)
        else:
            self.times_s.append(time.perf_counter())

    def median_ms(self) -> float:
        """Median time of the steps so far; on a GPU this waits for the last one."""
        if self.on_gpu:
            self.events[-1].synchronize()
            return median(a.elapsed_time(b) for a, b in zip(self.events, self.events[1:], strict=False))
        return 1000 * median(b - a for a, b in zip(self.times_s, self.times_s[1:], strict=False))
