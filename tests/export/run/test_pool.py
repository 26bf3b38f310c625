import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from distill.system import child_environment
from export.artifact.manifest import FormatName
from export.formats import FORMATS, Target
from export.run import host, hosts, memory, pool, processes
from export.run.pool import Limits, Opened, Opening, Outcome, Task

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
        shared=folder / f"{name}.shared",
    )


def tasks(folder: Path, count: int) -> list[Task]:
    return [task(folder, str(number)) for number in range(count)]


Program = Callable[[str], None]

STANDS_IN = """
import runpy, sys
from export.run import host, worker
def stand_in(path):
    sys.argv = ["-c", str(path)]
    exec(CODE, {})
    return 0
worker.main = stand_in
host.import_for_all = lambda model: None
host.importlib.import_module = lambda name: print("imported", name)
host.main(int(sys.argv[1]), sys.argv[2])
"""


def host_command(worker_code: str, before: str = "") -> tuple[str, ...]:
    """A first host whose workers run `worker_code`; it runs `before` itself."""
    stands_in = STANDS_IN.replace("host.main(", f"{before}\nhost.main(")
    return (sys.executable, "-c", f"CODE = {worker_code!r}\n{stands_in}")


@pytest.fixture(params=["spawned", "forked"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Program:
    """program(code): workers run this instead; `sys.argv[1]` is the order."""
    if request.param == "forked" and not pool.can_fork():
        pytest.skip("this system cannot fork safely")
    monkeypatch.setattr(pool, "can_fork", lambda: request.param == "forked")

    def replace(code: str) -> None:
        monkeypatch.setattr(processes, "WORKER_COMMAND", (sys.executable, "-c", code))
        monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(code))

    return replace


def run(folder: Path, tasks: list[Task], *, jobs: int = 2, limits: Limits = ROOMY) -> Iterator[pool.Event]:
    return pool.run(tasks, pool.processes(folder, "tiny"), jobs=jobs, limits=limits)


def outcomes(folder: Path, count: int, limits: Limits = ROOMY) -> list[Outcome]:
    return [event for event in run(folder, tasks(folder, count), limits=limits) if isinstance(event, Outcome)]


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


def test_no_more_workers_run_at_once_than_asked_for(tmp_path: Path, program: Program) -> None:
    program(SLEEPER)
    running, highest = 0, 0
    for event in run(tmp_path, tasks(tmp_path, 5)):
        running += 1 if isinstance(event, (Task, Opening)) else -1
        highest = max(highest, running)
    assert highest == 2
    assert running == 0


def test_stopping_early_ends_the_workers(tmp_path: Path, program: Program) -> None:
    program(f"{WRITE_PID}; time.sleep(60)")
    events = run(tmp_path, tasks(tmp_path, 1), jobs=1)
    started = next(event for event in events if isinstance(event, Task))
    pid = read_pid(Path(f"{started.order}.pid"))
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_says_nothing_has_failed(tmp_path: Path, program: Program) -> None:
    program("import sys; sys.exit(7)")
    assert [outcome.cause for outcome in outcomes(tmp_path, 1)] == [
        "the converter ended its process with exit code 7 before it was done"
    ]


def test_a_worker_that_the_system_killed_says_that_memory_is_the_likely_reason(
    tmp_path: Path, program: Program
) -> None:
    program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    (outcome,) = outcomes(tmp_path, 1)
    assert "lack of memory; try --jobs 1" in outcome.cause


def test_a_worker_that_hangs_is_ended_with_its_children_while_the_others_finish(
    tmp_path: Path, program: Program
) -> None:
    hang = f"""
import subprocess, sys, time
if sys.argv[1].endswith("0.json"):
    code = {f"{WRITE_PID}; time.sleep(600)"!r}
    subprocess.run([sys.executable, "-c", code, sys.argv[1]])
{ENDING}
"""
    program(hang)
    found = {outcome.task.folder.name: outcome for outcome in outcomes(tmp_path, 3, Limits(8 * 2**30, seconds=15))}
    assert found["0"].status == "failed"
    assert found["0"].cause == "the converter was ended at its time limit of 15 s; raise it with --timeout 30"
    assert [found[name].status for name in "12"] == ["made", "made"]
    wait_until_gone(read_pid(tmp_path / "0.json.pid"))


def test_a_worker_that_eats_memory_is_ended_while_the_others_finish(tmp_path: Path, program: Program) -> None:
    eat = f"""
import sys, time
if sys.argv[1].endswith("0.json"):
    eaten = [bytes(range(256)) * 2**14 for _ in range(100)]  # 400 MiB, every page of it written
    time.sleep(600)
{ENDING}
"""
    program(eat)
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


@pytest.mark.parametrize("how", ["Spawner()", "hosts.Hosts(folder, 'tiny')"])
def test_workers_end_when_the_command_that_started_them_is_killed(tmp_path: Path, how: str) -> None:
    """kill -9 leaves no time for cleaning up: the worker notices that its standard input has closed."""
    worker = f"from export.run.worker import end_with_parent; end_with_parent(); {WRITE_PID}; time.sleep(600)"
    command = f"""
import sys
from pathlib import Path
from export.run import hosts, pool, processes
from export.formats import Target
from export.run.processes import Spawner
folder = Path({str(tmp_path)!r})
processes.WORKER_COMMAND = (sys.executable, "-c", {worker!r})
hosts.HOST_COMMAND = {host_command(worker)!r}
names = ("folder", "refusal", "log", "order", "ending", "shared")
task = pool.Task(Target("onnx", "fp32"), "", *(folder / name for name in names))
list(pool.run([task], {how}, jobs=1, limits=pool.Limits(2**40, 600)))
"""
    process = subprocess.Popen([sys.executable, "-c", command])
    pid = read_pid(tmp_path / "order.pid")
    hosts_of_it = [] if how == "Spawner()" else ancestors(pid, process.pid)
    process.kill()
    process.wait()
    for each in (pid, *hosts_of_it):
        wait_until_gone(each)


def ancestors(pid: int, first: int) -> list[int]:
    """Processes between two, both left out."""
    found: list[int] = []
    while (pid := psutil.Process(pid).ppid()) != first:
        found.append(pid)
    assert len(found) == 2, "the host of the format and the first one"
    return found


HOLDS_ITS_OWN_LOG = f"""
import ctypes, sys
print(sys.argv[1])
ctypes.CDLL(None).puts(b"native words")
{ENDING}
"""


def test_each_log_holds_what_its_own_worker_printed_by_python_or_natively(tmp_path: Path, program: Program) -> None:
    program(HOLDS_ITS_OWN_LOG)
    assert [outcome.status for outcome in outcomes(tmp_path, 3)] == ["made"] * 3
    for number in range(3):
        told = (tmp_path / f"{number}.log").read_text()
        assert [line for line in told.splitlines() if line.endswith(".json")] == [str(tmp_path / f"{number}.json")]
        assert told.count("native words") == 1


needs_fork = pytest.mark.skipif(not pool.can_fork(), reason="this system cannot fork safely")


def opening(folder: Path, monkeypatch: pytest.MonkeyPatch, preparation: str) -> Opening:
    """The opening of ONNX, whose shared work is this code."""
    stand_in = f"worker.main_preparation = lambda path: exec({preparation!r}, {{'path': path}}) or 0"
    monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(ENDING, f"print('words before')\n{stand_in}"))
    return Opening("onnx", folder / "preparation", folder / "onnx.ending")


