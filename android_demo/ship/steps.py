"""The journal of finished work, `steps.jsonl`: what it holds is never done again."""

import fcntl
import os
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import JsonValue
from rich.markup import escape

from android_demo.ship.commands import Ended, python_module, run
from android_demo.ship.question import in_words
from distill.contract import Contract, append_line, sha256_of_file, sha256_of_json
from distill.errors import UsageError, WorkFailed
from distill.terminal import command as as_typed
from distill.terminal import say

JOURNAL_FILE = "steps.jsonl"
LOCK_FILE = ".lock"
PATIENCE_S = 60
"""How long to wait for what an earlier, killed session has left running."""
FULL_DISK_BYTES = 20_000_000
"""With less room than this a failed command is said to have failed for want of room."""


class Step(Contract):
    """One finished piece of work.

    Attributes:
        name: for people.
        key: SHA-256 of everything that decides what it gives.
        command: as a person types it.
        exit_code: a command may end with 1 and still have answered, e.g. where nothing fits.
        seconds: that it took.
        products: SHA-256 of each file that has to be as it was, by path; else the work is done again.
        answer: what was learnt from it, and is not read from a contract on disk.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    name: str
    key: str
    command: tuple[str, ...]
    exit_code: int
    seconds: float
    utc_time: str
    products: dict[str, str]
    answer: JsonValue

    @property
    def holds(self) -> bool:
        """Whether its products are what they were."""
        return all(_sha256(Path(path)) == sha256 for path, sha256 in self.products.items())


@dataclass
class Steps:
    """The work of one folder: what is finished, and the way to do more.

    Attributes:
        folder: of the whole loop.
        time_s: given for all of it; 0 where that is not said.
        is_rehearsal: nothing is written.
        lock: the open file that keeps others out; commands hold it, too.
        finished: by key; of equal ones the last.
        used: those that this session relies on, in order, done now or before.
        reused: how many of them were done before.
    """

    folder: Path
    time_s: float = 0.0
    is_rehearsal: bool = False
    lock: int | None = None
    finished: dict[str, Step] = field(default_factory=dict)
    used: list[Step] = field(default_factory=list)
    reused: int = 0

    def __post_init__(self) -> None:
        """Read the journal; a last line that a crash cut off is work that was not finished."""
        path = self.folder / JOURNAL_FILE
        lines = path.read_text().splitlines() if path.is_file() else []
        for number, line in enumerate(lines, start=1):
            try:
                step = Step.from_json(line, source=f"{path} line {number}")
            except UsageError:
                if line.rstrip().endswith("}"):
                    raise
                continue
            self.finished[step.key] = step

    @property
    def seconds(self) -> float:
        """What all work took that this session relies on, whenever it was done."""
        return sum(step.seconds for step in self.used)

    def has(self, key: str) -> bool:
        """Whether this work is finished."""
        return key in self.finished and self.finished[key].holds

    def do(
        self,
        name: str,
        module: str,
        words: Sequence[object],
        *,
        deciding: JsonValue,
        learn: Callable[[Ended], JsonValue] = lambda ended: None,
        products: Callable[[JsonValue], Collection[Path]] = lambda answer: (),
        fine: Collection[int] = (0,),
        more: Sequence[object] = (),
        serial: str | None = None,
    ) -> Step:
        """The step, done now or before.

        Args:
            name: for people.
            module: whose command it is; empty for a program that `words` names.
            words: of the command.
            deciding: what else decides the result, e.g. hashes of what the command reads.
            learn: what is kept of a command that has ended.
            products: files whose bytes are kept in mind, given what was learnt.
            fine: exit codes that are no failure.
            more: words that do not decide what comes of it.
            serial: of the phone that it speaks to, which `deciding` names.

        Raises:
            UsageError, WorkFailed: as the command ended; also where the disk is full.
        """
        key = key_of(module, words, deciding)
        if self.has(key):
            self.reused += 1
            self.used.append(self.finished[key])
            return self.finished[key]
        typed = python_module(module, [*words, *more]) if module else tuple(map(str, words))
        used = f", {in_words(self.seconds)} of {in_words(self.time_s)} used" if self.time_s else ""
        say(f"[bold]{escape(name)}[/]{used}  [dim]{as_typed(*typed)}[/]")
        try:
            ended = run(typed, fine=fine, keep_open=self.lock, serial=serial)
        except WorkFailed as error:
            raise WorkFailed(f"{error} {_room(self.folder)}".rstrip()) from error
        answer = learn(ended)
        step = Step(
            name=name,
            key=key,
            command=typed,
            exit_code=ended.code,
            seconds=round(ended.seconds, 3),
            utc_time=datetime.now(UTC).isoformat(timespec="seconds"),
            products={str(path): sha256_of_file(path) for path in products(answer)},
            answer=answer,
        )
        self._keep(step)
        self.used.append(step)
        return step

    def accept(self, name: str, module: str, words: Sequence[object], *, deciding: JsonValue) -> None:
        """Take a step for finished whose command was killed after its last product was there."""
        self._keep(
            Step(
                name=name,
                key=key_of(module, words, deciding),
                command=python_module(module, words),
                exit_code=0,
                seconds=0.0,
                utc_time=datetime.now(UTC).isoformat(timespec="seconds"),
                products={},
                answer=None,
            )
        )

    def _keep(self, step: Step) -> None:
        if not self.is_rehearsal:
            append_line(self.folder / JOURNAL_FILE, step.to_json(indent=None))
        self.finished[step.key] = step


def key_of(module: str, words: Sequence[object], deciding: JsonValue) -> str:
    """What tells one piece of work from another."""
    return sha256_of_json({"module": module, "words": [str(word) for word in words], "deciding": deciding})


def free_bytes(folder: Path) -> int:
    """Room on the disk that a folder lies on, or will."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    system: Any = os.statvfs(place)
    return system.f_bavail * system.f_frsize


def is_full(folder: Path) -> bool:
    """Whether a failure in a folder may come from want of room."""
    return free_bytes(folder) < FULL_DISK_BYTES


@contextmanager
def alone_in(folder: Path) -> Iterator[int]:
    """No second loop, and nothing that a killed one has left running, works in the folder meanwhile: the open lock.

    Raises:
        UsageError: another one does, still after a minute.
        WorkFailed: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WorkFailed(f"cannot write into {folder}: {error.strerror}. Choose another place with --out.") from error
    try:
        deadline = time.monotonic() + PATIENCE_S
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"another ship works in {folder}, or a command that a killed one left. Wait for its end, or "
                        "choose another folder with --out."
                    ) from None
                if not told:
                    told = True
                    say(f"waiting: something else still works in {shlex.quote(str(folder))}")
                time.sleep(0.2)
        yield lock
    finally:
        os.close(lock)


def _sha256(path: Path) -> str | None:
    return sha256_of_file(path) if path.is_file() else None


def _room(folder: Path) -> str:
    if not is_full(folder):
        return ""
    return f"The disk of {folder} is full ({free_bytes(folder) / 1e6:.0f} MB left): free some space first."
