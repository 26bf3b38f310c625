"""The trials of a search in Optuna's storage, an SQLite file that several processes share.

A trial belongs to the process that holds its lock. One whose process has died is taken over by the next that looks for
work, under its own number and with its own values, so a search ends with as many trials as it was asked for, however
often it is killed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from distill.errors import UsageError
from distill.tuning.locks import Lock, alone
from distill.tuning.record import Search
from distill.tuning.varied import Choice, Value, Varied

STORAGE_FILE = "trials.db"
TRIALS = "trials"
STUDY_NAME = "search"
WAIT_S = 60
"""For another process that writes to the storage."""

RANDOM_TRIALS = 10
"""Before the estimator has anything to go by; Optuna's."""

UNPRUNED_TRIALS = 5
"""So many end before one is pruned by their median; Optuna's."""

UNPRUNED_SHARE = 0.25
"""Of the epochs of a trial, in which a low learning rate is ahead whatever comes of it."""

DIVERGED = "diverged"


def require_optuna() -> None:
    """Raise UsageError if the package is missing."""
    try:
        import optuna  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a search needs {error.name}, which is not installed: pip install 'pocket-distill[tune]'. Without it, "
            "python -m distill run RECIPE --set KEY=VALUE tries one setting at a time."
        ) from error


@dataclass(frozen=True)
class Trial:
    """What the storage knows of a trial.

    Attributes:
        number: from 1.
        values: of every setting that is varied, by its path.
        scores: of every judged epoch (1-based), in [0, 1].
        ended: None while it runs; `diverged` where its losses or answers were no longer finite.
        seconds: since it was begun; None while it runs.
    """

    number: int
    values: Mapping[str, Value]
    scores: Mapping[int, float]
    ended: Literal["complete", "pruned", "diverged"] | None
    seconds: float | None

    @property
    def score(self) -> float | None:
        """Of its best epoch; None before the first."""
        return max(self.scores.values(), default=None)


class Trials:
    """All trials of a search."""

    def __init__(self, folder: Path, search: Search) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder = folder
        self.search = search
        with alone(self._lock):
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{folder / STORAGE_FILE}", engine_kwargs={"connect_args": {"timeout": WAIT_S}}
            )
            epochs = search.epochs or search.config.training.epochs
            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=1 + int(UNPRUNED_SHARE * epochs)
            )
            self.study = optuna.create_study(
                storage=storage, study_name=STUDY_NAME, direction="maximize", pruner=pruner, load_if_exists=True
            )

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def all(self) -> list[Trial]:
        """In the order they were begun."""
        return [_trial(frozen) for frozen in self.study.get_trials(deepcopy=False)]

    def path(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.folder / TRIALS / str(number)

    def next(self, total: int) -> "Claim | None":
        """The next trial for this process: a dead process's, or a new one; None if there is none to begin."""
        import optuna

        with alone(self._lock):
            frozen = self.study.get_trials(deepcopy=False)
            for each in frozen:
                if not each.state.is_finished() and (lock := Lock.taken(self._trial_lock(each.number))):
                    return self._claim(optuna.trial.Trial(self.study, each._trial_id), lock)
            if len(frozen) >= total:
                return None
            lock = Lock.taken(self._trial_lock(len(frozen)))
            assert lock is not None
            return self._claim(self.study.ask(), lock)

    def _trial_lock(self, number: int) -> Path:
        return self.folder / TRIALS / f".{number + 1}.lock"

    def _claim(self, trial: Any, lock: Lock) -> "Claim":
        """Values of an old trial are what they were; a new one's hang on its number and on the trials before it."""
        import optuna

        seed = (self.search.seed * 1_000_003 + trial.number) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        values = {varied.path: _suggested(trial, varied) for varied in self.search.varied}
        return Claim(self.study, trial, values, lock)


class Claim:
    """A trial that this process runs, until the block that it opens is left.

    Attributes:
        number: from 1.
        values: of every setting that is varied.
    """

    def __init__(self, study: Any, trial: Any, values: Mapping[str, Value], lock: Lock) -> None:
        self.study = study
        self.trial = trial
        self.number: int = trial.number + 1
        self.values = values
        self.lock = lock
        self.scores: dict[int, float] = dict(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def report(self, scores: Mapping[int, float]) -> None:
        """Keep the scores of epochs that were not known yet."""
        for epoch, score in scores.items():
            if epoch not in self.scores:
                self.scores[epoch] = score
                self.trial.report(score, epoch)

    def is_hopeless(self) -> bool:
        """True if its best epoch so far is below the median of what earlier trials had by then."""
        return self.trial.should_prune()

    def complete(self) -> None:
        """It was run to its end."""
        self.study.tell(self.trial, max(self.scores.values()))

    def prune(self, diverged: str | None = None) -> None:
        """It was ended early: it was hopeless, or it diverged, for this reason."""
        from optuna.trial import TrialState

        if diverged is not None:
            self.trial.set_user_attr(DIVERGED, diverged)
        self.study.tell(self.trial, state=TrialState.PRUNED)


def _suggested(trial: Any, varied: Varied) -> Value:
    match varied.values:
        case Choice(values=values):
            return trial.suggest_categorical(varied.path, list(values))
        case numbers if numbers.kind == "int":
            return trial.suggest_int(varied.path, int(numbers.low), int(numbers.high))
        case numbers:
            return trial.suggest_float(varied.path, numbers.low, numbers.high, log=numbers.kind == "log")


def _trial(frozen: Any) -> Trial:
    ended = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(frozen.state.name)
    return Trial(
        number=frozen.number + 1,
        values=dict(frozen.params),
        scores=dict(frozen.intermediate_values),
        ended="diverged" if DIVERGED in frozen.user_attrs else ended,  # type: ignore[arg-type]
        seconds=None if frozen.duration is None else frozen.duration.total_seconds(),
    )
