"""Engines: what they refuse, how a cell's process lives and dies, and a Ray cluster that loses a worker and a node."""

import fcntl
import importlib.util
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from distill.checkpoint import Card
from distill.config import with_overrides
from distill.contract import sha256_of_file
from distill.engines import Options, open_engine
from distill.engines.cell_process import LAUNCHER, LOG_FILE, STARTED
from distill.engines.launch import LOCK_FILE
from distill.errors import UsageError
from distill.recipes import from_scratch
from distill.run_folder import METRICS_FILE
from distill.studies import short_demo
from distill.study.run import Cell

T = TypeVar("T")
DEADLINE_S = 900
"""For a machine under heavy load; nothing here waits longer than it has to."""

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra ray)")

STARTER = """
import sys
from pathlib import Path
from distill.engines.cell_process import start_cell
print(start_cell(Path(sys.argv[1]), threads=1, conditions="alone").pid, flush=True)
sys.stdin.read()
"""

ENGINE = """
import signal
import sys
from pathlib import Path
from distill.engines import Options, Started, open_engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts its programs without it
folder = Path(sys.argv[2])
with open_engine(sys.argv[1], folder / "config.json", Options()) as engine:
    for event in engine.run([folder]):
        if isinstance(event, Started):
            print("started", flush=True)
"""

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
other = cluster.add_node(**node)
raylets = [found.all_processes["raylet"][0].process.pid for found in (cluster.head_node, other)]
print(cluster.address, *raylets, flush=True)
sys.stdin.readline()
cluster.remove_node(other, allow_graceful=False)
print("removed", flush=True)
sys.stdin.read()
cluster.shutdown()
"""

STUDY = """
import sys
from pathlib import Path
from distill.config import parse
from distill.engines import Options
from distill.study.run import Cell, Study, run_study
cells = tuple(Cell("scratch", parse(text, source="test")) for text in sys.argv[3:])
run_study(Study("s", "scratch", cells), Path(sys.argv[1]), engine="ray", options=Options(address=sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("slurm", Options(), "Known: local, ray"),
        ("local", Options(address="head:6379"), "--address means nothing to --engine local, which takes --jobs"),
        ("local", Options(gpus_per_cell=0.25), "--gpus-per-cell means nothing"),
        ("ray", Options(jobs=2), "--jobs means nothing to --engine ray"),
        pytest.param("ray", Options(address="ray://head:10001"), "expected HOST:PORT", marks=needs_ray),
        pytest.param("ray", Options(address="auto"), "expected HOST:PORT", marks=needs_ray),
        pytest.param("ray", Options(address="127.0.0.1:1"), "nobody answers there", marks=needs_ray),
    ],
)
def test_an_engine_refuses_what_it_does_not_know(engine: str, options: Options, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message), open_engine(engine, tmp_path / "study.json", options):
        pytest.fail("must not open")


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pocket-distill\[ray\]"), open_engine("ray", tmp_path, Options()):
        pytest.fail("must not open")


