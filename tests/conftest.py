"""Shared by all tests: folders that two test processes keep apart or share, one thread, no skips in CI, pictures."""

import fcntl
import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

# Before torch is imported, and inherited by every command a test starts: two threads on tiny networks only wait for
# each other, and far longer when the machine has other work.
os.environ["OMP_NUM_THREADS"] = "1"

# Compiled modules are kept, whatever the shell says: tests start hundreds of processes, and each would compile torch
# anew.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

# No timing is asserted, also not that of one example: another process may have the machine for a second.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

sys.dont_write_bytecode = False

# A shell that starts the tests in the background has Ctrl-C ignored, and every command they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

MAY_BE_SKIPPED_IN_CI = ("gpu", "phone")
"""Marks of tests that need what CI cannot install."""


def pytest_collection_finish() -> None:
    """What the test modules have imported stays: the garbage collector need not walk through it in every test."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not any(item.get_closest_marker(mark) for mark in MAY_BE_SKIPPED_IN_CI):
        _fail_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_in_ci(report)
    return report


def _fail_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With `CI=true` a skip is a failure: CI runs every test that it says it runs, or tells what it lacks."""
    expected_to_fail = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected_to_fail:
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{reason}. In CI only tests marked {' or '.join(MAY_BE_SKIPPED_IN_CI)} may be skipped: "
            "let .ci/run install what is missing, or unset CI."
        )


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache and a bench's lock that neither the user nor another test process has."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))


MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def make_once(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """make_once(name, make) -> a path that `make(path)` has written once for all test processes of a session.

    It is there until the session ends: do not write into it.
    """
    root = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput"):  # one of several processes, whose folders lie side by side
        root = root.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        path, done = root / "made-once" / name, root / "made-once" / f"{name}.done"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)  # what a failed attempt has left
                make(path)
                done.touch()
        return path

    return once


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes `<split>/<class>/<n>.png` trees whose classes differ in brightness."""

    def write(
        classes: tuple[str, ...] = ("dark", "bright"), per_class: int = 6, size: tuple[int, int] = (20, 14)
    ) -> Path:
        rng = np.random.default_rng(0)
        root = tmp_path / "pictures"
        for split in ("train", "validation"):
            for label, name in enumerate(classes):
                folder = root / split / name
                folder.mkdir(parents=True)
                for number in range(per_class):
                    low = 20 + 180 * label // max(len(classes) - 1, 1)
                    pixels = rng.integers(low, low + 50, (size[1], size[0], 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
        return root

    return write
