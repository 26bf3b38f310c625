"""What training costs beside other work: torch's threads as they come, against threads that soon sleep when they wait.

Both in processes of their own, since the threads are told when they start; the other work is one busy process per core.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from distill import system
from distill.system import SPINS
from tests.performance.side_by_side import Comparison

ROUNDS = 3
SECONDS = 8.0
BATCH, SIZE_PX = 32, 64


def comparisons(rounds: int = ROUNDS) -> list[Comparison]:
    """Seconds per image, alone and in a crowd."""
    system.wait_briefly()
    briefly = dict(os.environ)
    as_it_comes = {name: value for name, value in briefly.items() if name != SPINS}
    found: list[Comparison] = []
    for where, others, goal in (("alone", 0, "≥ 0.95"), ("in a crowd", system.usable_cores(), "≥ 1.5")):
        base_s: list[float] = []
        new_s: list[float] = []
        with busy(others):
            for turn in range(rounds):
                sides = [(as_it_comes, base_s), (briefly, new_s)]
                for environment, seconds in sides[:: 1 if turn % 2 else -1]:
                    seconds.append(1 / images_per_second(environment))
        found.append(Comparison(f"threads that soon sleep, {where}", goal, tuple(base_s), tuple(new_s)))
    return found


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def images_per_second(environment: dict[str, str]) -> float:
    """Of a network that is trained in a process of its own."""
    command = [sys.executable, "-m", "tests.performance.crowded"]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def train() -> float:
    """Images per second of MobileNetV3-Small's supervised step, with a thread for each core."""
    import torch
    from torchvision.models import mobilenet_v3_small

    torch.set_num_threads(system.usable_cores())
    network = mobilenet_v3_small(num_classes=10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images, labels = torch.randn(BATCH, 3, SIZE_PX, SIZE_PX), torch.zeros(BATCH, dtype=torch.long)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    step(), step()
    steps, started = 0, time.monotonic()
    while (passed := time.monotonic() - started) < SECONDS:
        step()
        steps += 1
    return steps * BATCH / passed


if __name__ == "__main__":
    print(train())
