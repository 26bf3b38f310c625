"""A process that has imported a toolchain and forks one process per artifact: python -m export.run.host CHANNEL MODEL.

Importing torch and a toolchain takes longer than most conversions. The first host imports what every format needs; it
forks one host per format, which imports that toolchain, lets a child do the work that the format's precisions share,
and forks one worker per artifact. Each worker is a process group of its own, and its death is its own.

A host has one thread: the others would not survive the fork, and locks that they hold would stay locked. So it runs no
converter, and a toolchain that starts threads when it is imported is left to the workers (`Format.forks`).

Started and talked to by `export.run.hosts`, one JSON object per packet. Linux only: macOS does not allow a process to
fork after its frameworks were loaded.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import shutil
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.artifact.manifest import FormatName
from export.formats import FORMATS
from export.run import worker
from export.run.processes import how_it_died, kill_group

PACKET_BYTES = 65536
_OUTPUT, _ERRORS = 1, 2


@dataclass(frozen=True)
class Child:
    """A process that this one has forked and not yet reaped; `watched` is readable once it has ended."""

    number: int
    pid: int
    watched: int


class Host:
    """Forks, kills and reaps as it is told, until the other end of the channel is closed."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.children: dict[int, Child] = {}

    def serve(self) -> None:
        """Return when nobody is there to tell anything any more; whatever was forked is ended then."""
        while True:
            poll = select.poll()
            for fd in (self.channel.fileno(), *self.children):
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll():
                if fd in self.children:
                    self._bury(self.children.pop(fd))
                elif not self._obey():
                    for child in self.children.values():
                        kill_group(child.pid)
                    return

    def _obey(self) -> bool:
        packet, fds, _, _ = socket.recv_fds(self.channel, PACKET_BYTES, 1)
        if not packet:
            return False
        order: dict[str, Any] = json.loads(packet)
        match order["do"]:
            case "kill":
                for child in self.children.values():
                    if child.number == order["number"]:
                        kill_group(child.pid)
            case "open":
                own = socket.socket(fileno=fds[0])
                preparation = Path(order["preparation"]) if order["preparation"] else None
                self._fork(order, lambda: host_format(own, order["format"], preparation, Path(order["ending"])))
                own.close()
            case _:
                self._fork(order, lambda: worker.main(Path(order["order"])))
        return True

    def _fork(self, order: dict[str, Any], work: Callable[[], int]) -> None:
        def alone() -> int:
            os.setpgid(0, 0)
            _write_to(Path(order["log"]), before=Path(order["before"]))
            self.channel.close()
            for watched in self.children:
                os.close(watched)
            return work()

        try:
            pid = fork(alone)
        except OSError as error:
            cause = f"its process could not be forked: {error}"
            print(cause, file=sys.stderr, flush=True)
            shutil.copyfile(order["before"], order["log"])
            self.tell(number=order["number"], ended=cause)
            return
        with suppress(PermissionError, ProcessLookupError):  # the child has done it, or has ended
            os.setpgid(pid, pid)
        watched = os.pidfd_open(pid)
        self.children[watched] = Child(order["number"], pid, watched)
        self.tell(number=order["number"], pid=pid)

    def _bury(self, child: Child) -> None:
        """End what is left of a child's group while its id cannot be anybody else's, then reap it."""
        kill_group(child.pid)
        os.close(child.watched)
        _, status = os.waitpid(child.pid, 0)
        self.tell(number=child.number, ended=how_it_died(os.waitstatus_to_exitcode(status)))

    def tell(self, **event: Any) -> None:
        """Say something to the pool; nothing happens if it is gone."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send(json.dumps(event).encode())


def host_format(channel: socket.socket, format: FormatName, preparation: Path | None, ending: Path) -> int:
    """Import a format's toolchain, have its shared work done, say so, and serve.

    One that cannot be imported, or must not fork as it has started threads, says so in the file `ending`; returns 1.
    """
    host = Host(channel)
    try:
        import_format(format)
        cause = why_not_fork(format, threads=settle())
    except Exception as error:
        traceback.print_exc()
        cause = worker.one_line(error)
    if cause:
        print(cause, file=sys.stderr)
        worker.Ending(status="failed", cause=cause).write(ending)
        return 1
    if preparation is not None:
        _, status = os.waitpid(fork(lambda: worker.main_preparation(preparation)), 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:  # the pool should hear what ended it
            os.kill(os.getpid(), -code)
        if code or not ending.exists():
            return code
    host.tell(ready=True)
    host.serve()
    return 0


def import_format(format: FormatName) -> None:
    """Import a format's toolchain, and let it warm up, unless a process that has done so could not fork."""
    entry = FORMATS[format]
    if not entry.forks:
        return
    with without(entry.not_at_first):
        module = importlib.import_module(entry.module)
    if entry.warms:
        module.warm_up()


def why_not_fork(format: FormatName, *, threads: int) -> str:
    """How many threads would be lost, and what to do; empty if there is the main thread alone."""
    if threads == 1:
        return ""
    entry = FORMATS[format]
    way_out = "forks=False" + (", or warms=False if its warm_up() starts them," if entry.warms else "")
    return (
        f"{threads - 1} thread(s) of {entry.module} run once it is imported, and would not survive a fork: "
        f"set {way_out} in the entry of {format} in FORMATS (export/formats/__init__.py)"
    )


@contextmanager
def without(packages: Sequence[str]) -> Iterator[None]:
    """Let imports of these packages fail as if they were not installed; those imported before stay."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # pyright: ignore[reportCallIssue, reportArgumentType]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def settle() -> int:
    """Put what is in memory out of the garbage collector's sight: children share these pages until somebody writes.

    Returns:
        how many threads this process has; with more than one it must not fork.
    """
    gc.collect()
    gc.freeze()
    return len(os.listdir("/proc/self/task"))


def fork(work: Callable[[], int]) -> int:
    """Run `work` in a child that ends with its result as exit code; returns the child's process id."""
    _flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work()
    except SystemExit as end:
        traceback.print_exc()
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code & 0xFF)


def _write_to(log: Path, *, before: Path) -> None:
    """Send what this process and its native code print to a new file, behind what another one holds."""
    shutil.copyfile(before, log)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(fd, _OUTPUT)
    os.dup2(fd, _ERRORS)
    os.close(fd)


def _flush() -> None:
    """Write what Python and the C library keep in buffers; a child would write it a second time, or `_exit` lose it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)


def import_for_all(model: str) -> None:
    """Import what every worker needs: torch with its exporter, torchvision, our own modules, and what a network needs.

    Much of the exporter is imported when it is used first, so it is used. So is timm, by the one network of ours that
    needs it; the user's own may.

    Args:
        model: name of the network, as in the card.
    """
    import safetensors.torch  # noqa: F401
    import torch

    import export.convert  # noqa: F401
    from distill.vision.models import MODELS

    torch.export.export(torch.nn.Identity(), (torch.zeros(1),))
    if model in MODELS:
        MODELS[model](1)
    else:
        import timm  # noqa: F401


def main(descriptor: int, model: str) -> None:
    """Be the first host, on an inherited socket."""
    with socket.socket(fileno=descriptor) as channel:
        os.set_inheritable(descriptor, False)
        import_for_all(model)
        if (threads := settle()) > 1:
            print(f"this process has {threads} threads and is about to fork", file=sys.stderr)
        host = Host(channel)
        host.tell(ready=True)
        host.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
