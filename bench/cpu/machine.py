"""What this machine is, and the state it is in; a figure is None where the machine does not tell."""

import os
import platform
import re
from collections import Counter
from pathlib import Path

from bench.record import Device
from distill.system import memory_limits_bytes, usable_cores

CPU_INFO = Path("/proc/cpuinfo")
PROCESS_STATUS = Path("/proc/self/status")
THERMAL_ZONES = Path("/sys/class/thermal")
CORES = Path("/sys/devices/system/cpu")


NO_ZONE = re.compile(r"bcl|vbat|ibat|vdroop|batoilo|ocp_|volt|current|percent|charge", re.IGNORECASE)
LEAST_CELSIUS, MOST_CELSIUS = -40.0, 150.0
"""Outside of which no board works: a sensor that is not connected, or another unit."""

BOARD = Path("/proc/device-tree/model")

ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD0E): "Cortex-A76AE",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
    (0x61, 0x022): "Icestorm (M1)",
    (0x61, 0x023): "Firestorm (M1)",
    (0xC0, 0xAC3): "Ampere-1",
}
"""By implementer and part in Arm's MIDR_EL1, as util-linux's lscpu names them."""


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
    """The hottest thermal zone that is one: some boards list the battery's volts and charge among them."""
    zones = [
        folder for folder in sorted(THERMAL_ZONES.glob("thermal_zone*")) if not NO_ZONE.search(_text(folder / "type"))
    ]
    values = [_text(zone / "temp").strip() for zone in zones]
    celsius = [int(value) / 1000 for value in values if re.fullmatch(r"-?\d+", value)]
    return max((value for value in celsius if LEAST_CELSIUS < value < MOST_CELSIUS), default=None)


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
    """The processor's own name; on Arm, where it tells none, the board's with the kinds of usable cores."""
    text = _text(CPU_INFO)
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    cores = _arm_cores(text)
    if match and not cores:
        return match.group(1).strip()
    said = dict(re.findall(r"^(Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE))
    name = (said.get("Model") or _text(BOARD) or said.get("Hardware", "")).strip("\0 \n")
    return f"{name} ({cores})" if name and cores else name or cores or platform.processor() or platform.machine()


def _arm_cores(text: str) -> str:
    """The kinds of cores that this process may use, e.g. "4 × Cortex-A55 + 2 × Cortex-A76"; empty but on Arm."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    kinds: Counter[str] = Counter()
    for block in re.split(r"^(?=processor\s*:)", text, flags=re.MULTILINE):
        fields = dict(re.findall(r"^(processor|CPU implementer|CPU part)\s*:\s*(\S+)", block, re.MULTILINE))
        if len(fields) == 3 and (usable is None or int(fields["processor"]) in usable):
            maker, part = (int(fields[name], 16) for name in ("CPU implementer", "CPU part"))
            kinds[ARM_CORES.get((maker, part), f"core {maker:#04x}:{part:#05x}")] += 1
    return " + ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items()))


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()
    return f"{name}, {platform.system()} {platform.release()}"


def _memory_bytes() -> int:
    """What this process could have: the machine's memory, or less in a container."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *memory_limits_bytes()])


def _text(path: Path) -> str:
    """The file's text, or nothing where the machine has no such file: every caller then answers None."""
    try:
        return path.read_text()
    except OSError:
        return ""
