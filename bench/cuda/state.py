"""What `nvidia-smi` says of a GPU: clocks, temperature, power, and whether it slows itself down."""

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.record import GpuState

COMMAND = "nvidia-smi"
TIMEOUT_S = 20
BYTES_PER_MIB = 2**20

FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "utilization.gpu", "memory.used")
REASONS = "clocks_event_reasons.active"
OLD_REASONS = "clocks_throttle_reasons.active"
COUNTERS = tuple(
    f"clocks_event_reasons_counters.{name}"
    for name in ("sw_power_cap", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
)
FIELD_SETS = ((*FIELDS, REASONS, *COUNTERS), (*FIELDS, REASONS), (*FIELDS, OLD_REASONS), FIELDS)
"""From new drivers to old ones: a driver refuses a whole query for one name it does not know."""

SLOWDOWNS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat (driver)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
"""Bits of the reasons that mean a slower GPU than was asked for (nvmlClocksEventReasons in nvml.h)."""


def read_state(uuid: str, *, command: str = COMMAND) -> GpuState | None:
    """The GPU's state now; None if there is no nvidia-smi or it does not know this GPU."""
    for fields in FIELD_SETS:
        values = query(uuid, fields, command=command)
        if values is not None:
            return parse(dict(zip(fields, values, strict=True)))
    return None


def state_under(call: Callable[[], object], uuid: str) -> GpuState | None:
    """The GPU's state while `call` is made again and again: a GPU at rest lowers its clocks within moments."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        state = pool.submit(read_state, uuid)
        while not state.done():
            call()
        return state.result()


def query(uuid: str, fields: Sequence[str], *, command: str = COMMAND) -> list[str] | None:
    """One value per field; None if nvidia-smi is missing, hangs, or refuses."""
    words = [command, f"--id={uuid}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return values if done.returncode == 0 and len(values) == len(fields) else None


def parse(values: dict[str, str]) -> GpuState:
    """The state from nvidia-smi's words; what it has no number for ("[N/A]", "[Not Supported]") is None."""
    memory_mib = number(values["memory.used"])
    reasons = values.get(REASONS, values.get(OLD_REASONS, ""))
    counters = [number(values[name]) for name in COUNTERS if name in values]
    known = [counter for counter in counters if counter is not None]
    return GpuState(
        sm_mhz=number(values["clocks.sm"]),
        memory_mhz=number(values["clocks.mem"]),
        celsius=number(values["temperature.gpu"]),
        watts=number(values["power.draw"]),
        busy_percent=number(values["utilization.gpu"]),
        memory_used_bytes=None if memory_mib is None else int(memory_mib * BYTES_PER_MIB),
        slowdowns=slowdowns(int(reasons, 16)) if reasons.startswith("0x") else None,
        slowed_us=int(sum(known)) if known else None,
    )


def slowdowns(bits: int) -> tuple[str, ...]:
    """The reasons among the bits for which the GPU is slower than was asked for."""
    return tuple(word for bit, word in SLOWDOWNS.items() if bits & bit)


def number(text: str) -> float | None:
    """The number, or None where nvidia-smi has none."""
    try:
        return float(text)
    except ValueError:
        return None
