import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from distill.system import child_environment
from export.formats import FORMATS, Target
from export.run import pool, processes
from export.run.pool import Importing, Outcome, Pool, Task
from export.run.processes import Limits
from export.run.worker import Order, Piece

ROOMY = Limits(memory_bytes=8 * 2**30, seconds=60)
SLEEPER = "time.sleep(0.4)"
WRITE_PID = "pathlib.Path(piece.folder + '.pid').write_text(str(os.getpid()))"
BEFORE_PID = WRITE_PID.replace("piece.folder", "order.log")

STANDS_IN = """
import os, pathlib, signal, subprocess, sys, time
from export.run import worker
def make(order, piece, loaded):
    exec(CODE, globals() | {"order": order, "piece": piece})
    return worker.Ended(precision=piece.precision, status="made", cause="")
def open_checkpoint(order):
    exec(BEFORE, globals() | {"order": order})
worker.make, worker.open_checkpoint = make, open_checkpoint
worker.main(pathlib.Path(sys.argv[1]))
"""

Program = Callable[..., None]


def stand_in(code: str, before: str = "") -> tuple[str, ...]:
    """A worker that runs `before` instead of importing anything, and `code` for every `piece`."""
    return (sys.executable, "-c", f"CODE = {code!r}\nBEFORE = {before!r}\n{STANDS_IN}")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """program(code, before): workers run this instead."""
    return lambda code, before="": monkeypatch.setattr(pool, "WORKER_COMMAND", stand_in(code, before))


def task(folder: Path, target: Target) -> Task:
    return Task(
        target=target,
        inputs_sha256="",
        folder=folder / target.name,
        refusal=folder / f"{target.name}.refused.json",
        log=folder / f"{target.name}.log",
    )


def coreml(folder: Path) -> list[Task]:
    """Three artifacts of one format."""
    return [task(folder, Target("coreml", precision)) for precision in ("fp32", "fp16", "palette8")]


def other(folder: Path) -> Task:
    """One of another format."""
    return task(folder, Target("eager", "fp32"))


def order(tasks: Sequence[Task], log: Path) -> Order:
    return Order(
        checkpoint="",
        data=None,
        evidence="",
        format=tasks[0].target.format,
        batch=1,
        temperature=1.0,
        low_resolution=False,
        recipe=None,
        allow_loss=False,
        log=str(log),
        pieces=tuple(
            Piece(
                precision=task.target.precision,
                inputs_sha256="",
                folder=str(task.folder),
                refusal=str(task.refusal),
                log=str(task.log),
            )
            for task in tasks
        ),
    )


def make_pool(folder: Path, tasks: list[Task], *, jobs: int = 2, limits: Limits = ROOMY) -> Pool:
    return Pool(tasks, order, folder, jobs=jobs, limits=limits)


def outcomes(folder: Path, tasks: list[Task], *, jobs: int = 2, limits: Limits = ROOMY) -> dict[str, Outcome]:
    events = make_pool(folder, tasks, jobs=jobs, limits=limits).run()
    return {event.task.target.name: event for event in events if isinstance(event, Outcome)}


def outcomes_within(folder: Path, tasks: list[Task], limits: Limits, *, of: type[Task | Importing]) -> list[Outcome]:
    """As `outcomes`, the limits holding for the first process alone, from the first such event to the first outcome."""
    started = make_pool(folder, tasks, jobs=1)
    found: list[Outcome] = []
    for event in started.run():
        if isinstance(event, Outcome):
            found.append(event)
            started._limits = ROOMY
        elif isinstance(event, of) and not found:
            started._limits = limits
    return found


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


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """Without this a pool that waits for a dead process would never fail the test."""

    def stop(*_: object) -> None:
        raise TimeoutError("the pool still runs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_no_more_workers_run_at_once_than_asked_for(tmp_path: Path, program: Program) -> None:
    program(SLEEPER)
    tasks = [task(tmp_path, Target(name, "fp32")) for name in FORMATS]
    running, highest = 0, 0
    for event in make_pool(tmp_path, tasks).run():
        running += {Importing: 1, Outcome: -1}.get(type(event), 0)
        highest = max(highest, running)
    assert (highest, running) == (2, 0)


def test_artifacts_of_a_format_are_made_in_turn_by_one_process(tmp_path: Path, program: Program) -> None:
    program(WRITE_PID)
    events = list(make_pool(tmp_path, coreml(tmp_path), jobs=4).run())
    assert [type(event) for event in events] == [Importing, *(Task, Outcome) * 3]
    assert [event.status for event in events if isinstance(event, Outcome)] == ["made"] * 3
    assert len({read_pid(Path(f"{each.folder}.pid")) for each in coreml(tmp_path)}) == 1


def test_stopping_early_ends_the_workers_and_removes_what_they_were_building(tmp_path: Path, program: Program) -> None:
    program(f"{WRITE_PID}; time.sleep(60)")
    events = make_pool(tmp_path, [other(tmp_path)], jobs=1).run()
    started = next(event for event in events if isinstance(event, Task))
    pid = read_pid(Path(f"{started.folder}.pid"))
    unfinished = started.folder.with_name(f".{started.folder.name}.{pid}.tmp")
    unfinished.mkdir()
    events.close()
    assert not unfinished.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


SECOND = "piece.precision == 'fp16'"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("os._exit(7)", "the converter ended its process with exit code 7 before it was done"),
        ("raise SystemExit", "the converter ended its process with exit code 0 before it was done"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the converter was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "lack of memory; try --jobs 1"),
    ],
    ids=["exit", "exit early", "crash", "killed"],
)
def test_an_artifact_that_ends_its_worker_costs_itself_only(
    tmp_path: Path, program: Program, code: str, cause: str
) -> None:
    program(f"{WRITE_PID}\nif {SECOND}: {code}")
    found = outcomes(tmp_path, [*coreml(tmp_path), other(tmp_path)])
    assert {name: outcome.status for name, outcome in found.items()} == {
        "coreml-fp32": "made",
        "coreml-fp16": "failed",
        "coreml-palette8": "made",
        "eager-fp32": "made",
    }
    assert cause in found["coreml-fp16"].cause
    first, second, third = (read_pid(Path(f"{each.folder}.pid")) for each in coreml(tmp_path))
    assert first == second != third, "what is left is made by a new process"


