"""`bench --device cuda` of a student and its teacher, batch 1 to 256."""

from pathlib import Path

from bench.compare.speed_up import compare
from bench.record import read_journal
from bench.timing.intervals import median_interval
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.place import Place, last_words, small_run

BATCHES = "1,8,64,256"


def check(place: Place) -> Finding:
    """Train a student and its teacher for moments, export both, measure every way to run them."""
    run, artifacts, journal = place.scratch / "run", place.scratch / "artifacts", place.scratch / "measurements.jsonl"
    steps: list[tuple[str, tuple[str, ...]]] = [
        ("distill", (*small_run(place, "training.epochs=1", "teacher.training.epochs=1"), "--out", str(run))),
        *(("export", export_words(folder, artifacts / folder.name)) for folder in (run, run / "teacher")),
        ("bench", measure_words(place, artifacts, journal)),
    ]
    for package, words in steps:
        ended = place.run(package, *words)
        if ended.returncode:
            return Finding(passed=False, words=f"python -m {package} {words[0]} …: {last_words(ended)}")
    return Finding(passed=True, words="Median per call; intervals are 95 %.", tables=(table_of(journal),))


def export_words(run: Path, out: Path) -> tuple[str, ...]:
    """Words of `python -m export` for what a GPU can run with the extra `train` alone."""
    return (str(run), "--format", "eager,torchscript", "--precision", "fp32", "--allow-loss", "--out", str(out))


def measure_words(place: Place, artifacts: Path, journal: Path) -> tuple[str, ...]:
    """Words of `python -m bench`."""
    device = "cuda" if place.on_gpu else "cpu"
    batches = BATCHES if place.on_gpu else "1"
    return (str(artifacts), "--device", device, "--batch", batches, "--launches", "1", "--out", str(journal))


def table_of(journal: Path) -> Table:
    """Every row of the journal, with its speed-up against the teacher where there is one."""
    rows = []
    for row in compare(read_journal(journal).measurements):
        one, median = row.measurement, median_interval(row.measurement.samples_by_launch)
        faster = f"{row.speed_up.value:.1f} ×" if row.speed_up else "–"
        how = one.accelerator_requested or f"{one.subject.format} {one.subject.precision}"
        known = f"{median.value:.3f} ± {100 * median.half_width:.1f} %"
        rows.append((one.subject.name, how, str(one.batch), known, faster))
    return Table(columns=("model", "runs as", "batch", "median ms", "speed-up"), rows=tuple(rows))
