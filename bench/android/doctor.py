"""What a phone supports and how far its numbers can be trusted: `python -m bench doctor --device android`."""

import re
from dataclasses import dataclass
from typing import Literal

from bench.android.adb import Adb, Phone
from bench.android.identity import Identity, identify
from bench.android.instruments import APP_PACKAGE, INSTRUMENTS
from bench.android.quiet import RUNS_FOLDER, journals_of
from bench.android.state import LOW_BATTERY_PERCENT, Gate, Snapshot, snapshot, thermal_word
from distill.errors import ToolError

Grade = Literal["good", "fair", "bad"]
LOW_SPACE_BYTES = 500_000_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, how good that is for a measurement, and what to do about it."""

    topic: str
    found: str
    grade: Grade
    advice: str = ""


def examine(adb: Adb, phone: Phone) -> list[Finding]:
    """Everything that decides what can be measured on a phone and how well; nothing is changed on it."""
    identity, now = identify(phone), snapshot(phone)
    return [
        _about(identity),
        Finding("adb", f"{adb.program}, protocol {adb.protocol_version()}, serial {phone.serial}", "good"),
        _processor(identity),
        _page(identity),
        _temperatures(now),
        _clocks(now),
        _battery(now),
        _space(phone),
        *(_instrument(name, phone, identity) for name in INSTRUMENTS),
        _result_channel(phone),
        _leftovers(phone),
    ]


def _about(identity: Identity) -> Finding:
    system = f"Android {identity.android}, API {identity.api_level}, patch {identity.security_patch}"
    summary = f"{identity.name}, {identity.soc or 'SoC unknown'}, {system}, {', '.join(identity.abis) or 'ABI unknown'}"
    if identity.emulated:
        return Finding("phone", summary, "bad", "An emulated phone: its outputs are true, its times mean nothing.")
    return Finding("phone", summary, "good")


def _processor(identity: Identity) -> Finding:
    features = ", ".join(identity.features) or "none of those that help int8 or half precision"
    summary = f"{identity.clusters or 'clocks unknown'}; {features}"
    slow_int8 = any(abi.startswith("arm64") for abi in identity.abis) and "asimddp" not in identity.features
    advice = "No dot-product instructions: int8 may be no faster than fp32 here." if slow_int8 else ""
    return Finding("processor", summary, "fair" if slow_int8 else "good", advice)


def _page(identity: Identity) -> Finding:
    if identity.page_bytes is None:
        return Finding("memory page", "unknown", "fair")
    large = identity.page_bytes > 4096
    advice = "Libraries built for 4 KB pages do not load; use runtimes built with NDK r27 or newer." if large else ""
    return Finding("memory page", f"{identity.page_bytes} bytes", "fair" if large else "good", advice)


def _temperatures(now: Snapshot) -> Finding:
    if now.thermal_status is None:
        advice = "Before Android 10 there is no thermal service: throttling shows only in clocks and samples."
        return Finding("temperature", f"battery {_celsius(now.battery_celsius)}, no thermal status", "fair", advice)
    objection = Gate().objection(now)
    warmth = f"hottest {_celsius(now.hottest_celsius)}, battery {_celsius(now.battery_celsius)}"
    summary = f"status {thermal_word(now.thermal_status)}, {warmth}"
    return Finding(
        "temperature", summary, "fair" if objection else "good", f"It would wait: {objection}." if objection else ""
    )


def _clocks(now: Snapshot) -> Finding:
    if not now.limit_khz:
        return Finding(
            "clocks", "cannot be read", "fair", "Throttling that the thermal service does not tell is not seen."
        )
    capped = [f"cpu{cpu}" for cpu, (allowed, highest) in now.limit_khz.items() if allowed < highest]
    counted = "time in each clock is counted" if now.ticks else "time in each clock is not counted"
    if capped:
        return Finding("clocks", f"{', '.join(capped)} limited now; {counted}", "fair", "Let the phone cool down.")
    return Finding("clocks", f"limits readable, none in force; {counted}", "good")


def _battery(now: Snapshot) -> Finding:
    if now.battery_percent is None:
        return Finding("battery", "none", "good")
    summary = f"{now.battery_percent} %, {'charging or powered' if now.powered else 'not powered'}"
    low = now.battery_percent < LOW_BATTERY_PERCENT
    return Finding("battery", summary, "fair" if low or not now.powered else "good", "Charge it first." if low else "")


def _space(phone: Phone) -> Finding:
    answer = phone.shell(["df", "-k", RUNS_FOLDER.rsplit("/", 1)[0]])
    match = re.search(r"\s(\d+)\s+\d+%", answer.stdout)
    if not match:
        return Finding("storage", "unknown", "fair")
    free_bytes = int(match.group(1)) * 1024
    return Finding("storage", f"{free_bytes / 1e6:.0f} MB free", "good" if free_bytes > LOW_SPACE_BYTES else "fair")


def _instrument(name: str, phone: Phone, identity: Identity) -> Finding:
    try:
        INSTRUMENTS[name]().prepare(phone, identity)
    except ToolError as error:
        return Finding(f"instrument {name}", "not usable", "bad", str(error))
    runtimes = INSTRUMENTS[name]().runtimes(phone)
    known = runtimes.by_format is not None
    return Finding(
        f"instrument {name}",
        f"ready; runtimes: {runtimes}",
        "good" if runtimes.by_format else "fair",
        runtimes.unknown_because if not known else "" if runtimes.by_format else runtimes.remedy,
    )


def _result_channel(phone: Phone) -> Finding:
    if phone.shell(["pm", "path", APP_PACKAGE]).exit_code != 0:
        return Finding("results of the app", "no app", "bad")
    answer = phone.shell(["run-as", APP_PACKAGE, "true"])
    if answer.exit_code == 0:
        return Finding("results of the app", "external storage, or run-as", "good")
    return Finding("results of the app", f"external storage only ({answer.words})", "good")


def _leftovers(phone: Phone) -> Finding:
    if journals_of(phone.serial, phone.own_serial()):
        advice = f"An earlier session was cut off: python -m bench restore --serial {phone.serial}"
        return Finding("settings", "not the phone's own", "bad", advice)
    return Finding("settings", "the phone's own", "good")


def _celsius(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} °C"