FIRST = "piece.folder.endswith('coreml-fp32')"


@pytest.mark.parametrize(
    ("code", "limits", "cause"),
    [
        (
            "time.sleep(600)",
            Limits(8 * 2**30, 2),
            "the converter was ended at its time limit of 2 s; raise it with --timeout 4",
        ),
        (
            "[os.close(fd) for fd in range(1, 20) if os.path.exists(f'/dev/fd/{fd}')]; time.sleep(600)",
            Limits(8 * 2**30, 2),
            "was ended at its time limit of 2 s",
        ),
        (
            "eaten = [bytes(range(256)) * 2**14 for _ in range(100)]; time.sleep(600)",  # 400 MiB, every page written
            Limits(256 * 2**20, 300),
            "was ended at its memory limit: it held ",
        ),
    ],
    ids=["hang", "silent", "memory"],
)
def test_an_artifact_over_a_limit_costs_itself_only(
    tmp_path: Path, program: Program, code: str, limits: Limits, cause: str
) -> None:
    program(f"if {FIRST}: {code}")
    first, *others = outcomes_within(tmp_path, [*coreml(tmp_path), other(tmp_path)], limits, of=Task)
    assert first.status == "failed"
    assert cause in first.cause
    assert [outcome.status for outcome in others] == ["made"] * 3


def test_a_worker_that_hangs_is_ended_with_its_children(tmp_path: Path, program: Program) -> None:
    inner = "import os, sys, time, pathlib; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
    program(f"subprocess.Popen([sys.executable, '-c', {inner!r}, piece.folder + '.pid'])\ntime.sleep(600)")
    started = make_pool(tmp_path, [other(tmp_path)])
    causes: list[str] = []
    for event in started.run():
        if isinstance(event, Task):
            pid = read_pid(tmp_path / "eager-fp32.pid")
            started._limits = Limits(8 * 2**30, seconds=1)
        elif isinstance(event, Outcome):
            causes.append(event.cause)
    assert causes == ["the converter was ended at its time limit of 1 s; raise it with --timeout 2"]
    wait_until_gone(pid)


def test_an_exception_of_a_converter_leaves_the_worker_alive(tmp_path: Path, program: Program) -> None:
    program(f"{WRITE_PID}\nif {SECOND}: raise RuntimeError('unsupported operator\\nsecond line')")
    found = outcomes(tmp_path, coreml(tmp_path))
    assert found["coreml-fp16"].cause == "RuntimeError: unsupported operator"
    assert "second line" in found["coreml-fp16"].task.log.read_text()
    assert found["coreml-palette8"].status == "made"
    assert len({read_pid(Path(f"{each.folder}.pid")) for each in coreml(tmp_path)}) == 1


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the converter was ended by SIGSEGV"),
        ("raise ImportError('libmade_up.so is missing')", "ImportError: libmade_up.so is missing"),
        ("time.sleep(600)", "was ended at its time limit of 9 s"),
    ],
    ids=["crash", "import", "hang"],
)
def test_a_toolchain_that_cannot_be_imported_is_said_of_every_artifact_of_its_format(
    tmp_path: Path, program: Program, before: str, cause: str
) -> None:
    program("", f"print('words before', flush=True)\nif order.format == 'coreml': {before}")
    limits = Limits(8 * 2**30, seconds=9) if "limit" in cause else ROOMY
    *found, last = outcomes_within(tmp_path, [*coreml(tmp_path), other(tmp_path)], limits, of=Importing)
    assert [outcome.task.target.format for outcome in found] == ["coreml"] * 3
    for outcome in found:
        assert outcome.status == "failed"
        assert cause in outcome.cause
        assert "words before" in outcome.task.log.read_text()
    assert last.status == "made"


