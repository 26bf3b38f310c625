import multiprocessing
import os
import signal
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


def test_a_second_bench_is_refused_with_the_process_of_the_first():
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Event()
    first = spawn.Process(target=hold, args=(told,))
    first.start()
    assert told.wait(60)
    try:
        with pytest.raises(UsageError, match=rf"another bench \(process {first.pid}\) is measuring"), only_bench():
            pass
    finally:
        first.kill()
        first.join()
    # It was killed and could not tidy up; the kernel let go of its lock.
    with only_bench():
        assert lock_path().read_text() == str(os.getpid())


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
