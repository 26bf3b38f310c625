"""A run on disk: `config.json`, `metrics.jsonl`, the checkpoints `best/` and `last/`, and the state to resume from."""

import io
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill import checkpoint
from distill.checkpoint import Card, Metrics, Training
from distill.config import RunConfig, differences, parse
from distill.contract import write_whole
from distill.errors import UsageError
from distill.methods.method import WHOLE
from distill.vision.models import ImageClassifier

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
STATE_FILE = "resume.pt"

STATE_FIELDS = ("epoch", "model", "method", "optimizer", "stale_epochs")
LATER_STATE_FIELDS = ("stage", "stepper")
"""Not in states that were written when every method had one stage and the plain step."""


@dataclass
class State:
    """Everything that changes while a run goes on, as of the end of an epoch.

    Attributes:
        epoch: epochs finished.
        stage: name of the method's stage that the last of them belonged to.
        model, method, optimizer, stepper: their state dicts, on the CPU.
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
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Metrics | None = None
    last: Metrics | None = None
    stale_epochs: int = 0


class RunFolder:
    """The folder of one run. All files appear whole or not at all."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

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
        """The product's card if this very run was finished here before, else None; its weights are not loaded.

        Raises:
            UsageError: the weights are not the ones that the card speaks of.
        """
        if not (self.best / checkpoint.CARD_FILE).is_file() or not self._holds_same_config():
            return None
        card = checkpoint.read_card(self.best)
        return card if card.training is not None and card.training.finished else None

    def open(self, *, resume: bool, restart: bool) -> State:
        """Claim the folder and return the state to go on from (a fresh one for a new run).

        Raises:
            UsageError: the folder holds another run, or an unfinished one and neither `resume` nor `restart` was asked.
        """
        if restart and (self.path / CONFIG_FILE).is_file():
            shutil.rmtree(self.path)
        if (self.path / CONFIG_FILE).is_file() and not self._holds_same_config():
            changed = differences(_read_config(self.path).model_dump(mode="json"), self.config.model_dump(mode="json"))
            raise UsageError(
                f"{self.path} holds a run with other settings ({'; '.join(changed[:6])}). "
                "Choose another folder with --out, or --restart to replace it."
            )
        state = self._read_state()
        if state is not None and not resume:
            raise UsageError(
                f"{self.path} holds an unfinished run ({state.epoch} of {self.config.training.epochs} epochs). "
                "Add --resume to continue it or --restart to start over."
            )
        write_whole(self.path / CONFIG_FILE, (self.config.model_dump_json(indent=2) + "\n").encode())
        return state or State()

    def save_state(self, state: State) -> None:
        """Keep the state of a finished epoch; from here a killed run goes on."""
        buffer = io.BytesIO()
        torch.save(
            {
                **{name: getattr(state, name) for name in (*STATE_FIELDS, *LATER_STATE_FIELDS)},
                "history": json.dumps(state.history),
                "best": state.best.model_dump_json() if state.best else None,
                "last": state.last.model_dump_json() if state.last else None,
                "config": self.config.identity(),
            },
            buffer,
        )
        write_whole(self.path / STATE_FILE, buffer.getvalue())
        lines = "".join(json.dumps(row) + "\n" for row in state.history)
        write_whole(self.path / METRICS_FILE, lines.encode())

    def save_checkpoint(
        self, folder: Path, model: ImageClassifier, class_names: tuple[str, ...], training: Training
    ) -> None:
        """Write `best/` or `last/`."""
        checkpoint.save(
            folder,
            model,
            name=self.config.model,
            class_names=class_names,
            preprocess=self.config.preprocess,
            training=training,
        )

    def finish(self, training: Training) -> Card:
        """Complete the product's card with the last epoch's metrics and drop the resume state."""
        card = Card.read(self.best / checkpoint.CARD_FILE)
        assert card.training is not None
        update = {"best": training.best, "last": training.last, "finished": True}
        card = card.model_copy(update={"training": card.training.model_copy(update=update)})
        card.write(self.best / checkpoint.CARD_FILE)
        (self.path / STATE_FILE).unlink(missing_ok=True)
        return card

    def _holds_same_config(self) -> bool:
        path = self.path / CONFIG_FILE
        return path.is_file() and _read_config(self.path).identity() == self.config.identity()

    def _read_state(self) -> State | None:
        path = self.path / STATE_FILE
        if not path.is_file():
            return None
        try:
            raw = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever the broken bytes lead to
            raise UsageError(f"{path} is damaged ({type(error).__name__}). Add --restart to start over.") from error
        return State(
            **{name: raw[name] for name in STATE_FIELDS},
            **{name: raw[name] for name in LATER_STATE_FIELDS if name in raw},
            history=json.loads(raw["history"]),
            best=Metrics.model_validate_json(raw["best"]) if raw["best"] else None,
            last=Metrics.model_validate_json(raw["last"]) if raw["last"] else None,
        )


def _read_config(path: Path) -> RunConfig:
    return parse((path / CONFIG_FILE).read_bytes(), source=str(path / CONFIG_FILE))


def to_cpu(value: Any) -> Any:
    """A state dict with every tensor copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: to_cpu(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(inner) for inner in value)
    return value
