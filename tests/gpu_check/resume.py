"""A run that is killed goes on: what Fabric moved to the GPU is found there again, and learning continues."""

import time
from pathlib import Path

from distill.checkpoint import CARD_FILE, Card
from distill.run_folder import METRICS_FILE
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.place import Place, last_words, small_run

DIFFERENCE = 0.1
"""Of accuracy, between a run that was killed and one that was not. Sums on a GPU are not taken in the same order twice,
so two runs part slowly; a run that forgot its optimizer or its place in the schedule parts much further."""


def check(place: Place) -> Finding:
    """Kill a run once it has finished an epoch, go on with it, and hold it against one that was left alone."""
    words = small_run(place, "training.epochs=6")
    left_alone, killed = place.scratch / "left-alone", place.scratch / "killed"
    ended = place.run("distill", *words, "--out", str(left_alone))
    if ended.returncode:
        return Finding(passed=False, words=f"the run that was left alone failed: {last_words(ended)}")
    process = place.start("distill", *words, "--out", str(killed))
    while process.poll() is None and not epochs_finished(killed):
        time.sleep(0.02)
    process.kill()
    if process.wait() == 0:
        return Finding(passed=None, words="the run ended before it could be killed; nothing was shown.")
    before = epochs_finished(killed)
    ended = place.run("distill", *words, "--resume", "--out", str(killed))
    if ended.returncode:
        return Finding(passed=False, words=f"killed after epoch {before}, it did not go on: {last_words(ended)}")
    alone, resumed = (last_accuracy(folder) for folder in (left_alone, killed))
    table = Table(
        columns=("run", "accuracy after the last epoch"),
        rows=(("left alone", f"{alone:.4f}"), (f"killed after epoch {before}, resumed", f"{resumed:.4f}")),
    )
    apart = abs(alone - resumed)
    said = f"Killed by SIGKILL after epoch {before} and resumed; {100 * apart:.1f} points apart at the end."
    return Finding(passed=apart <= DIFFERENCE, words=said, tables=(table,))


def epochs_finished(run: Path) -> int:
    """How many epochs a run folder says are finished; its teacher has a folder of its own."""
    metrics = run / METRICS_FILE
    return len(metrics.read_text().splitlines()) if metrics.is_file() else 0


def last_accuracy(run: Path) -> float:
    """Validation accuracy after the last epoch, from the product's card."""
    training = Card.read(run / "best" / CARD_FILE).training
    assert training is not None
    return training.last.accuracy