def test_each_log_holds_what_was_printed_before_all_and_meanwhile_by_python_or_natively(
    tmp_path: Path, program: Program
) -> None:
    program(
        "import ctypes; print(piece.folder); ctypes.CDLL(None).puts(b'native words')",
        "print('words before'); print('warnings', file=sys.stderr)",
    )
    assert {outcome.status for outcome in outcomes(tmp_path, coreml(tmp_path)).values()} == {"made"}
    for each in coreml(tmp_path):
        assert sorted(each.log.read_text().split("\n")) == sorted(
            ["words before", "warnings", str(each.folder), "native words", ""]
        )


def test_workers_started_ahead_wait_for_the_evidence_and_are_timed_from_then_on(
    tmp_path: Path, program: Program
) -> None:
    program("assert pathlib.Path(order.log).with_name('evidence').exists()", BEFORE_PID)
    started = make_pool(tmp_path, [*coreml(tmp_path), other(tmp_path)], limits=Limits(8 * 2**30, seconds=60))
    started.start_ahead()
    pid = read_pid(tmp_path / "coreml.log.pid")
    for each in started._running:
        each.since -= 1000
    (tmp_path / "evidence").touch()
    events = list(started.run())
    assert read_pid(tmp_path / "coreml.log.pid") == pid, "it is not started a second time"
    assert [event.format for event in events if isinstance(event, Importing)] == ["coreml", "eager"]
    made = [event for event in events if isinstance(event, Outcome)]
    assert [outcome.cause for outcome in made] == [""] * 4
    assert all(outcome.seconds < 60 for outcome in made)


def test_one_job_starts_nothing_ahead(tmp_path: Path, program: Program) -> None:
    program("")
    started = make_pool(tmp_path, coreml(tmp_path), jobs=1)
    started.start_ahead()
    assert not started._running


def test_workers_started_ahead_end_when_nobody_goes_on(tmp_path: Path, program: Program) -> None:
    """As when the held-out images turn out to be missing."""
    program("", BEFORE_PID)
    started = make_pool(tmp_path, coreml(tmp_path))
    started.start_ahead()
    pid = read_pid(tmp_path / "coreml.log.pid")
    started.close()
    wait_until_gone(pid)


def test_a_worker_started_ahead_that_is_dead_before_the_run_is_said_of_its_artifacts(
    tmp_path: Path, program: Program
) -> None:
    program("", "if order.format == 'coreml': os.kill(os.getpid(), signal.SIGSEGV)")
    started = make_pool(tmp_path, [*coreml(tmp_path), other(tmp_path)])
    started.start_ahead()
    (ahead,) = started._running
    os.waitid(os.P_PID, ahead.child.pid, os.WEXITED | os.WNOWAIT)
    causes = [event.cause for event in started.run() if isinstance(event, Outcome)]
    assert sorted(causes) == ["", *["the converter was ended by SIGSEGV"] * 3]


def test_workers_end_when_the_command_that_started_them_is_killed(tmp_path: Path) -> None:
    """kill -9 leaves no time for cleaning up: the worker notices that its standard input has closed."""
    command = f"""
from pathlib import Path
from export.run import pool
from tests.export.run.test_pool import make_pool, other
pool.WORKER_COMMAND = {stand_in(f"{WRITE_PID}; time.sleep(600)")!r}
list(make_pool(Path({str(tmp_path)!r}), [other(Path({str(tmp_path)!r}))]).run())
"""
    process = subprocess.Popen([sys.executable, "-c", command], env=child_environment())
    pid = read_pid(tmp_path / "eager-fp32.pid")
    process.kill()
    process.wait()
    wait_until_gone(pid)


def test_memory_is_counted_over_a_whole_process_group(tmp_path: Path) -> None:
    eat = "import pathlib, sys; x = bytes(range(256)) * 2**19; pathlib.Path(sys.argv[1]).write_text('1'); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {eat!r}, sys.argv[1]])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "eaten")], stdin=subprocess.PIPE, process_group=0
    )
    try:
        read_pid(tmp_path / "eaten")
        held = processes.resident_bytes()[process.pid]
        assert 128 * 2**20 < held < 256 * 2**20
        assert processes.resident_bytes()[os.getpgrp()] > 0
        assert dict(processes._from_ps())[process.pid] > 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_core_ml_does_without_what_coremltools_only_looks_at() -> None:
    """Nine seconds of imports; afterwards they can be imported as ever."""
    code = (
        "import sys, export.formats.coreml.exporter\n"
        "there = {'sklearn', 'executorch.exir'} & set(sys.modules)\n"
        "import sklearn.cluster, executorch.exir\nprint(len(there))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    told = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
    assert told.stdout.split()[-1] == "0"


def test_the_longest_formats_start_first(tmp_path: Path) -> None:
    targets = [Target("eager", "fp32"), Target("onnx", "fp32"), Target("executorch", "fp32"), Target("onnx", "int8")]
    ordered = pool.longest_first([task(tmp_path, target) for target in targets])
    names = [[task.target.name for task in of_format] for of_format in ordered]
    assert names == [["executorch-fp32"], ["onnx-fp32", "onnx-int8"], ["eager-fp32"]]


def test_jobs_are_bounded_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: 8)
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
