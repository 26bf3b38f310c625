"""The label of a row measured on this machine: from the course of its launches and the state of the machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.intervals import Interval, median_interval
from bench.record import Launch
from bench.statistics import Label, label, summarize
from bench.traces import drift

MAX_OTHER_WORK = 0.10
"""Share of all cores; beyond it other processes disturb the row. A machine at rest uses one or two hundredths."""

MAX_STOLEN = 0.05
"""Share of all cores that other virtual machines may have had."""

MAX_WAITING = 0.05
"""Share of the time for which the runtime's own threads may have waited for a core."""

MAX_CLOCK_FALL = 0.05
"""A launch that drifts to slower while the clock falls by more than this share was throttled."""

MAX_HALF_WIDTH = 0.05
"""A row is noisy if the interval of its median reaches further than this share."""


@dataclass(frozen=True)
class Trace:
    """One launch as it is judged.

    Attributes:
        launch, samples_ms: as in the record.
        mhz_before, mhz_after: the fastest core's clock before and after the samples; None where nobody tells.
        throttled: how often the kernel counted a thermal throttling meanwhile; None where it does not count.
    """

    launch: Launch
    samples_ms: tuple[float, ...]
    mhz_before: float | None
    mhz_after: float | None
    throttled: int | None


def judge(traces: Sequence[Trace]) -> Label:
    """The first thing that speaks against the row, from its cause to its symptom; else valid, and how well it is known.

    Raises:
        ValueError: no launches, or a launch without samples.
    """
    for objection in (_throttling, _other_work, _course, _unsteady):
        found = objection(traces)
        if found is not None:
            return found
    known = median_interval([one.samples_ms for one in traces])
    return Label("noisy" if known.half_width > MAX_HALF_WIDTH else "valid", _how_well_known(traces, known))


def _throttling(traces: Sequence[Trace]) -> Label | None:
    for number, one in enumerate(traces, start=1):
        if one.throttled:
            return Label("throttled", f"the kernel throttled the processor {one.throttled} times in launch {number}")
        if one.mhz_before is None or one.mhz_after is None:
            continue
        change = drift(one.samples_ms)
        if change is not None and change > 0 and one.mhz_after < (1 - MAX_CLOCK_FALL) * one.mhz_before:
            return Label(
                "throttled",
                f"in launch {number} the clock fell from {one.mhz_before:.0f} to {one.mhz_after:.0f} MHz and the last "
                f"third is {100 * change:.1f} % slower than the first",
            )
    return None


def _other_work(traces: Sequence[Trace]) -> Label | None:
    checks: tuple[tuple[Callable[[Launch], float | None], float, str], ...] = (
        (lambda one: one.other_work_share, MAX_OTHER_WORK, "other work took {:.0f} % of the cores during the run"),
        (lambda one: one.stolen_share, MAX_STOLEN, "other virtual machines took {:.0f} % of the cores during the run"),
        (lambda one: one.waiting_share, MAX_WAITING, "the model's threads waited for a core {:.0f} % of the time"),
    )
    for share_of, limit, words in checks:
        shares = [share for trace in traces if (share := share_of(trace.launch)) is not None]
        if shares and max(shares) > limit:
            return Label("noisy", words.format(100 * max(shares)))
    return None


def _course(traces: Sequence[Trace]) -> Label | None:
    courses = [label(one.samples_ms) for one in traces]
    for validity in ("drifting", "noisy"):
        found = [(number, one) for number, one in enumerate(courses, start=1) if one.validity == validity]
        if found:
            number, one = found[0]
            return Label(one.validity, f"launch {number} of {len(traces)}: {one.reason}")
    return None


def _unsteady(traces: Sequence[Trace]) -> Label | None:
    for number, one in enumerate(traces, start=1):
        if one.launch.steady is False:
            return Label(
                "noisy",
                f"launch {number} of {len(traces)} had not become steady after {one.launch.warmup_s:.1f} s and "
                f"{one.launch.warmup_count} calls of warm-up",
            )
    return None


def _how_well_known(traces: Sequence[Trace], known: Interval) -> str:
    reach = f"the median is known to ± {100 * known.half_width:.1f} %"
    medians = [summarize(one.samples_ms).median_ms for one in traces]
    if len(medians) == 1:
        return f"{reach}, as far as one launch can tell"
    return f"{reach}: {len(medians)} launches, medians {min(medians):.3f} to {max(medians):.3f} ms"
