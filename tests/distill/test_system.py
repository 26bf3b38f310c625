import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distill import system

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight cores and 16 GiB that are free; a test writes the control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, place in (("MEMORY_INFO", "meminfo"), ("OWN_GROUPS", "own"), ("GROUPS", "groups")):
        monkeypatch.setattr(system, name, tmp_path / place)
    (tmp_path / "meminfo").write_text(f"MemTotal: {32 * 2**20} kB\nMemAvailable: {16 * 2**20} kB\n")
    return tmp_path


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_without_control_groups_the_system_itself_is_asked(machine: Path) -> None:
    assert system.usable_cores() == 8
    assert system.available_bytes() == 16 * GIB


def test_a_system_that_does_not_tell_its_memory(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert system.available_bytes() is None


def test_limits_of_a_group_count_less_what_it_holds_and_needs(machine: Path) -> None:
    (machine / "own").write_text("0::/slice/unit\n")
    group(
        machine / "groups" / "slice" / "unit",
        memory__max=str(4 * GIB),
        memory__current=str(3 * GIB),
        memory__stat=f"anon 1\ninactive_file {2 * GIB}",
        cpu__max="250000 100000",
    )
    assert system.available_bytes() == 3 * GIB
    assert system.usable_cores() == 2


def test_the_tightest_of_the_groups_around_counts(machine: Path) -> None:
    (machine / "own").write_text("0::/slice/unit\n")
    group(machine / "groups" / "slice", memory__max=str(GIB), memory__current="0", cpu__max="50000 100000")
    group(machine / "groups" / "slice" / "unit", memory__max="max", memory__current="5", cpu__max="max 100000")
    assert system.available_bytes() == GIB
    assert system.usable_cores() == 1, "half a core is one process's"


def test_groups_of_version_1_count_where_the_container_sees_its_own_at_the_root(machine: Path) -> None:
    (machine / "own").write_text("12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n")
    held = {"memory__limit_in_bytes": str(4 * GIB), "memory__usage_in_bytes": str(GIB)}
    group(machine / "groups" / "memory", **held, memory__stat="inactive_file 5\ntotal_inactive_file 7")
    group(machine / "groups" / "cpu", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    assert system.available_bytes() == 3 * GIB + 7
    assert system.memory_limits_bytes() == [4 * GIB]
    assert system.usable_cores() == 3


def test_groups_without_a_limit_change_nothing(machine: Path) -> None:
    (machine / "own").write_text("0::/../..\n5:memory:/\n6:cpu:/\n")
    group(machine / "groups", memory__max="max", memory__current="5", cpu__max="max 100000")
    limits = {"memory__limit_in_bytes": "9223372036854771712", "memory__usage_in_bytes": "5"}
    group(machine / "groups" / "memory", **limits)
    group(machine / "groups" / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert system.usable_cores() == 8
    assert system.available_bytes() == 16 * GIB
    assert system.memory_limits_bytes() == []


def test_a_group_over_its_limit_has_no_room(machine: Path) -> None:
    (machine / "own").write_text("0::/\n")
    group(machine / "groups", memory__max="100", memory__current="200")
    assert system.available_bytes() == 0


def test_a_child_imports_this_toolkit_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = "import sys, distill.system; print(distill.system.__file__, sys.path[2])"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, env=system.child_environment(), cwd="/", capture_output=True, text=True, check=True)
    assert told.stdout.split() == [system.__file__, str(tmp_path)]
    monkeypatch.delenv("PYTHONPATH")
    assert system.child_environment()["PYTHONPATH"] == str(system.TOOLKIT_FOLDER), "an empty part would mean here"


def test_signals_by_name() -> None:
    assert system.signal_name(signal.SIGKILL) == "SIGKILL"
    assert system.signal_name(250) == "signal 250"


def test_what_is_near_is_named() -> None:
    assert system.did_you_mean("onx", ("onnx", "litert")) == "; did you mean onnx?"
    assert system.did_you_mean("quartz", ("onnx", "litert")) == "."


@pytest.mark.parametrize(
    ("chosen", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_that_wait_soon_sleep_unless_the_user_chose(
    chosen: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    system.wait_briefly()
    assert system.child_environment().get("GOMP_SPINCOUNT") == spins
