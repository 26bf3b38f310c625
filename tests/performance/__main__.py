"""make perf: every benchmark, side by side in one run."""

import time

from distill import terminal
from distill.vision.datasets.echo_phantom import EchoPhantom, generate
from tests.performance import side_by_side, training


def phantom_images_per_minute() -> float:
    """Generation speed of the phantom on this machine, one process."""
    config = EchoPhantom(train_patients=20, validation_patients=1)
    started = time.perf_counter()
    images = generate(config, "train")
    return 60 * len(images) / (time.perf_counter() - started)


if __name__ == "__main__":
    terminal.say(f"echo phantom: {phantom_images_per_minute():,.0f} images a minute (goal: thousands)")
    side_by_side.show(training.comparisons())
