"""bf16 against fp32: the same run in both, how well each learns and how fast."""

import json
import statistics

from distill.run_folder import METRICS_FILE
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.place import Place, last_words, small_run
from tests.gpu_check.resume import last_accuracy

DIFFERENCE = 0.1
"""Of accuracy, beyond which two short runs have not learnt the same."""


def check(place: Place) -> Finding:
    """Train twice from one seed."""
    accuracy: dict[str, float] = {}
    rows: list[tuple[str, ...]] = []
    for precision in ("32-true", "bf16-mixed"):
        out = place.scratch / precision
        words = small_run(place, f"training.precision={precision}", f"teacher.training.precision={precision}")
        ended = place.run("distill", *words, "--out", str(out))
        if ended.returncode:
            return Finding(passed=False, words=f"{precision}: {last_words(ended)}")
        epochs = [json.loads(line) for line in (out / METRICS_FILE).read_text().splitlines()]
        accuracy[precision] = last_accuracy(out)
        rate = statistics.median(epoch["images_per_s"] for epoch in epochs[1:])
        rows.append((precision, f"{accuracy[precision]:.4f}", f"{epochs[-1]['loss']:.3f}", f"{rate:,.0f}"))
    apart = abs(accuracy["32-true"] - accuracy["bf16-mixed"])
    columns = ("precision", "accuracy after the last epoch", "validation loss, nats", "images/s, median of epochs 2 on")
    return Finding(
        passed=apart <= DIFFERENCE,
        words=f"One seed each; {100 * apart:.1f} points apart at the end.",
        tables=(Table(columns=columns, rows=tuple(rows)),),
    )
