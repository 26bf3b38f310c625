"""What this machine is, and the state it is in; a figure is None where the machine does not tell."""

import os
import platform
import re
from pathlib import Path

from bench.record import Device
from distill.system import usable_cores

CPU_INFO = Path("/proc/cpuinfo")
PROCESS_STATUS = Path("/proc/self/status")
THERMAL_ZONES = Path("/sys/class/thermal")
CORES = Path("/sys/devices/system/cpu")


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


def load_average() -> float:
    """Processes that wanted to run, averaged over the last minute."""
    return os.getloadavg()[0]


def cpu_mhz() -> float | None:
    """Clock of the fastest core; the others may be at rest."""
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(CPU_INFO), re.MULTILINE)
    return max((float(value) for value in clocks), default=None)


def throttle_count() -> int | None:
    """How often the kernel throttled cores because of heat since the machine started; only Intel's are counted."""
    counts = [_text(path).strip() for path in CORES.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return sum(int(count) for count in counts if count.isdecimal()) if counts else None


def temperature_celsius() -> float | None:
    """The hottest thermal zone."""
    zones = [_text(path).strip() for path in sorted(THERMAL_ZONES.glob("thermal_zone*/temp"))]
    celsius = [int(zone) / 1000 for zone in zones if re.fullmatch(r"-?\d+", zone)]
    return max(celsius, default=None)


def memory_bytes() -> int | None:
    """Resident memory of this process."""
    return _status_bytes("VmRSS")


def peak_memory_bytes() -> int | None:
    """Highest resident memory this process ever had."""
    # Not getrusage: its figure starts with what the parent held before exec.
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int | None:
    match = re.search(rf"^{name}:\s*(\d+) kB", _text(PROCESS_STATUS), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _text(CPU_INFO), re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or platform.machine()


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
