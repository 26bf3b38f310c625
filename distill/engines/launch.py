"""python launch.py STARTER FOLDER: become the run in FOLDER, alone there, ending with the process STARTER.

A program of its own that imports nothing of ours: both hold from the first moment and go over to the run by `exec`.
"""

import ctypes
import errno
import fcntl
import os
import signal
import sys
from pathlib import Path

LOCK_FILE = ".lock"
PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal a process gets when its parent dies."""


def main(starter: int, folder: str) -> None:
    """Become the run in `folder`, started by the process `starter`."""
    end_with(starter)
    claim(Path(folder))
    run = [sys.executable, "-m", "distill", "run", folder, "--out", folder, "--resume"]
    os.execv(sys.executable, run)


def end_with(starter: int) -> None:
    """Let this process be killed when the one that started it dies, so that no killed study leaves cells behind.

    Linux only; elsewhere the claim on the folder alone keeps a second run out until this one has ended.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != starter:
            sys.exit(f"process {starter}, which started this cell, has died")


def claim(folder: Path) -> None:
    """Wait until no other process runs this cell; the claim ends with this process, whatever it becomes."""
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another process runs this cell; waiting for its end", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print("this file system has no locks: start no second study in this folder", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
