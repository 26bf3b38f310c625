"""Worker processes: alive together, working one at a time, and their end in words, whatever it is."""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

from pydantic import ValidationError

from bench.cpu.worker import MORE, Job, Outcome
from distill.contract import explain
from distill.system import child_environment, signal_name, usable_cores

WORKER = (sys.executable, "-m", "bench.cpu.worker")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
MOST_AHEAD = 4
"""Workers that wait ready hold their runtime in memory."""

REST_S = 0.05
"""After a turn with several threads: ONNX Runtime's go on looking for work for some 40 ms (measured), on cores that the
next worker is timed on."""

LOG_TAIL_LINES = 5
LOG_TAIL_CHARS = 600

OUT_OF_MEMORY = re.compile(
    rb"MemoryError|bad_alloc|(can't|cannot|failed to) allocate memory|out of memory", re.IGNORECASE
)
"""How Python, C++, torch and ONNX Runtime say that they got no memory."""


@dataclass(frozen=True)
class Workers:
    """How workers are run.

    Attributes:
        command: of a worker; the job file, the result file and a file descriptor are appended.
        timeout_s: what each may take to get ready, and again for each step of its job, before it is killed.
        ahead: how many get ready at once.
    """

    command: tuple[str, ...] = WORKER
    timeout_s: float = 120.0
    ahead: int = field(default_factory=lambda: min(MOST_AHEAD, usable_cores()))

    def outcomes(self, jobs: Sequence[Job]) -> Generator[Outcome]:
        """The outcome of each job, in order. Importing runtimes takes longest, so the next get ready meanwhile."""
        with ExitStack() as stack:
            waiting, begun = iter(jobs), deque[Worker]()
            begun.extend(stack.enter_context(self._started(job)) for job in islice(waiting, self.ahead))
            while begun:
                worker = begun.popleft()
                worker.wait(self.timeout_s)
                yield worker.finish(self.timeout_s)
                begun.extend(stack.enter_context(self._started(job)) for job in islice(waiting, 1))

    def in_turn(self, jobs: Sequence[Job], shuffle: Random, tell: Callable[[str], None]) -> Generator[Outcome]:
        """The outcome of each job, in order, from workers that all live at once and take their bursts in turn.

        In every turn each worker that needs more samples takes one burst, in an order that is new in every turn. So
        whatever else the machine does meanwhile meets all of them alike.
        """
        with ExitStack() as stack:
            workers = self._ready(stack, jobs, tell)
            sampling, turn = [worker for worker in workers if worker.wants_more], 0
            while sampling:
                tell(f"turn {turn} · {len(sampling)} of {len(jobs)} need more" if turn else "warming up")
                for worker in shuffle.sample(sampling, len(sampling)):
                    worker.step(self.timeout_s)
                    if worker.job.threads > 1:
                        time.sleep(REST_S)
                sampling = [worker for worker in sampling if worker.wants_more]
                turn += 1
            for worker in workers:
                yield worker.finish(self.timeout_s)

    def _ready(self, stack: ExitStack, jobs: Sequence[Job], tell: Callable[[str], None]) -> "list[Worker]":
        """Workers for the jobs, each ready to go or dead; as one gets there, the next begins."""
        workers: list[Worker] = []
        deadlines: dict[Worker, float] = {}
        for job in jobs:
            if len(deadlines) == self.ahead:
                _wait_for_one(deadlines)
            tell(f"starting {len(workers)} of {len(jobs)}")
            workers.append(stack.enter_context(self._started(job)))
            deadlines[workers[-1]] = time.monotonic() + self.timeout_s
        while deadlines:
            _wait_for_one(deadlines)
        return workers

    @contextmanager
    def _started(self, job: Job) -> Generator["Worker"]:
        """A worker that is killed with all it started when the context ends, if it still runs."""
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            job_path, log_path = Path(scratch) / "job.json", Path(scratch) / "log.txt"
            worker = Worker(job, result_path=Path(scratch) / "result.json", log_path=log_path)
            job_path.write_text(job.model_dump_json())
            with log_path.open("wb") as log:
                reader, writer = os.pipe()
                # In a session of its own, Ctrl-C reaches only us, and whatever the runtime started dies with it.
                process = subprocess.Popen(
                    [*self.command, str(job_path), str(worker.result_path), str(writer)],
                    env=_environment(job.threads),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=[writer],
                    start_new_session=True,
                )
                os.close(writer)
            worker.process, worker.ready = process, reader
            try:
                yield worker
            finally:
                worker.end()


