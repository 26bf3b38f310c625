"""A run on disk: `config.json`, `metrics.jsonl`, the checkpoints `best/` and `last/`, the state to resume from,
`hints.json` if it has searched its teacher, and `report.html`, the page of a finished one.

A run belongs to its data: what is there is gone on with, or called finished, only for the pictures, labels and class
names that it was begun with. A run that replaces another moves it aside when it has something to keep of its own, and
then removes what the other wrote and nothing else.
"""

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import TypeAdapter
from torch import Tensor

from distill import checkpoint
from distill.checkpoint import AnyMetrics, Card, Training
from distill.config import RunConfig, differences, read
from distill.contract import Strict, write_whole
from distill.data import Data
from distill.errors import UsageError, WorkFailed
from distill.hints.record import Hints
from distill.methods.method import WHOLE

if TYPE_CHECKING:  # a study looks into its runs' folders, and builds no network
    from distill.vision.models import ImageClassifier

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
STATE_FILE = "resume.pt"
PAGE_FILE = "report.html"
HINTS_FILE = "hints.json"

TEACHER_LINK = "teacher"

ON_THE_WAY = ".moving"
"""Where the files of a run lie while it is put aside or brought back."""

REPLACED = ".replaced"
"""Where the run that is being replaced lies until the new one has kept its first epoch."""

OF_METHODS = ("process.json", "process.png", "process.svg")
"""Files that methods leave (`Method.leave`)."""

WRITTEN = (
    CONFIG_FILE,
    METRICS_FILE,
    STATE_FILE,
    PAGE_FILE,
    HINTS_FILE,
    TEACHER_LINK,
    "tensorboard/events.*",
    *OF_METHODS,
)
CHECKPOINTS = ("best", "last", "calibrated", "best/calibrated", "last/calibrated", "members/*")
"""All that a run writes, and so all that `--restart` may remove: these files, and card and weights in these folders."""

METRICS: TypeAdapter[AnyMetrics] = TypeAdapter(AnyMetrics)

STATE_FIELDS = ("epoch", "model", "method", "optimizer", "stale_epochs")
LATER_STATE_FIELDS = ("stage", "stepper", "averages")
"""Not in states that were written when every method had one stage and the plain step, and no weights were averaged."""


@dataclass
class State:
    """Everything that changes while a run goes on, as of the end of an epoch.

    Attributes:
        epoch: epochs finished.
        stage: name of the method's stage that the last of them belonged to.
        model, method, optimizer, stepper, averages: their state dicts, on the CPU.
        history: one row per finished epoch, as in `metrics.jsonl`.
        best, last: metrics; None before the first epoch.
        stale_epochs: epochs since the best one.
    """

    epoch: int = 0
    stage: str = WHOLE.name
    model: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    stepper: dict[str, Any] = field(default_factory=dict)
    averages: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: AnyMetrics | None = None
    last: AnyMetrics | None = None
    stale_epochs: int = 0


class RunData(Strict):
    """Which data a run belongs to."""

    train_sha256: str
    validation_sha256: str
    num_train: int
    num_validation: int
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, data: Data) -> Self:
        """That of a run which begins now."""
        return cls(
            train_sha256=data.train_sha256,
            validation_sha256=data.validation_sha256,
            num_train=len(data.train),
            num_validation=len(data.validation),
            class_names=data.train.class_names,
        )

    @classmethod
    def of_card(cls, card: Card) -> Self:
        """That of a checkpoint which was trained."""
        assert card.training is not None
        data = card.training.data.model_dump(include=cls.model_fields.keys() - {"class_names"})
        return cls(class_names=card.class_names, **data)

    def changes(self, now: "RunData") -> str:
        """How other data differ from these, in words."""
        parts: list[str] = []
        new = [name for name in now.class_names if name not in self.class_names]
        gone = [name for name in self.class_names if name not in now.class_names]
        parts += [f"class {', '.join(new)} is new"] * bool(new) + [f"class {', '.join(gone)} is gone"] * bool(gone)
        for name in ("train", "validation"):
            then_count, count = getattr(self, f"num_{name}"), getattr(now, f"num_{name}")
            if then_count != count:
                parts.append(f"{then_count} {name} images then, {count} now")
            elif getattr(self, f"{name}_sha256") != getattr(now, f"{name}_sha256") and not parts:
                parts.append(f"other {name} images or labels")
        return "; ".join(parts) or "the classes are in another order"


