import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from bench.session.lock import lock_path, only_bench
from distill.errors import UsageError


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def hold(told: "multiprocessing.synchronize.Event") -> None:
    with only_bench():
        told.set()
        signal.pause()


def test_a_second_bench_waits_for_the_first_and_says_whom_it_waits_for(capsys: pytest.CaptureFixture[str]):
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Event()
    first = spawn.Process(target=hold, args=(told,))
    first.start()
    assert told.wait(60)
    # It is killed and cannot tidy up; the kernel lets go of its lock.
    threading.Timer(1, first.kill).start()
    with only_bench():
        first.join(10)
        assert first.exitcode == -signal.SIGKILL, "it did not wait"
        assert lock_path().read_text() == str(os.getpid())
    assert f"another bench (process {first.pid}) is measuring" in capsys.readouterr().err


def test_the_machine_is_free_again_after_an_error():
    with pytest.raises(RuntimeError), only_bench():
        raise RuntimeError
    with only_bench():
        pass


def test_without_a_runtime_folder_the_lock_is_this_users_in_the_temporary_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/no/such/folder")
    assert lock_path().name == f"pocket-distill-bench-{os.getuid()}.lock"


def test_a_lock_that_cannot_be_opened_is_told(tmp_path: Path):
    (tmp_path / "pocket-distill-bench.lock").mkdir()
    with pytest.raises(UsageError, match=r"cannot open .*pocket-distill-bench\.lock"), only_bench():
        pass