@needs_fork
def test_a_format_is_opened_once_and_before_its_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = opening(tmp_path, monkeypatch, "path.with_name('onnx.ending').touch(); print('shared words')")
    events = list(
        pool.run(tasks(tmp_path, 2), hosts.Hosts(tmp_path, "tiny"), jobs=2, limits=ROOMY, openings=[shared]),
    )
    assert [type(event) for event in events][:2] == [Opening, Opened]
    assert [event.status for event in events if isinstance(event, Outcome)] == ["made", "made"]
    assert len(events) == 6
    assert "shared words" in (tmp_path / "1.log").read_text()


@needs_fork
@pytest.mark.parametrize(
    ("preparation", "cause"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the converter was ended by SIGSEGV"),
        ("import time; time.sleep(600)", "was ended at its time limit of 5 s"),
        ("eaten = [bytes(range(256)) * 2**14 for _ in range(100)]; import time; time.sleep(600)", "memory limit"),
        ("raise SystemExit(3)", "ended its process with exit code 3 before it was done"),
        ("raise SystemExit", "ended its process with exit code 0 before it was done"),
    ],
    ids=["crash", "hang", "memory", "exit", "exit early"],
)
def test_shared_work_that_fails_costs_the_artifacts_of_its_format_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preparation: str, cause: str
) -> None:
    shared = opening(tmp_path, monkeypatch, preparation)
    other = task(tmp_path, "other", Target("eager", "fp32"))
    limits = Limits(256 * 2**20, 5) if "limit" in cause else ROOMY
    processes = hosts.Hosts(tmp_path, "tiny")
    started = pool.run([*tasks(tmp_path, 2), other], processes, jobs=2, limits=limits, openings=[shared])
    found = {event.task.folder.name: event for event in started if isinstance(event, Outcome)}
    assert {name: outcome.status for name, outcome in found.items()} == {"0": "failed", "1": "failed", "other": "made"}
    assert cause in found["0"].cause
    assert "words before" in found["1"].task.log.read_text()


