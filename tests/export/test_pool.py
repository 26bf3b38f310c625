import os
import sys
import time
from pathlib import Path

import pytest

from export import pool
from export.formats import Target
from export.pool import Outcome, Task

SLEEPER = "import sys, time; time.sleep(0.4)"


def tasks(folder: Path, count: int) -> list[Task]:
    return [
        Task(Target("onnx", "fp32"), folder / str(n), folder / f"{n}.log", folder / f"{n}.json", folder / f"{n}.ending")
        for n in range(count)
    ]


def test_no_more_workers_run_at_once_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WORKER_COMMAND", (sys.executable, "-c", SLEEPER))
    running, highest = 0, 0
    for event in pool.run(tasks(tmp_path, 5), jobs=2):
        running += 1 if isinstance(event, Task) else -1
        highest = max(highest, running)
    assert highest == 2
    assert running == 0


def test_stopping_early_ends_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pid = "import os, sys, time, pathlib; pathlib.Path(sys.argv[1] + '.pid').write_text(str(os.getpid()))"
    monkeypatch.setattr(pool, "WORKER_COMMAND", (sys.executable, "-c", f"{write_pid}; time.sleep(60)"))
    events = pool.run(tasks(tmp_path, 1), jobs=1)
    task = next(events)
    assert isinstance(task, Task)
    pid_file = Path(f"{task.order}.pid")
    deadline = time.monotonic() + 20
    while not (pid_file.is_file() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_worker_that_says_nothing_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WORKER_COMMAND", (sys.executable, "-c", "import sys; sys.exit(7)"))
    outcomes = [event for event in pool.run(tasks(tmp_path, 1), jobs=1) if isinstance(event, Outcome)]
    assert [outcome.failure for outcome in outcomes] == [
        "the converter ended its process with exit code 7 before it was done"
    ]


def test_the_longest_conversions_start_first(tmp_path: Path) -> None:
    targets = [Target("eager", "fp32"), Target("executorch", "fp32"), Target("executorch", "int8")]
    prepared = pool.prepare(targets, checkpoint=tmp_path, evidence=tmp_path, out=tmp_path, scratch=tmp_path)
    assert [task.target.name for task in prepared] == ["executorch-int8", "executorch-fp32", "eager-fp32"]


def test_jobs_are_bounded_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.setattr(pool, "_available_memory_bytes", lambda: 5 * 2**30)
    assert pool.default_jobs() == 3
    monkeypatch.setattr(pool, "_available_memory_bytes", lambda: 2**20)
    assert pool.default_jobs() == 1
    monkeypatch.setattr(pool, "_available_memory_bytes", lambda: None)
    assert pool.default_jobs() == 8
