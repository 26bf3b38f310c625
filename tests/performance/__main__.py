"""make perf: every benchmark, side by side in one run; `python -m tests.performance NAME …` runs some of them."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

from distill import terminal
from distill.errors import UsageError
from distill.vision.datasets.echo_phantom import EchoPhantom, generate
from tests.performance import (
    augmentation,
    benching,
    crowded,
    export_matrix,
    feature_steps,
    hint_search,
    method_steps,
    phone,
    pictures,
    process_steps,
    side_by_side,
    training,
)


def phantom_images_per_minute() -> float:
    """Generation speed of the phantom on this machine, one process."""
    config = EchoPhantom(train_patients=20, validation_patients=1)
    started = time.perf_counter()
    images = generate(config, "train")
    return 60 * len(images) / (time.perf_counter() - started)


SECTIONS: dict[str, Callable[[], object]] = {
    "phantom": lambda: terminal.say(
        f"echo phantom: {phantom_images_per_minute():,.0f} images a minute (goal: thousands)"
    ),
    "training": lambda: side_by_side.show(training.comparisons()),
    "crowded": lambda: side_by_side.show(crowded.comparisons()),
    "methods": lambda: side_by_side.show(method_steps.comparisons()),
    "features": lambda: side_by_side.show(feature_steps.comparisons()),
    "process": lambda: side_by_side.show(process_steps.comparisons()),
    "hints": lambda: (side_by_side.show(hint_search.comparisons()), hint_search.clustering()),
    "augmentation": lambda: side_by_side.show(augmentation.comparisons()),
    "pictures": lambda: side_by_side.show(pictures.comparisons()),
    "data-page": pictures.data_page,
    "export": export_matrix.matrix,
    "phone": lambda: side_by_side.show(phone.comparisons()),
    "truth": benching.truth,
    "power": benching.power,
}


def main(
    sections: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(SECTIONS)}.", show_default="all")] = None,
) -> None:
    """Run benchmarks of this toolkit, side by side."""
    for name in sections or SECTIONS:
        if name not in SECTIONS:
            raise UsageError(f"there is no section {name!r}. Sections: {', '.join(SECTIONS)}")
        SECTIONS[name]()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    terminal.run(app)
