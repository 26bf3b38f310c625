"""The hosts of `export.run.host` from the outside: opened, told to fork, listened to, and ended with this process."""

import itertools
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.system import child_environment
from export.artifact.manifest import FormatName
from export.run.processes import how_it_died, kill_group

HOST_COMMAND = (sys.executable, "-m", "export.run.host")
PACKET_BYTES = 65536
ENDING_S = 20.0
"""How long killed processes may take to be gone."""

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
"""Libraries that would start threads when they are imported start none."""


ENDED_WHILE_IMPORTING = (
    "the process it was to be forked from was ended at a limit while it still imported; raise it with --timeout"
)


class Channel:
    """One end of the line to a host.

    Attributes:
        ready: it has said that it can fork.
        closed: nothing more will come.
        ended: what has become of all that it had forked, or was told to fork; None while it runs.
        process: of the first host, which nobody but this process can kill; None of the others.
    """

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ready = False
        self.closed = False
        self.ended: str | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def send(self, fds: Iterable[int] = (), **order: Any) -> None:
        """Tell the host something; one that is gone does not listen, and is found dead by others."""
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self.ours, [json.dumps(order).encode()], list(fds))


@dataclass
class Forked:
    """A process that a host forks: a worker, or the host of a format with a channel of its own.

    Attributes:
        pid: also of its process group; None until the host has forked it.
        ended: how, in words; None while it runs.
    """

    number: int
    host: Channel
    own: Channel | None = None
    pid: int | None = None
    ended: str | None = None

    def kill(self) -> None:
        """Ask its host, who knows whether its id is still its own, to kill its group.

        The first host hears nothing while it imports: it is killed itself.
        """
        if self.host.process is None or self.host.ready:
            self.host.send(do="kill", number=self.number)
        elif self.ended is None:
            self.host.ended = ENDED_WHILE_IMPORTING
            kill_group(self.host.process.pid)


class Hosts:
    """The first host, and those of the formats.

    Args:
        scratch: folder for logs of hosts.
        model: name of the network that all artifacts are made from.
    """

    def __init__(self, scratch: Path, model: str) -> None:
        self.log = scratch / "host.log"
        self._scratch = scratch
        self._first = Channel()
        self._formats: dict[FormatName, Channel] = {}
        self._forked: dict[int, Forked] = {}
        self._numbers = itertools.count()
        theirs = self._first.theirs.fileno()
        with self.log.open("wb") as log:
            self._process = self._first.process = subprocess.Popen(
                [*HOST_COMMAND, str(theirs), model],
                stdin=subprocess.PIPE,  # closes with this process, however it ends: see `export.run.worker`
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment() | ONE_THREAD,
                pass_fds=[theirs],
                process_group=0,
            )
        self._first.theirs.close()

    def log_of(self, format: FormatName) -> Path:
        """What a format's host has printed, and before it the first host; the latter's if it could not fork it."""
        log = self._scratch / f"{format}.host.log"
        return log if log.exists() else self.log

    def is_open(self, format: FormatName) -> bool:
        """Whether workers of a format can be forked."""
        return format in self._formats and self._formats[format].ready

    def open(self, format: FormatName, preparation: Path | None, ending: Path) -> Forked:
        """Begin to open the host of a format, which also carries out a preparation; it is open once it is `ready`.

        Args:
            format: which.
            preparation: order of its shared work; None without.
            ending: file that the preparation leaves, or a host that must not fork.
        """
        own = self._formats[format] = Channel()
        forked = self._number(self._first, own)
        self._first.send(
            [own.theirs.fileno()],
            do="open",
            number=forked.number,
            format=format,
            preparation=str(preparation) if preparation else None,
            ending=str(ending),
            before=str(self.log),
            log=str(self._scratch / f"{format}.host.log"),
        )
        own.theirs.close()
        return forked

    def start(self, format: FormatName, order: Path, log: Path) -> Forked:
        """Have a worker forked by an open host; its log begins with what was printed on the way to it."""
        forked = self._number(self._formats[format], None)
        before = str(self.log_of(format))
        forked.host.send(do="make", number=forked.number, order=str(order), before=before, log=str(log))
        return forked

    def wait(self, seconds: float) -> None:
        """Take in what hosts have to say; returns after the first word, or after some seconds without one."""
        channels = {c.ours.fileno(): c for c in (self._first, *self._formats.values()) if not c.closed}
        poll = select.poll()
        for fd in channels:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(1000 * seconds):
            if not channels[fd].closed:  # by a word from another channel
                self._listen(channels[fd])

    def _listen(self, channel: Channel, flags: int = 0) -> None:
        packet = b""
        with suppress(ConnectionResetError):
            packet = channel.ours.recv(PACKET_BYTES, flags)
        if not packet:
            channel.closed, channel.ready = True, False
            if channel is self._first:  # how another one ended comes from the first
                self._mourn(channel, how_it_died(self._process.wait()))
            return
        event: dict[str, Any] = json.loads(packet)
        if "number" not in event:
            channel.ready = True
        elif "pid" in event:
            self._forked[event["number"]].pid = event["pid"]
        else:
            self._bury(self._forked[event["number"]], event["ended"], event["ended"])

    def _bury(self, forked: Forked, ended: str, host_ended: str) -> None:
        del self._forked[forked.number]
        forked.ended = ended
        if forked.own is not None:
            self._mourn(forked.own, host_ended)

    def _mourn(self, channel: Channel, ended: str) -> None:
        """A host is gone: what it had forked is nobody's child, and what it was told to fork will never be."""
        with suppress(BlockingIOError):
            while not channel.closed:
                self._listen(channel, socket.MSG_DONTWAIT)  # its last words
        channel.closed, channel.ready = True, False
        channel.ended = channel.ended or f"the process it was forked from ended: {ended}"
        for forked in [forked for forked in self._forked.values() if forked.host is channel]:
            if forked.pid is not None:
                kill_group(forked.pid)
            self._bury(forked, channel.ended, ended)

    def _number(self, host: Channel, own: Channel | None) -> Forked:
        forked = Forked(next(self._numbers), host, own)
        forked.ended = host.ended
        if host.ended is None:
            self._forked[forked.number] = forked
        return forked

    def _end(self, processes: Iterable[Forked]) -> None:
        """Kill what has been forked, and wait until it is reaped; a host that is not ready has forked nothing."""
        deadline = time.monotonic() + ENDING_S
        alive = [forked for forked in processes if forked.host.ready]
        for forked in alive:
            forked.kill()
        while any(forked.ended is None for forked in alive) and time.monotonic() < deadline:
            self.wait(deadline - time.monotonic())

    def close(self) -> None:
        """End everything, workers first; returns when they are gone."""
        self.wait(0)
        for of_hosts in (False, True):
            self._end([forked for forked in self._forked.values() if (forked.own is not None) == of_hosts])
        kill_group(self._process.pid)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        for channel in (self._first, *self._formats.values()):
            channel.ours.close()


def can_fork() -> bool:
    """Whether hosts work here: on macOS a process must not fork once its frameworks are loaded.

    Linux before 5.3 has no `pidfd_open`, and a sandbox may forbid it.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True
