"""Why Android ended an app, as `dumpsys activity exit-info` tells since Android 11 (API 30)."""

import re
from dataclasses import dataclass

from distill.system import signal_name

EXIT_SELF, SIGNALED, LOW_MEMORY, CRASH, CRASH_NATIVE, ANR, USER_REQUESTED = 1, 2, 3, 4, 5, 6, 10
"""Of `android.app.ApplicationExitInfo`."""

PLAIN = {
    EXIT_SELF: "it ended itself",
    SIGNALED: "it was killed",
    LOW_MEMORY: "it was killed because memory was short; close other apps, or measure a smaller model",
    CRASH: "a Java exception nobody caught",
    CRASH_NATIVE: "a crash in native code",
    ANR: "it did not respond",
}


@dataclass(frozen=True)
class Exit:
    """One end of an app's process.

    Attributes:
        at: local time of the phone, "YYYY-MM-DD hh:mm:ss.mmm".
        reason: Android's number, and `name` its word for it.
        status: exit code, or the signal's number.
        description: what the system adds; empty if nothing.
    """

    at: str
    pid: int
    reason: int
    name: str
    status: int
    description: str

    def __str__(self) -> str:
        said = f"{self.name}: {PLAIN[self.reason]}" if self.reason in PLAIN else self.name
        if self.reason == EXIT_SELF:
            said += f" with exit code {self.status}"
        elif self.reason in (SIGNALED, CRASH_NATIVE) and self.status:
            said += f", signal {self.status} ({signal_name(self.status)})"
        return f"{said} ({self.description})" if self.description else said


def exits(text: str) -> list[Exit]:
    """Every end in the dump, newest first. Android 11 writes one field to a line, later ones several."""
    ends: list[Exit] = []
    for block in re.split(r"ApplicationExitInfo #\d+:", text)[1:]:
        at = re.search(r"timestamp=(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)", block)
        pid = re.search(r"\bpid=(\d+)", block)
        reason = re.search(r"\breason=(\d+) \((.*?)\)(?=\s+(?:sub)?(?:reason|status)=)", block, re.DOTALL)
        status = re.search(r"\bstatus=(-?\d+)", block)
        described = re.search(r"\bdescription=(.*?)\s+state=", block, re.DOTALL)
        if at and pid and reason:
            description = described.group(1).strip() if described else ""
            ends.append(
                Exit(
                    at=at.group(1),
                    pid=int(pid.group(1)),
                    reason=int(reason.group(1)),
                    name=reason.group(2),
                    status=int(status.group(1)) if status else 0,
                    description="" if description == "null" else description,
                )
            )
    return ends


def last_exit(text: str, *, pid: int | None, since: str) -> Exit | None:
    """The end of one process in a dump.

    Args:
        text: the dump.
        pid: which process; None if it never said, then the newest that nobody asked for.
        since: local time of the phone; earlier ends are of other processes.
    """
    candidates = [end for end in exits(text) if end.at >= since]
    if pid is None:
        return next((candidate for candidate in candidates if candidate.reason != USER_REQUESTED), None)
    return next((candidate for candidate in candidates if candidate.pid == pid), None)