class RunFolder:
    """The folder of one run. All files appear whole or not at all."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config
        self.data: RunData | None = None
        self.teacher: Path | None = None
        self.teacher_sha256: str | None = None
        self.hints: Hints | None = None
        self.replaces = False

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch: the product."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """Checkpoint of the last epoch."""
        return self.path / "last"

    def member(self, number: int) -> Path:
        """Checkpoint of one member of a cohort (1-based), last epoch."""
        return self.path / "members" / str(number)

    def finished(self) -> Card | None:
        """The product's card if this very run was finished here before, on whatever data; its weights are not loaded.

        Raises:
            UsageError: the weights are not the ones that the card speaks of.
        """
        if not (self.best / checkpoint.CARD_FILE).is_file() or not self._holds_same_config():
            return None
        card = checkpoint.read_card(self.best)
        return card if card.training is not None and card.training.finished else None

    def open(self, data: RunData, *, resume: bool, restart: bool) -> State:
        """The state to go on from (a fresh one for a new run). Nothing is written yet: see `begin`.

        Args:
            data: that the run has now.
            resume: go on with what is there.
            restart: replace what is there.

        Raises:
            UsageError: the folder holds another run, one on other data, or an unfinished one and neither `resume` nor
                `restart` was asked; or it holds files that no run wrote under a run's names.
        """
        self._tidy_up()
        self.data = data
        self._require_own_files()
        self.replaces = restart and any(self._written(self.path))
        if restart:
            return State()
        if (self.path / CONFIG_FILE).is_file() and not self._holds_same_config():
            changed = differences(_read_config(self.path).model_dump(mode="json"), self.config.model_dump(mode="json"))
            raise UsageError(
                f"{self.path} holds a run with other settings ({'; '.join(changed[:6])}). "
                "Choose another folder with --out, or --restart to replace it."
            )
        self._require_same_weights()
        if not (self.path / CONFIG_FILE).is_file() and (self.best / checkpoint.CARD_FILE).is_file():
            raise UsageError(
                f"{self.best} holds a checkpoint, but {self.path} has no {CONFIG_FILE} that says of which run. "
                "Choose another folder with --out, or --restart to replace it."
            )
        stored = self._read_state()
        if stored is None:
            return State()
        state, of_data, self.teacher_sha256 = stored
        if not resume:
            raise UsageError(
                f"{self.path} holds an unfinished run ({state.epoch} of {self.config.training.epochs} epochs). "
                "Add --resume to continue it or --restart to start over."
            )
        self.require_same_data(of_data, data)
        return state

    def require_same_data(self, then: RunData | None, now: RunData) -> None:
        """Raise UsageError if what is here is of other pictures, labels or classes than there are now."""
        if then == now:
            return
        changes = "it does not say which they were" if then is None else then.changes(now)
        raise UsageError(
            f"{self.path} holds a run on other data than {_place(self.config)} holds now: {changes}. It is not gone on "
            "with. Put the old data back, choose another folder with --out, or add --restart to replace it."
        )

    def begin(
        self, teacher: Path | None, teacher_sha256: str | None, hints: Hints | None = None, *, resumed: bool
    ) -> None:
        """Claim the folder for the run, whose networks are built: write its settings, unless it replaces another run.

        Args:
            teacher: folder of the teacher that was trained for this run; None for others.
            teacher_sha256: of the teacher's weights or file; None without a teacher.
            hints: that the run has searched.
            resumed: an earlier session of the run has finished an epoch.

        Raises:
            UsageError: the run was begun with another teacher.
            WorkFailed: the folder cannot be written.
        """
        if resumed and teacher_sha256 != self.teacher_sha256:
            raise UsageError(
                f"{self.path} was begun with another teacher (SHA-256 {str(self.teacher_sha256)[:12]}…, now "
                f"{str(teacher_sha256)[:12]}…). Bring that one back, or add --restart to start over with the new one."
            )
        self.teacher, self.teacher_sha256, self.hints = teacher, teacher_sha256, hints
        if not self.replaces:
            self._write_head()

    def found_hints(self) -> Hints | None:
        """What an earlier session of the run has found in its teacher; errors as `Hints.read`."""
        path = self.path / HINTS_FILE
        return Hints.read(path) if path.is_file() else None

    def save_state(self, state: State) -> None:
        """Keep the state of a finished epoch; from here a killed run goes on, and one that was replaced is gone."""
        assert self.data is not None
        self._move_aside()
        buffer = io.BytesIO()
        torch.save(
            {
                **{name: getattr(state, name) for name in (*STATE_FIELDS, *LATER_STATE_FIELDS)},
                "history": json.dumps(state.history),
                "best": state.best.model_dump_json() if state.best else None,
                "last": state.last.model_dump_json() if state.last else None,
                "config": self.config.identity(),
                "data": self.data.model_dump_json(),
                "teacher_sha256": self.teacher_sha256,
            },
            buffer,
        )
        lines = "".join(json.dumps(row) + "\n" for row in state.history)
        write_whole(self.path / METRICS_FILE, lines.encode())
        write_whole(self.path / STATE_FILE, buffer.getvalue())
        self._forget_replaced()

    def save_checkpoint(
        self, folder: Path, model: "ImageClassifier", class_names: tuple[str, ...], training: Training
    ) -> None:
        """Write `best/` or `last/`."""
        self._move_aside()
        checkpoint.save(
            folder,
            model,
            name=self.config.model,
            class_names=class_names,
            preprocess=self.config.preprocess,
            training=training,
            task=self.config.task.name,
        )

    def finish(self, training: Training) -> Card:
        """Complete the product's card with what the run ends with and drop the resume state."""
        card = Card.read(self.best / checkpoint.CARD_FILE)
        assert card.training is not None
        names = ("best", "last", "finished", "validation", "test")
        update = {name: getattr(training, name) for name in names}
        card = card.model_copy(update={"training": card.training.model_copy(update=update)})
        card.write(self.best / checkpoint.CARD_FILE)
        (self.path / STATE_FILE).unlink(missing_ok=True)
        return card

    def _holds_same_config(self) -> bool:
        path = self.path / CONFIG_FILE
        return path.is_file() and _read_config(self.path).identity() == self.config.identity()

    def data_of_record(self) -> RunData | None:
        """The data of what is here, finished or not; None if nothing is, or it does not say."""
        if (card := self.finished()) is not None:
            assert card.training is not None
            return RunData.of_card(card)
        stored = self._read_state() if self._holds_same_config() else None
        return None if stored is None else stored[1]

    def _read_state(self) -> tuple[State, RunData | None, str | None] | None:
        """The state, and the data and the teacher that it belongs to."""
        path = self.path / STATE_FILE
        if not path.is_file():
            return None
        try:
            raw = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever the broken bytes lead to
            raise UsageError(f"{path} is damaged ({type(error).__name__}). Add --restart to start over.") from error
        state = State(
            **{name: raw[name] for name in STATE_FIELDS},
            **{name: raw[name] for name in LATER_STATE_FIELDS if name in raw},
            history=json.loads(raw["history"]),
            best=METRICS.validate_json(raw["best"]) if raw["best"] else None,
            last=METRICS.validate_json(raw["last"]) if raw["last"] else None,
        )
        data = RunData.model_validate_json(raw["data"]) if "data" in raw else None
        return state, data, raw.get("teacher_sha256")

    def _require_own_files(self) -> None:
        """Raise UsageError for a `config.json` that is not of a run: the folder is somebody else's."""
        if not (self.path / CONFIG_FILE).is_file():
            return
        try:
            _read_config(self.path)
        except UsageError as error:
            raise UsageError(
                f"{self.path} holds a {CONFIG_FILE} that is not of a run of this version, and is left as it is. "
                f"Choose another folder with --out. ({error})"
            ) from error

    def _require_same_weights(self) -> None:
        """Raise UsageError if the weights that the run began with have changed under their name."""
        if not (self.path / CONFIG_FILE).is_file():
            return
        then, now = _read_config(self.path).training.origin, self.config.training.origin
        if then is not None and now is not None and then.sha256 != now.sha256:
            raise UsageError(
                f"{self.path} began with other weights than {self.config.training.weights} holds now (SHA-256 "
                f"{then.sha256[:12]}…, now {now.sha256[:12]}…). Put the old ones back, choose another folder with "
                "--out, or add --restart to replace it."
            )

    def _write_head(self) -> None:
        write_whole(self.path / CONFIG_FILE, (self.config.model_dump_json(indent=2) + "\n").encode())
        if self.teacher is not None:
            _link(self.path / TEACHER_LINK, Path("..") / self.teacher.name)
        if self.hints is not None:
            self.hints.write(self.path / HINTS_FILE)

    def _written(self, folder: Path) -> Iterator[Path]:
        """Files of a run in a folder, relative to it."""
        files = (checkpoint.CARD_FILE, checkpoint.WEIGHTS_FILE)
        patterns = [*WRITTEN, *(f"{place}/{name}" for place in CHECKPOINTS for name in files)]
        for pattern in patterns:
            for path in sorted(folder.glob(pattern)):
                if path.is_symlink() or path.is_file():
                    yield path.relative_to(folder)

    def _move_aside(self) -> None:
        """Put the run that this one replaces out of the way, once."""
        if self.replaces:
            self.replaces = False
            on_the_way = self.path / ON_THE_WAY
            try:
                _move(self.path, on_the_way, list(self._written(self.path)))
                on_the_way.rename(self.path / REPLACED)
            except OSError as error:
                self._bring_back()
                raise WorkFailed(
                    f"cannot move the run in {self.path} out of the way: {error.strerror or error}. Nothing of it was "
                    "removed; choose another folder with --out."
                ) from error
            self._write_head()

    def _forget_replaced(self) -> None:
        """Remove the run that was put aside, and the folders that this leaves empty."""
        aside = self.path / REPLACED
        for name in list(self._written(aside)):
            (aside / name).unlink()
        _remove_empty(aside)

    def _tidy_up(self) -> None:
        """End what a killed session left half done: the old run comes back unless the new one had kept an epoch.

        What lies on the way was still moving, one way or the other, and there is no new run yet, or no more.
        """
        self._bring_back()
        aside = self.path / REPLACED
        if not any(self._written(aside)):
            return
        if (self.path / STATE_FILE).is_file():
            self._forget_replaced()
            return
        for name in list(self._written(self.path)):
            (self.path / name).unlink()
        aside.rename(self.path / ON_THE_WAY)
        self._bring_back()

    def _bring_back(self) -> None:
        """Put what lies on the way back to where it was."""
        on_the_way = self.path / ON_THE_WAY
        names = list(self._written(on_the_way))
        try:
            _move(on_the_way, self.path, names)
        except OSError as error:
            raise WorkFailed(
                f"cannot bring the run in {on_the_way} back to {self.path}: {error.strerror or error}. Nothing of it "
                "was removed; once that is mended the same command brings it back."
            ) from error
        _remove_empty(on_the_way)


def _move(source: Path, target: Path, names: list[Path]) -> None:
    """Move files, and leave no folder behind that held nothing else; raises OSError, some files moved."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(target / name)
    for folder in sorted({parent for name in names for parent in name.parents if parent.name}, reverse=True):
        if not any((source / folder).iterdir()):
            (source / folder).rmdir()


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those in it as far as they are empty."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _link(link: Path, target: Path) -> None:
    """A link that leads to the teacher; a convenience that some disks do not have, and never in the way of a copy."""
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        with suppress(OSError):
            link.symlink_to(target)


def _place(config: RunConfig) -> str:
    return getattr(config.dataset, "path", f"data set {config.dataset.kind}")


def _read_config(path: Path) -> RunConfig:
    return read(path / CONFIG_FILE)


def to_cpu(value: Any) -> Any:
    """A state dict with every tensor copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: to_cpu(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(inner) for inner in value)
    return value