def two_and_other(folder: Path) -> list[Task]:
    """Two artifacts of ONNX, and one of another format."""
    return [*tasks(folder, 2), task(folder, "other", Target("eager", "fp32"))]


@pytest.fixture
def ends() -> Iterator[None]:
    """Without this a pool that waits for a dead process would never fail the test."""

    def stop(*_: object) -> None:
        raise TimeoutError("the pool still runs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@needs_fork
@pytest.mark.usefixtures("ends")
def test_a_first_host_that_dies_is_said_of_every_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "HOST_COMMAND", (sys.executable, "-c", "import sys; print('no torch'); sys.exit(9)"))
    found = [event for event in run(tmp_path, two_and_other(tmp_path), jobs=1) if isinstance(event, Outcome)]
    assert [outcome.cause for outcome in found] == [
        "the process it was forked from ended: the converter ended its process with exit code 9 before it was done"
    ] * 3
    assert "no torch" in found[0].task.log.read_text()


@needs_fork
@pytest.mark.usefixtures("ends")
def test_a_first_host_that_hangs_is_ended_at_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "HOST_COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    events = run(tmp_path, two_and_other(tmp_path), jobs=1, limits=Limits(8 * 2**30, seconds=2))
    causes = {event.task.folder.name: event.cause for event in events if isinstance(event, Outcome)}
    assert "was ended at its time limit of 2 s" in causes["0"]
    assert causes["other"] == hosts.ENDED_WHILE_IMPORTING


@needs_fork
@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("host", ["of the format", "the first"])
@pytest.mark.parametrize("moment", [Opened, Task])
def test_a_host_that_is_killed_after_it_has_opened_fails_what_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, moment: type[Opened | Task]
) -> None:
    hang = f"import sys, time\nif sys.argv[1].endswith('0.json'): time.sleep(600)\n{ENDING}"
    monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(hang, "print('words before')"))
    found: dict[str, Outcome] = {}
    for event in run(tmp_path, two_and_other(tmp_path), jobs=1):
        if isinstance(event, Outcome):
            found[event.task.folder.name] = event
        elif isinstance(event, moment) and not found:
            (first,) = [child for child in psutil.Process().children() if child.children()]
            (of_the_format,) = first.children()
            (first if host == "the first" else of_the_format).kill()
    killed = "the converter was ended by SIGKILL, most likely by the system for lack of memory; try --jobs 1"
    from_killed = f"the process it was forked from ended: {killed}"
    assert found["0"].cause == from_killed
    assert found["1"].cause == (from_killed if host == "the first" else killed)
    assert "words before" in found["1"].task.log.read_text()
    assert found["other"].cause == (from_killed if host == "the first" else "")