def test_a_cell_waits_for_its_folder_and_dies_with_whoever_started_it(tmp_path: Path) -> None:
    """Another process holds the folder; then it is free and the run begins; then the starter is killed."""
    (tmp_path / "config.json").write_text("{}")
    claim = os.open(tmp_path / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    fcntl.flock(claim, fcntl.LOCK_EX)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with starter:
        assert starter.stdout is not None
        cell = psutil.Process(int(starter.stdout.readline()))
        wait_until(lambda: "another process runs this cell" in (tmp_path / LOG_FILE).read_text())
        assert "run" not in cell.cmdline()
        end = os.pidfd_open(cell.pid)
        os.close(claim)
        wait_until(lambda: cell.cmdline()[1:4] == ["-m", "distill", "run"])
        starter.kill()
        assert select.select([end], [], [], DEADLINE_S)[0]
        os.close(end)
    assert not (tmp_path / METRICS_FILE).exists()


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[needs_ray, pytest.mark.slow])])
def test_ctrl_c_leaves_no_cell_behind(engine: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    claim = os.open(tmp_path / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    fcntl.flock(claim, fcntl.LOCK_EX)
    study = subprocess.Popen(
        [sys.executable, "-c", ENGINE, engine, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with study:
        assert study.stdout is not None
        assert study.stdout.readline() == "started\n"
        assert processes_of(tmp_path)
        study.send_signal(signal.SIGINT)
        _, complaint = study.communicate(timeout=DEADLINE_S)
    os.close(claim)
    assert study.returncode == -signal.SIGINT
    assert complaint.strip().endswith("KeyboardInterrupt")
    wait_until(lambda: not processes_of(tmp_path))


@pytest.mark.slow
@needs_ray
def test_a_study_on_two_ray_nodes_survives_a_killed_worker_and_a_lost_node(tmp_path: Path) -> None:
    settings = [
        "model=torchvision:shufflenet_v2_x0_5",
        "image.size_px=32",
        "dataset.train_patients=4",
        "dataset.validation_patients=2",
        "training.epochs=4",
        "training.batch_size=40",
        "device=cpu",
    ]
    cells = [
        Cell("scratch", with_overrides(from_scratch(short_demo(), "scratch"), [*settings, f"seed={seed}"]))
        for seed in range(3)
    ]
    folders = [cell.folder(tmp_path) for cell in cells]
    with two_nodes() as (cluster, address, head, other):
        configs = [cell.config.model_dump_json() for cell in cells]
        study = subprocess.Popen(
            [sys.executable, "-c", STUDY, str(tmp_path), address, *configs], stderr=subprocess.PIPE, text=True
        )
        with study:
            assert study.stderr is not None
            worker, killed = wait_until(lambda: stopped_in_the_middle(study, head, folders))
            os.kill(worker, signal.SIGKILL)
            line = study.stderr.readline()
            while not line.startswith("1/3"):
                assert line, "the study ended before a cell did"
                line = study.stderr.readline()
            _, lost = wait_until(lambda: stopped_in_the_middle(study, other, folders))
            before = {folder: traces(folder) for folder in folders if is_finished(folder)}
            print("remove", file=cluster.stdin, flush=True)
            lines = study.stderr.read().splitlines()
        assert study.returncode == 0, lines
    assert all(is_finished(folder) for folder in folders)
    assert before
    assert {folder: traces(folder) for folder in before} == before
    assert lines[-1].startswith("3/3")
    interrupted = [folder for folder in folders if starts_in(folder) > 1]
    assert set(interrupted) == {killed, lost}
    for folder in interrupted:
        log = (folder / LOG_FILE).read_text()
        assert log.count(" 1/4 ") <= 1, "the first epoch was finished and must not run again"
        assert log.count(" 4/4 ") == 1


@contextmanager
def two_nodes() -> Iterator[tuple["subprocess.Popen[str]", str, int, int]]:
    """A Ray cluster of two nodes with a core each: its keeper, its address, and the nodes' raylet processes."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    ) as keeper:
        assert keeper.stdout is not None
        address, head, other = keeper.stdout.readline().split()
        yield keeper, address, int(head), int(other)


def stopped_in_the_middle(study: "subprocess.Popen[str]", raylet: int, folders: list[Path]) -> tuple[int, Path] | None:
    """A cell on this node that has an epoch behind it and others before it: its Ray worker and its folder.

    Its process is held by SIGSTOP, so that it is certain to be in the middle when the worker or node is killed.
    """
    assert study.poll() is None
    with suppress(psutil.NoSuchProcess):  # any of them may end while it is looked at
        for worker in psutil.Process(raylet).children():
            for run in worker.children():
                folder = next((folder for folder in folders if str(folder) in run.cmdline()), None)
                if folder and (folder / METRICS_FILE).is_file():
                    run.suspend()
                    if not is_finished(folder):
                        return worker.pid, folder
                    run.resume()
    return None


def processes_of(folder: Path) -> list[int]:
    """Processes that wait to become the run in a folder."""
    words = {process.pid: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
    return [pid for pid, found in words.items() if str(LAUNCHER) in found and str(folder) in found]


def is_finished(folder: Path) -> bool:
    card = folder / "best" / "card.json"
    if not card.is_file():
        return False
    training = Card.read(card).training
    return training is not None and training.finished


def traces(folder: Path) -> tuple[int, int, str]:
    """When the product was written, how often its process was started, and what it is."""
    card = folder / "best" / "card.json"
    return card.stat().st_mtime_ns, starts_in(folder), sha256_of_file(card)


def starts_in(folder: Path) -> int:
    return (folder / LOG_FILE).read_text().count(STARTED)


def wait_until(found: Callable[[], T | None]) -> T:
    """What `found` returns once it is true; fails after `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result
