"""How much memory processes hold, read from outside them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_GROUP, _RESIDENT_PAGES = 2, 21
"""Positions in /proc/PID/stat behind the command's name, which may hold anything but ends at the last bracket."""


def resident_bytes() -> dict[int, int]:
    """Resident memory of every process group on this machine; pages shared inside a group count more than once.

    Read from /proc, or from `ps` where there is none (macOS).
    """
    totals: dict[int, int] = {}
    for group, size_bytes in _from_proc() if (_PROC / "self" / "stat").exists() else _from_ps():
        totals[group] = totals.get(group, 0) + size_bytes
    return totals


def _from_proc() -> Iterator[tuple[int, int]]:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it has ended since
            fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
            yield int(fields[_GROUP]), int(fields[_RESIDENT_PAGES]) * page_bytes


def _from_ps() -> Iterator[tuple[int, int]]:
    table = subprocess.run(["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=True).stdout
    for line in table.splitlines():
        group, kibibytes = line.split()
        yield int(group), int(kibibytes) * 1024
