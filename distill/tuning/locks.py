"""What only one process at a time may do in a search's folder."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Self


class Lock:
    """A lock of a file. The kernel lets go of it when the process ends, however that happens."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def taken(cls, path: Path) -> Self | None:
        """The lock, or None if a process that is alive has it."""
        return cls._flocked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @classmethod
    def awaited(cls, path: Path) -> Self:
        """The lock, as soon as nobody has it."""
        lock = cls._flocked(path, fcntl.LOCK_EX)
        assert lock is not None
        return lock

    @classmethod
    def _flocked(cls, path: Path, how: int) -> Self | None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(handle)

    def release(self) -> None:
        """Let go of it."""
        os.close(self.handle)


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold a lock while the block lasts; waits for it."""
    lock = Lock.awaited(path)
    try:
        yield
    finally:
        lock.release()
