"""A search's trials as a table: Markdown to read, CSV for programs, rows for the terminal."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from distill.contract import write_whole
from distill.tuning.record import Search
from distill.tuning.search import best_trial
from distill.tuning.trials import Trial
from distill.tuning.varied import in_words

MARKDOWN_FILE = "table.md"
CSV_FILE = "table.csv"
DEVIATIONS_OF_95 = 1.96


def write_tables(folder: Path, search: Search, trials: Sequence[Trial]) -> None:
    """Write `table.md` and `table.csv` into the search's folder."""
    write_whole(folder / MARKDOWN_FILE, markdown(search, trials).encode())
    write_whole(folder / CSV_FILE, comma_separated(search, trials).encode())


def head(search: Search) -> list[str]:
    """The columns: one for each setting between the trial and its score."""
    return ["trial", *(varied.path for varied in search.varied), f"{measure(search)} %", "epochs", "ended"]


def rows(search: Search, trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """The trials in words, those that were run to their end first, the best of them at the top."""
    order = sorted(trials, key=lambda trial: (trial.ended != "complete", -(trial.score or 0.0)))
    return [
        (
            str(trial.number),
            *(in_words(trial.values[varied.path]) for varied in search.varied),
            "–" if trial.score is None else f"{100 * trial.score:.2f}",
            str(max(trial.scores, default=0)),
            trial.ended or "running",
        )
        for trial in order
    ]


def remarks(search: Search, trials: Sequence[Trial]) -> list[str]:
    """What a person should know before using what was found, a sentence each."""
    best = best_trial(trials)
    assert best is not None
    assert best.score is not None
    count = search.data.num_validation
    near = doubt(best.score, count)
    rivals = [t for t in trials if t.ended == "complete" and t is not best and (t.score or 0) >= best.score - near]
    epochs = search.epochs or search.config.training.epochs
    said = [
        f"Scores are the {measure(search)} of the best epoch on {count:,} training images that were held back from "
        f"{search.data.num_train:,} others; the validation images were not looked at. The best of many is flattered: "
        "only a run on all training images tells what it is worth."
    ]
    if rivals:
        listed = ", ".join(str(trial.number) for trial in rivals)
        said.append(
            f"So many images do not tell the best from what is less than {100 * near:.1f} points below it, as are "
            f"{len(rivals)} other trials ({listed})."
        )
    if epochs != search.config.training.epochs:
        said.append(
            f"Trials had {epochs} epochs, the run has {search.config.training.epochs}; what is best for a short "
            "training need not be best for a long one."
        )
    return said


def doubt(share: float, count: int) -> float:
    """Half of the 95 % interval of the difference between two shares like this one, each of so many images."""
    return DEVIATIONS_OF_95 * (2 * share * (1 - share) / count) ** 0.5


def markdown(search: Search, trials: Sequence[Trial]) -> str:
    """The table with sentences on how to read it."""
    columns = head(search)
    parts = [f"# Search of {search.config.name}\n", *(f"{sentence}\n" for sentence in remarks(search, trials))]
    parts += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    parts += ["| " + " | ".join(row) + " |" for row in rows(search, trials)]
    return "\n".join(parts) + "\n"


def comma_separated(search: Search, trials: Sequence[Trial]) -> str:
    """One row per trial in the order they were begun, plain numbers, scores as fractions, for other programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    paths = [varied.path for varied in search.varied]
    writer.writerow(["trial", *paths, "score", "epochs", "ended", "seconds"])
    for trial in trials:
        outcome = (trial.score, max(trial.scores, default=0), trial.ended, trial.seconds)
        writer.writerow([trial.number, *(trial.values[path] for path in paths), *outcome])
    return text.getvalue()


def measure(search: Search) -> str:
    """What trials are judged by, in words."""
    return search.config.share.title
