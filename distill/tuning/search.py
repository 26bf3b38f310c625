"""Run the trials of a search: each is a run like any other, judged on training images that are held back."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.markup import escape

from distill.config import LogitsTeacher, RunConfig, TrainTeacher, differences
from distill.contract import write_whole
from distill.data import load_data
from distill.errors import Diverged, UsageError, WorkFailed
from distill.run_folder import CONFIG_FILE, METRICS_FILE, STATE_FILE, RunFolder, State
from distill.system import started_by_torchrun
from distill.terminal import progress, say
from distill.train import check, check_method, score, train
from distill.training.batches import Share
from distill.tuning.locks import alone
from distill.tuning.record import Search, SearchData, on_training_images
from distill.tuning.trials import TRIALS, Claim, Trial, Trials, require_optuna
from distill.tuning.varied import Varied, in_words
from distill.version import toolkit_version

SEARCH_FILE = "search.json"
LOOK_EVERY_S = 1.0
ONE_DAY_S = 86_400


class _Hopeless(Exception):
    """Ends the run of a trial that is to be pruned."""


def prepare(
    config: RunConfig, varied: tuple[Varied, ...], *, epochs: int | None, held_back: float, seed: int
) -> Search:
    """A search of settings; the run is checked and its data are read, but nothing is trained or written.

    Raises:
        UsageError: whatever a run of these settings would be refused for; a teacher that does not fit a part of the
            training images; torchrun; no Optuna.
    """
    require_optuna()
    if started_by_torchrun()[0] > 1:
        raise UsageError(
            "torchrun starts processes that share one run. To share a search, start the same command several times: "
            "its trials are divided among all processes that search in one folder."
        )
    if isinstance(config.teacher, LogitsTeacher):
        raise UsageError(
            "a file of logits has one row for each training image, but trials learn from a part of them. Bring the "
            "teacher itself, as a checkpoint, a library network or a program."
        )
    source = config.teacher
    if isinstance(source, TrainTeacher) and any(taps.hints for taps in config.method.needs.taps):
        raise UsageError(
            "hints belong to a teacher that is trained already, and a search would train another one on a part of the "
            "training images. Bring the one that was searched: --set teacher.kind=checkpoint --set teacher.path=RUN"
        )
    trial = on_training_images(config, held_back, epochs)
    check(trial, Share())
    data = load_data(trial)
    if isinstance(source, TrainTeacher):
        check_method(trial, data, source)
    images = SearchData(
        train_sha256=data.train_sha256,
        validation_sha256=data.validation_sha256,
        num_train=len(data.train),
        num_validation=len(data.validation),
    )
    return Search(
        config=config,
        varied=varied,
        epochs=epochs,
        held_back=held_back,
        seed=seed,
        data=images,
        version=toolkit_version(),
    )


def tune(search: Search, folder: Path, total: int) -> list[Trial]:
    """Run trials until the folder holds `total` that have ended, whichever processes run them; returns all.

    Raises:
        UsageError: the folder holds another search, or no search.
        WorkFailed: not one trial was run to its end; what a trial's run raises, unless it diverged.
    """
    claim_folder(folder, search)
    trials = Trials(folder, search)
    before = [trial for trial in trials.all() if trial.ended]
    say(escape(f"{folder}: {total} trials, {len(before)} of them finished before"))
    with progress(estimate_over_s=ONE_DAY_S) as display:
        bar = display.add_task("search", total=total, completed=len(before), note="trials")
        while True:
            claim = trials.next(total)
            if claim is not None:
                with claim:
                    run_trial(search, trials, claim)
            elif all(trial.ended for trial in trials.all()):
                break
            else:
                time.sleep(LOOK_EVERY_S)
            now = trials.all()
            display.update(bar, completed=sum(trial.ended is not None for trial in now), note=best_so_far(now))
            if claim is not None:
                say(escape(trial_line(now, claim.number, total)))
    ended = trials.all()
    best = best_trial(ended)
    if best is None:
        how = " and ".join(sorted({str(trial.ended) for trial in ended}))
        raise WorkFailed(
            f"none of {len(ended)} trials was run to its end; they were {how}. "
            "Vary less, or around settings that are known to train, in another folder (--out)."
        )
    write_whole(folder / CONFIG_FILE, (search.best(best.values).model_dump_json(indent=2) + "\n").encode())
    return ended


def claim_folder(folder: Path, search: Search) -> None:
    """Write `search.json`, or raise UsageError if the folder is another search's or holds something else."""
    with alone(folder / ".lock"):
        file = folder / SEARCH_FILE
        if not file.is_file():
            if (folder / CONFIG_FILE).is_file():
                raise UsageError(
                    f"{folder} holds a {CONFIG_FILE} and no {SEARCH_FILE}. Choose another folder with --out."
                )
            search.write(file)
            return
        then, now = (each.model_dump(mode="json", exclude={"version"}) for each in (Search.read(file), search))
        changed = differences(then, now)
        if changed:
            raise UsageError(
                f"{folder} holds another search ({'; '.join(changed[:6])}). Trials of different searches are not "
                "compared: choose another folder with --out."
            )


