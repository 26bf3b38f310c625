"""The state the phone is in: temperatures, battery, clocks; and the gate that waits until it is cool."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.android.adb import Phone
from bench.android.identity import ask_sections

MAX_BATTERY_CELSIUS = 37.0
LOW_BATTERY_PERCENT = 20
"""Below it many makers cap the clocks."""

GATE_POLL_S = 5.0
THERMAL_WORDS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

NO_TEMPERATURES = (6, 7, 8)
"""Types of `android.hardware.thermal` that stand among the temperatures and are the battery's volts, amperes and
percent (BCL_VOLTAGE, BCL_CURRENT, BCL_PERCENTAGE)."""

LEAST_CELSIUS, MOST_CELSIUS = -40.0, 150.0
"""Outside of which no phone works: a sensor that is not connected, or another unit."""

SECTIONS = {
    "boot": "cat /proc/sys/kernel/random/boot_id",
    "uptime": "cat /proc/uptime",
    "clock": "date '+%Y-%m-%d %H:%M:%S'",
    "battery": "dumpsys battery 2>/dev/null",
    "thermal": "dumpsys thermalservice 2>/dev/null",
    "limits": "for p in /sys/devices/system/cpu/cpufreq/policy*; do "
    "echo ${p##*/policy} $(cat $p/scaling_max_freq) $(cat $p/cpuinfo_max_freq); done 2>/dev/null",
    "residency": "for p in /sys/devices/system/cpu/cpufreq/policy*; do "
    "while read khz ticks; do echo ${p##*/policy} $khz $ticks; done < $p/stats/time_in_state; done 2>/dev/null",
}


@dataclass(frozen=True)
class Snapshot:
    """The phone at one moment; None where it does not tell.

    Attributes:
        boot_id: changes with every start of the phone.
        uptime_ns: nanoseconds since boot, sleep included.
        clock: the phone's own date and time, "YYYY-MM-DD hh:mm:ss".
        thermal_status: 0 (none) to 6 (shutdown).
        hottest_celsius: of the sensors, as the hardware reports them now.
        battery_celsius, battery_percent, powered: the battery; None without one.
        limit_khz: by clock domain: (highest clock allowed now, highest clock there is).
        ticks: by clock domain and clock in kHz: time spent there since boot, in units of 10 ms.
    """

    boot_id: str
    uptime_ns: int
    clock: str
    thermal_status: int | None
    hottest_celsius: float | None
    battery_celsius: float | None
    battery_percent: int | None
    powered: bool | None
    limit_khz: dict[int, tuple[int, int]] = field(default_factory=dict)
    ticks: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Gate:
    """When a phone counts as cool enough to be measured.

    Attributes:
        max_battery_celsius: of the battery.
        patience_s: how long to wait.
        allow_hot: measure anyway after that.
    """

    max_battery_celsius: float = MAX_BATTERY_CELSIUS
    patience_s: float = 600.0
    allow_hot: bool = False
    poll_s: float = GATE_POLL_S

    def objection(self, now: Snapshot) -> str | None:
        """Why not to start now, or None."""
        if now.thermal_status:
            return f"thermal status is {thermal_word(now.thermal_status)}"
        if now.battery_celsius is not None and now.battery_celsius > self.max_battery_celsius:
            return f"the battery has {now.battery_celsius:.1f} °C, at most {self.max_battery_celsius:g} °C are allowed"
        return None

    def wait(self, phone: Phone, *, tell: Callable[[str], None]) -> tuple[Snapshot, str | None]:
        """Wait until the phone is cool: (its state then, what still speaks against starting or None)."""
        deadline = time.monotonic() + self.patience_s
        while True:
            now = snapshot(phone)
            objection = self.objection(now)
            left_s = deadline - time.monotonic()
            if objection is None or left_s <= 0:
                return now, objection
            tell(f"cooling down: {objection}; waiting at most {left_s:.0f} s more")
            time.sleep(min(self.poll_s, left_s))


def snapshot(phone: Phone) -> Snapshot:
    """Ask the phone for its state."""
    outputs = ask_sections(phone, SECTIONS)
    battery, thermal = outputs["battery"], outputs["thermal"]
    has_battery = _field(battery, "present") == "true"
    decicelsius = _field(battery, "temperature")
    level = _field(battery, "level")
    status = re.search(r"^Thermal Status: (\d+)", thermal, re.MULTILINE)
    return Snapshot(
        boot_id=outputs["boot"].strip(),
        uptime_ns=int(float(outputs["uptime"].split()[0]) * 1e9) if outputs["uptime"].strip() else 0,
        clock=outputs["clock"].strip(),
        thermal_status=int(status.group(1)) if status else None,
        hottest_celsius=_hottest(thermal),
        battery_celsius=int(decicelsius) / 10 if has_battery and decicelsius else None,
        battery_percent=int(level) if has_battery and level else None,
        powered="powered: true" in battery if battery.strip() else None,
        limit_khz={
            int(a): (int(b), int(c)) for a, b, c in re.findall(r"^(\d+) (\d+) (\d+)$", outputs["limits"], re.MULTILINE)
        },
        ticks={
            (int(a), int(b)): int(c)
            for a, b, c in re.findall(r"^(\d+) (\d+) (\d+)$", outputs["residency"], re.MULTILINE)
        },
    )


def mean_mhz(before: Snapshot, after: Snapshot) -> float | None:
    """Clock of the fastest domain between two snapshots, averaged over time; None if the phone does not count it."""
    if not after.limit_khz:
        return None
    domain = max(after.limit_khz, key=lambda candidate: after.limit_khz[candidate][1])
    spent = {
        khz: after.ticks[domain, khz] - before.ticks.get((domain, khz), 0) for d, khz in after.ticks if d == domain
    }
    total = sum(spent.values())
    return sum(khz * ticks for khz, ticks in spent.items()) / total / 1000 if total > 0 else None


def throttling(before: Snapshot, after: Snapshot) -> str | None:
    """Evidence that the phone held back between two snapshots, in words, or None."""
    if after.thermal_status:
        return f"thermal status {thermal_word(after.thermal_status)} at the end"
    for domain, (allowed, _) in after.limit_khz.items():
        earlier = before.limit_khz.get(domain, (allowed, allowed))[0]
        if allowed < earlier:
            return f"clocks of cpu{domain} were limited from {earlier / 1000:.0f} to {allowed / 1000:.0f} MHz"
    return None


def thermal_word(status: int) -> str:
    """Android's name of a thermal status."""
    return THERMAL_WORDS[status] if 0 <= status < len(THERMAL_WORDS) else str(status)


def _field(text: str, name: str) -> str | None:
    # Indented by two: some makers print further fields whose names end alike.
    match = re.search(rf"^  {name}: (\S+)", text, re.MULTILINE)
    return match.group(1) if match else None


def _hottest(thermal: str) -> float | None:
    # The cached section may be minutes old; it is read only where the phone prints no other.
    _, _, current = thermal.partition("Current temperatures from HAL:")
    section = (current or thermal).partition("Current cooling devices")[0]
    sensors = re.findall(r"Temperature\{mValue=(-?[\d.]+(?:[eE][+-]?\d+)?), mType=(-?\d+)", section)
    celsius = [float(value) for value, kind in sensors if int(kind) not in NO_TEMPERATURES]
    return max((value for value in celsius if LEAST_CELSIUS < value < MOST_CELSIUS), default=None)
