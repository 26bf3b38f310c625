"""One bench at a time on one machine, since two would measure each other; the second one waits."""

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape

from distill.errors import UsageError
from distill.terminal import say


def lock_path() -> Path:
    """The lock file of this user on this machine."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "pocket-distill-bench.lock"
    return Path(tempfile.gettempdir()) / f"pocket-distill-bench-{os.getuid()}.lock"


@contextmanager
def only_bench() -> Generator[None]:
    """Hold the machine while the context lasts, after waiting for another bench that holds it, and saying so.

    The kernel lets go of it when the process ends, however that happens.

    Raises:
        UsageError: the lock cannot be opened.
    """
    path = lock_path()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"cannot open {path}, which keeps two benches from measuring each other: {error.strerror or error}. "
            "Remove it, or set XDG_RUNTIME_DIR to a folder of yours."
        ) from error
    try:
        _hold(handle, path)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _hold(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
    say(
        f"another bench (process {escape(holder)}) is measuring on this machine, and the two would measure each other; "
        f"waiting until it is done. Ctrl-C ends the waiting. The lock is {escape(str(path))}."
    )
    fcntl.flock(handle, fcntl.LOCK_EX)
    say("the other bench is done")