@needs_fork
@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize(("refused", "second"), [(1, "eager"), (2, "onnx")], ids=["host of a format", "worker"])
def test_a_fork_that_fails_costs_what_was_to_be_forked_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int, second: FormatName
) -> None:
    """The count of forks goes on in a forked host: the second one there is its first worker."""
    fails = f"""
import errno, itertools, os
fork, count = os.fork, itertools.count(1)
def scarce():
    if next(count) == {refused}:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = scarce
"""
    monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(ENDING, fails))
    both = [task(tmp_path, "0"), task(tmp_path, "1", Target(second, "fp32"))]
    one, other = [event for event in run(tmp_path, both, jobs=1) if isinstance(event, Outcome)]
    assert one.cause.startswith("its process could not be forked: ")
    assert one.cause in one.task.log.read_text()
    assert other.status == "made"


@needs_fork
def test_a_toolchain_that_starts_a_thread_must_not_be_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "threaded.py").write_text("import threading; threading.Thread(target=threading.Event().wait).start()")
    imports = f"""
import dataclasses
sys.path.insert(0, {str(tmp_path)!r})
threaded = dataclasses.replace(host.FORMATS["onnx"], module="threaded", forks=True)
host.FORMATS = host.FORMATS | {{"onnx": threaded}}
host.importlib.import_module = lambda name: name == "threaded" and __import__(name)
"""
    monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(ENDING, imports))
    events = run(tmp_path, two_and_other(tmp_path), jobs=1)
    found = {event.task.folder.name: event for event in events if isinstance(event, Outcome)}
    for name in "01":
        assert found[name].cause.startswith("1 thread(s) of threaded run once it is imported")
        assert "set forks=False in the entry of onnx in FORMATS" in found[name].cause
        assert found[name].cause in found[name].task.log.read_text()
    assert found["other"].status == "made"


@needs_fork
def test_a_toolchain_that_cannot_be_imported_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = """
import dataclasses
def fail(name):
    if name == "broken":
        raise ImportError("libmade_up.so is missing")
host.FORMATS = host.FORMATS | {"onnx": dataclasses.replace(host.FORMATS["onnx"], module="broken", forks=True)}
host.importlib.import_module = fail
"""
    monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(ENDING, imports))
    events = run(tmp_path, two_and_other(tmp_path), jobs=1)
    found = {event.task.folder.name: event for event in events if isinstance(event, Outcome)}
    assert [found[name].cause for name in "01"] == ["ImportError: libmade_up.so is missing"] * 2
    assert "Traceback" in found["1"].task.log.read_text()
    assert found["other"].status == "made"


def test_a_kernel_or_sandbox_without_pidfd_open_has_its_workers_spawned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert isinstance(pool.processes(tmp_path, "tiny"), processes.Spawner)


def run_python(code: str, *arguments: str) -> str:
    """The last word that a program prints, run as a host is."""
    environment = child_environment() | hosts.ONE_THREAD
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()[-1]


FORKING = [name for name, entry in FORMATS.items() if entry.forks]