def run_trial(search: Search, trials: Trials, claim: Claim) -> None:
    """Run a trial to its end, or as far as it is worth it; one with the values of an earlier one has its scores."""
    twin = next((t for t in trials.all() if t.ended == "complete" and t.values == claim.values), None)
    if twin is not None:
        say(f"trial {claim.number} has the settings of trial {twin.number} and is not run again")
        claim.report(twin.scores)
        claim.complete()
        return
    config, path = search.trial(claim.number, claim.values), trials.path(claim.number)
    measure = config.share

    def scores(rows: Sequence[Mapping[str, Any]]) -> dict[int, float]:
        return {number: score(row, measure) for number, row in enumerate(rows, start=1) if row.get("judged", True)}

    def watch(state: State) -> None:
        claim.report(scores(state.history))
        if state.epoch < config.training.epochs and claim.scores and claim.is_hopeless():
            raise _Hopeless

    train_teacher(config, trials.folder)
    try:
        train(config, path, resume=True, watch=watch)
    except _Hopeless:
        claim.prune()
        (path / STATE_FILE).unlink()
    except Diverged as error:
        claim.prune(diverged=str(error))
    else:
        claim.report(scores([json.loads(line) for line in (path / METRICS_FILE).read_text("utf-8").splitlines()]))
        claim.complete()


def train_teacher(config: RunConfig, folder: Path) -> None:
    """Train the teacher of a trial, once for all trials and by one process."""
    if not isinstance(config.teacher, TrainTeacher):
        return
    run = config.teacher_run()
    path = folder / TRIALS / run.name
    with alone(path.with_name(f".{run.name}.lock")):
        if RunFolder(path, run).finished() is None:
            say(escape(f"training the teacher first, on the same part of the training images: {run.model} in {path}"))
            train(run, path, resume=True)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The one with the highest score of those that were run to their end; the first of equals."""
    complete = [trial for trial in trials if trial.ended == "complete"]
    return max(complete, key=lambda trial: trial.score or 0.0, default=None)


def best_so_far(trials: Sequence[Trial]) -> str:
    """For the progress display."""
    best = best_trial(trials)
    return "trials" if best is None else f"trials, best {100 * (best.score or 0):.2f} %"


def trial_line(trials: Sequence[Trial], number: int, total: int) -> str:
    """One line per trial, for people and for log files."""
    trial = trials[number - 1]
    values = "  ".join(f"{path} {in_words(value)}" for path, value in trial.values.items())
    reached = "" if trial.score is None else f"  {100 * trial.score:.2f} %"
    ended = "" if trial.ended == "complete" else f"  {trial.ended} after epoch {max(trial.scores, default=0)}"
    best = best_trial(trials)
    leader = "" if best is None else f"  best: trial {best.number}, {100 * (best.score or 0):.2f} %"
    return f"trial {number} of {total}  {values}{reached}{ended}{leader}{_left(trials, total)}"


def _left(trials: Sequence[Trial], total: int) -> str:
    """The time that is left, by the median of trials that have ended and as many processes as run now."""
    took = [trial.seconds for trial in trials if trial.seconds is not None]
    to_do = total - len(took)
    if not to_do:
        return ""
    at_once = 1 + sum(trial.ended is None for trial in trials)
    return f"  about {median(took) * to_do / at_once / 60:.0f} min left"
