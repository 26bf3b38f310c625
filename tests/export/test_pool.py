import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export import memory, pool
from export.formats import Target
from export.pool import Limits, Outcome, Task

SLEEPER = "import time; time.sleep(0.4)"
ROOMY = Limits(memory_bytes=8 * 2**30, seconds=60)
WRITE_PID = "import os, sys, time, pathlib; pathlib.Path(sys.argv[1] + '.pid').write_text(str(os.getpid()))"
ENDING = """
import pathlib, sys
pathlib.Path(sys.argv[1]).with_suffix(".ending").write_text('{"schema_version": 1, "status": "made", "cause": ""}')
"""


def task(folder: Path, name: str, target: Target | None = None) -> Task:
    return Task(
        target=target or Target("onnx", "fp32"),
        inputs_sha256="",
        folder=folder / name,
        refusal=folder / f"{name}.refused.json",
        log=folder / f"{name}.log",
        order=folder / f"{name}.json",
        ending=folder / f"{name}.ending",
    )


def tasks(folder: Path, count: int) -> list[Task]:
    return [task(folder, str(number)) for number in range(count)]


def program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Workers run this instead; `sys.argv[1]` is the order."""
    monkeypatch.setattr(pool, "WORKER_COMMAND", (sys.executable, "-c", code))


def outcomes(folder: Path, count: int, limits: Limits = ROOMY) -> list[Outcome]:
    return [event for event in pool.run(tasks(folder, count), jobs=2, limits=limits) if isinstance(event, Outcome)]


def read_pid(path: Path) -> int:
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
    return int(path.read_text())


def wait_until_gone(pid: int) -> None:
    """A killed orphan is gone, or a zombie that nobody has reaped yet."""
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_no_more_workers_run_at_once_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, SLEEPER)
    running, highest = 0, 0
    for event in pool.run(tasks(tmp_path, 5), jobs=2, limits=ROOMY):
        running += 1 if isinstance(event, Task) else -1
        highest = max(highest, running)
    assert highest == 2
    assert running == 0


def test_stopping_early_ends_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, f"{WRITE_PID}; time.sleep(60)")
    events = pool.run(tasks(tmp_path, 1), jobs=1, limits=ROOMY)
    started = next(events)
    assert isinstance(started, Task)
    pid = read_pid(Path(f"{started.order}.pid"))
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_says_nothing_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "import sys; sys.exit(7)")
    assert [outcome.cause for outcome in outcomes(tmp_path, 1)] == [
        "the converter ended its process with exit code 7 before it was done"
    ]


def test_a_worker_that_the_system_killed_says_that_memory_is_the_likely_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    (outcome,) = outcomes(tmp_path, 1)
    assert "lack of memory; try --jobs 1" in outcome.cause


def test_a_worker_that_hangs_is_ended_with_its_children_while_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = f"""
import subprocess, sys, time
if sys.argv[1].endswith("0.json"):
    code = {f"{WRITE_PID}; time.sleep(600)"!r}
    subprocess.run([sys.executable, "-c", code, sys.argv[1]])
{ENDING}
"""
    program(monkeypatch, hang)
    found = {outcome.task.folder.name: outcome for outcome in outcomes(tmp_path, 3, Limits(8 * 2**30, seconds=15))}
    assert found["0"].status == "failed"
    assert found["0"].cause == "the converter was ended at its time limit of 15 s; raise it with --timeout 30"
    assert [found[name].status for name in "12"] == ["made", "made"]
    wait_until_gone(read_pid(tmp_path / "0.json.pid"))


def test_a_worker_that_eats_memory_is_ended_while_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eat = f"""
import sys, time
if sys.argv[1].endswith("0.json"):
    eaten = [bytes(range(256)) * 2**14 for _ in range(100)]  # 400 MiB, every page of it written
    time.sleep(600)
{ENDING}
"""
    program(monkeypatch, eat)
    found = {o.task.folder.name: o for o in outcomes(tmp_path, 3, Limits(256 * 2**20, seconds=300))}
    assert found["0"].status == "failed"
    assert "was ended at its memory limit: it held " in found["0"].cause
    assert "raise it with --memory-gib" in found["0"].cause
    assert [found[name].status for name in "12"] == ["made", "made"]


def test_memory_is_counted_over_a_whole_process_group(tmp_path: Path) -> None:
    eat = "import pathlib, sys; x = bytes(range(256)) * 2**19; pathlib.Path(sys.argv[1]).write_text('1'); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {eat!r}, sys.argv[1]])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "eaten")], stdin=subprocess.PIPE, process_group=0
    )
    try:
        read_pid(tmp_path / "eaten")
        held = memory.resident_bytes()[process.pid]
        assert 128 * 2**20 < held < 256 * 2**20
        assert memory.resident_bytes()[os.getpgrp()] > 0
        assert dict(memory._from_ps())[process.pid] > 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_workers_end_when_the_command_that_started_them_is_killed(tmp_path: Path) -> None:
    """kill -9 leaves no time for cleaning up: the worker notices that its standard input has closed."""
    worker = f"from export.worker import end_with_parent; end_with_parent(); {WRITE_PID}; time.sleep(600)"
    command = f"""
import sys
from pathlib import Path
from export import pool
from export.formats import Target
folder = Path({str(tmp_path)!r})
pool.WORKER_COMMAND = (sys.executable, "-c", {worker!r})
names = ("folder", "refusal", "log", "order", "ending")
task = pool.Task(Target("onnx", "fp32"), "", *(folder / name for name in names))
list(pool.run([task], jobs=1, limits=pool.Limits(2**40, 600)))
"""
    process = subprocess.Popen([sys.executable, "-c", command])
    pid = read_pid(tmp_path / "order.pid")
    process.kill()
    process.wait()
    wait_until_gone(pid)


def test_the_longest_conversions_start_first(tmp_path: Path) -> None:
    targets = [Target("eager", "fp32"), Target("executorch", "fp32"), Target("executorch", "int8")]
    ordered = pool.longest_first([task(tmp_path, target.name, target) for target in targets])
    assert [task.target.name for task in ordered] == ["executorch-int8", "executorch-fp32", "eager-fp32"]


def test_jobs_are_bounded_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.setattr(pool, "available_bytes", lambda: 5 * 2**30)
    assert pool.default_jobs() == 3
    monkeypatch.setattr(pool, "available_bytes", lambda: 2**20)
    assert pool.default_jobs() == 1
    monkeypatch.setattr(pool, "available_bytes", lambda: None)
    assert pool.default_jobs() == 8


def test_a_worker_may_hold_its_share_of_the_free_memory_and_three_gib_in_any_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "available_bytes", lambda: 32 * 2**30)
    assert pool.worker_limits(4, None, 1.0).memory_bytes == 8 * 2**30
    monkeypatch.setattr(pool, "available_bytes", lambda: 2**30)
    assert pool.worker_limits(4, None, 1.0).memory_bytes == 3 * 2**30