@needs_fork
@pytest.mark.parametrize("name", FORKING)
def test_no_thread_runs_when_a_host_forks(name: str) -> None:
    """Threads do not survive a fork, and what they have locked stays locked."""
    code = (
        "import os, sys\nfrom export.run import host\n"
        "host.import_for_all('ghostnet_100')\nhost.import_format(sys.argv[1])\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    assert run_python(code, name) == "1"


@pytest.mark.slow
def test_a_host_of_core_ml_does_without_what_coremltools_only_looks_at() -> None:
    """Nine seconds of imports; afterwards they can be imported as ever."""
    code = (
        "import sys\nfrom export.run import host\nhost.import_format('coreml')\n"
        "there = {'sklearn', 'executorch.exir'} & set(sys.modules)\n"
        "import sklearn.cluster, executorch.exir\nprint(len(there))"
    )
    assert run_python(code) == "0"


def test_what_is_imported_already_is_not_kept_away() -> None:
    with host.without(["json", "made_up"]):
        assert importlib.import_module("json") is json
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("made_up")
    assert "made_up" not in sys.modules


@pytest.mark.parametrize(
    ("model", "expected"),
    [("ghostnet_100", "True"), ("python:my.own:network", "True"), ("mobilenet_v3_small", "False")],
)
def test_the_first_host_imports_timm_for_a_network_that_may_need_it(model: str, expected: str) -> None:
    code = "import sys\nfrom export.run import host\nhost.import_for_all(sys.argv[1])\nprint('timm' in sys.modules)"
    assert run_python(code, model) == expected


@needs_fork
def test_a_format_that_was_opened_ahead_is_not_opened_again(tmp_path: Path, program: Program) -> None:
    program(ENDING)
    all_tasks = two_and_other(tmp_path)
    started = pool.processes(tmp_path, "tiny")
    begun = pool.open_ahead(all_tasks, started, [])
    assert (begun is not None) == pool.can_fork()
    events = list(pool.run(all_tasks, started, jobs=2, limits=ROOMY, begun=begun))
    opened = [event.format for event in events if isinstance(event, Opening)]
    assert opened == (["onnx", "eager"] if begun else [])
    assert [event.status for event in events if isinstance(event, Outcome)] == ["made"] * 3


@needs_fork
def test_the_time_of_a_format_that_was_opened_ahead_counts_from_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came between, images that are read and judged by eager, is not the toolchain's time."""
    monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(ENDING))
    started = hosts.Hosts(tmp_path, "tiny")
    begun = pool.open_ahead(tasks(tmp_path, 1), started, [])
    assert begun is not None
    begun.started -= 1000
    events = list(pool.run(tasks(tmp_path, 1), started, jobs=1, limits=ROOMY, begun=begun))
    assert [event.status for event in events if isinstance(event, Outcome)] == ["made"]
    assert [event.seconds < 60 for event in events if isinstance(event, Opened)] == [True]


@needs_fork
@pytest.mark.parametrize("ready", [False, True])
def test_a_format_that_was_opened_ahead_ends_when_nobody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: bool
) -> None:
    """As when the held-out images turn out to be missing."""
    before = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))"
    importing = "" if ready else "\n__import__('time').sleep(600)"
    monkeypatch.setattr(hosts, "HOST_COMMAND", host_command(ENDING, before + importing))
    started = hosts.Hosts(tmp_path, "tiny")
    begun = pool.open_ahead(tasks(tmp_path, 1), started, [])
    first = read_pid(tmp_path / "pid")
    while ready and not started.is_open("onnx"):
        started.wait(1)
    started.close()
    assert begun is not None
    for pid in filter(None, (first, begun.process.pid)):
        wait_until_gone(pid)


@needs_fork
@pytest.mark.usefixtures("ends")
def test_a_format_opened_ahead_that_is_dead_before_the_run_is_said_of_its_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = opening(tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    started = hosts.Hosts(tmp_path, "tiny")
    begun = pool.open_ahead(two_and_other(tmp_path), started, [shared])
    assert begun is not None
    while begun.process.ended is None:
        started.wait(1)
    events = pool.run(two_and_other(tmp_path), started, jobs=2, limits=ROOMY, openings=[shared], begun=begun)
    found = {event.task.folder.name: event.cause for event in events if isinstance(event, Outcome)}
    assert found == {"0": "the converter was ended by SIGSEGV", "1": "the converter was ended by SIGSEGV", "other": ""}


def test_the_longest_conversions_start_first(tmp_path: Path) -> None:
    targets = [Target("eager", "fp32"), Target("executorch", "fp32"), Target("executorch", "int8")]
    ordered = pool.longest_first([task(tmp_path, target.name, target) for target in targets])
    assert [task.target.name for task in ordered] == ["executorch-int8", "executorch-fp32", "eager-fp32"]


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
