"""What this machine is, and the state it is in; a figure is None where the machine does not tell."""

import os
import platform
import re
import time
from pathlib import Path

from bench.record import Device

CPU_INFO = Path("/proc/cpuinfo")
PROCESSOR_TIMES = Path("/proc/stat")
PROCESS_STATUS = Path("/proc/self/status")
THERMAL_ZONES = Path("/sys/class/thermal")


def identify() -> Device:
    """This machine as a CPU device."""
    return Device(
        kind="cpu",
        name=_processor(),
        os=_system(),
        cores=usable_cores(),
        memory_bytes=_memory_bytes(),
        instrument=None,
        serial=None,
        emulated=False,
    )


def usable_cores() -> int:
    """Logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float:
    """Processes that wanted to run, averaged over the last minute."""
    return os.getloadavg()[0]


def busy_cores(*, window_s: float = 0.5) -> float | None:
    """Cores that were working (or taken by another virtual machine) during a window that this call waits for."""
    began = _core_ticks()
    time.sleep(window_s)
    ended = _core_ticks()
    if began is None or ended is None:
        return None
    return usable_cores() * (ended[0] - began[0]) / max(1, ended[1] - began[1])


def cpu_mhz() -> float | None:
    """Clock averaged over all cores."""
    found = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(CPU_INFO), re.MULTILINE)]
    return sum(found) / len(found) if found else None


def temperature_celsius() -> float | None:
    """The hottest thermal zone."""
    zones = [_text(path).strip() for path in sorted(THERMAL_ZONES.glob("thermal_zone*/temp"))]
    celsius = [int(zone) / 1000 for zone in zones if re.fullmatch(r"-?\d+", zone)]
    return max(celsius, default=None)


def peak_memory_bytes() -> int | None:
    """Highest resident memory this process ever had."""
    # Not getrusage: its figure starts with what the parent held before exec.
    found = re.search(r"^VmHWM:\s*(\d+) kB", _text(PROCESS_STATUS), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _core_ticks() -> tuple[int, int] | None:
    """(ticks not idle, all ticks) over all cores since the machine started."""
    found = re.match(r"cpu +([\d ]+)", _text(PROCESSOR_TIMES))
    if not found:
        return None
    # user nice system idle iowait irq softirq steal; guest time is part of user already.
    ticks = [int(value) for value in found.group(1).split()[:8]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text(CPU_INFO), re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()
    return f"{name}, {platform.system()} {platform.release()}"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _text(path: Path) -> str:
    """The file's text, or nothing where the machine has no such file: every caller then answers None."""
    try:
        return path.read_text()
    except OSError:
        return ""