class Worker:
    """One worker process and what becomes of it."""

    process: subprocess.Popen[bytes]
    ready: int

    def __init__(self, job: Job, *, result_path: Path, log_path: Path) -> None:
        self.job = job
        self.result_path = result_path
        self.log_path = log_path
        self._said = b""
        self._is_late = False

    @property
    def wants_more(self) -> bool:
        """Whether it lives and its samples are not enough yet."""
        return self._said == MORE

    def wait(self, timeout_s: float) -> None:
        """Wait until it has done a step, has ended, or has taken too long; `finish` tells which."""
        readable, _, _ = select.select([self.ready], [], [], timeout_s)
        # An end without a word is readable, too.
        self._said = os.read(self.ready, 1) if readable else b""
        # Something it has started may hold its end of the pipe open after it has ended.
        self._is_late = not readable and self.process.poll() is None
        if self._is_late:
            self.end()

    def step(self, timeout_s: float) -> None:
        """Let it do one step."""
        self._tell_to_go()
        self.wait(timeout_s)

    def finish(self, timeout_s: float) -> Outcome:
        """Let it do whatever is left of its job, and wait for the outcome."""
        while self._said:
            self.step(timeout_s)
        exit_code = None if self._is_late else self._exit_code(timeout_s)
        if exit_code == 0:
            return self._read_outcome()
        self.end()
        return Outcome(failure=self._how_it_ended(exit_code, timeout_s) + self._log_tail())

    def end(self) -> None:
        """Kill it with all it started, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        if self.ready >= 0:
            os.close(self.ready)
            self.ready = -1

    def _tell_to_go(self) -> None:
        assert self.process.stdin is not None, "a worker is told to go through its standard input"
        # If it has ended meanwhile, the next wait sees that.
        with suppress(BrokenPipeError):
            self.process.stdin.write(b"go\n")
            self.process.stdin.flush()

    def _exit_code(self, timeout_s: float) -> int | None:
        """Exit code (negative: signal number), or None if it takes too long."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _read_outcome(self) -> Outcome:
        try:
            return Outcome.model_validate_json(self.result_path.read_bytes())
        except FileNotFoundError:
            return Outcome(failure="the worker ended without a result, though with exit code 0")
        except ValidationError as error:
            return Outcome(failure=f"the worker's result cannot be read: {explain(error)}")

    def _how_it_ended(self, exit_code: int | None, timeout_s: float) -> str:
        if exit_code is None:
            return f"it did not finish within {timeout_s:g} s and was stopped (--timeout allows more)"
        how = f"ended with exit code {exit_code}" if exit_code > 0 else f"was ended by {signal_name(-exit_code)}"
        limit = self.job.memory_limit_bytes
        if limit is not None and OUT_OF_MEMORY.search(self.log_path.read_bytes()):
            return f"it ran out of memory at {limit / 1e6:.0f} MB (--memory-limit-mb allows more): the worker {how}"
        hint = ", as the kernel does when memory runs out" if exit_code == -signal.SIGKILL else ""
        return f"the worker {how}{hint}"

    def _log_tail(self) -> str:
        lines = [line.strip() for line in self.log_path.read_bytes().decode(errors="replace").splitlines()]
        tail = " | ".join([line for line in lines if line][-LOG_TAIL_LINES:])
        return f"; last lines of its log: {tail[-LOG_TAIL_CHARS:]}" if tail else "; its log is empty"


def _wait_for_one(deadlines: dict[Worker, float]) -> None:
    """Take out those that got ready, died, or are too late, one at least."""
    left_s = max(0.0, min(deadlines.values()) - time.monotonic())
    readable, _, _ = select.select([worker.ready for worker in deadlines], [], [], left_s)
    for worker, deadline in list(deadlines.items()):
        if worker.ready in readable or time.monotonic() >= deadline:
            del deadlines[worker]
            worker.wait(0)


def _environment(threads: int) -> dict[str, str]:
    return child_environment() | dict.fromkeys(THREAD_VARIABLES, str(threads))
