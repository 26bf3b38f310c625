"""What the command line asks of phones, and the bench that does it."""

import re
from dataclasses import dataclass

from bench.android.accelerators import CPU, accelerators
from bench.android.adb import Adb
from bench.android.fleet import Fleet
from bench.android.instruments import find_instrument
from bench.android.phones import LAUNCHES, PhoneBench
from bench.android.state import Gate
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.timing.loop import Limits
from distill.errors import UsageError

MAX_SUSTAINED_COUNT = 2_000_000
"""Samples of a sustained run; a row with more cannot be handled well."""


@dataclass(frozen=True)
class PhoneOptions:
    """As on the command line.

    Attributes:
        adb: the adb program; None to look for it.
        serial: which phone; None for the only one.
        all_devices: every phone there is, at once.
        instrument: what measures.
        launches: processes per cell.
        allow_hot: measure a phone that does not cool down.
        fixed_performance: hold the clocks at a level the phone can keep up.
        accelerator: what is asked to run the models, comma-separated.
        sustained: how long each cell runs without a pause, e.g. "10m"; None for the usual limits.
    """

    adb: str | None = None
    serial: str | None = None
    all_devices: bool = False
    instrument: str = "app"
    launches: int = LAUNCHES
    allow_hot: bool = False
    fixed_performance: bool = False
    sustained: str | None = None
    accelerator: str = CPU


def open_phones(
    options: PhoneOptions, accuracy: AccuracyOptions, path: PathOptions, *, limits: Limits, timeout_s: float
) -> PhoneBench | Fleet:
    """The phone asked for, or all of them.

    Raises:
        UsageError: no adb, no phone to work with, or options that contradict each other.
    """
    if options.all_devices and options.serial:
        raise UsageError("--all-devices and --serial contradict each other. Give one of them.")
    launches = options.launches
    if options.sustained is not None:
        seconds = duration_s(options.sustained)
        limits = limits.model_copy(update={"min_s": seconds, "max_s": seconds, "max_count": MAX_SUSTAINED_COUNT})
        timeout_s, launches = timeout_s + seconds, 1
    chosen, asked = find_instrument(options.instrument), accelerators(options.accelerator)
    if chosen.name != "app" and asked != [CPU]:
        raise UsageError(f"--accelerator {options.accelerator}: only the app has accelerators. Use --instrument app.")
    if accuracy.images and not chosen.reads_pictures:
        raise UsageError(
            f"--accuracy: the {chosen.name} instrument reads no pictures. Measure with --instrument app (or python)."
        )
    adb = Adb.find(options.adb)
    phones = adb.usable() if options.all_devices else [adb.choose(options.serial)]
    gate = Gate(allow_hot=options.allow_hot)
    benches = [
        PhoneBench(
            phone,
            chosen,
            limits=limits,
            timeout_s=timeout_s,
            launches=launches,
            gate=gate,
            fixed_performance=options.fixed_performance,
            # The native runner decodes nothing, so that there is no path to time.
            path=path if chosen.reads_pictures else PathOptions(),
            accuracy=accuracy,
            accelerators=tuple(asked),
            repeats=accuracy.repeat,
        )
        for phone in phones
    ]
    return Fleet(tuple(benches)) if options.all_devices else benches[0]


def duration_s(text: str) -> float:
    """Seconds from "90s", "10m" or "1h".

    Raises:
        UsageError: it is none of these, or nothing at all.
    """
    match = re.fullmatch(r"(\d+)([smh])", text.strip())
    if not match or int(match.group(1)) == 0:
        raise UsageError(f"{text!r} is not a duration. Write it like this: 90s, 10m or 1h")
    return float(int(match.group(1)) * {"s": 1, "m": 60, "h": 3600}[match.group(2)])
