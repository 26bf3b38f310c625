"""The label of a row measured on this machine: from the course of its launches and the state of the machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.record import Launch
from bench.timing.intervals import Interval, median_interval
from bench.timing.statistics import MOVES_THE_MEDIAN, Label, label, summarize
from bench.timing.traces import drift

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

ENOUGH_LAUNCHES = 5
"""From so many on, the interval of the median has seen what launches do to each other, drifts and changes of clock
included: then a symptom decides only if it is systematic."""

SYSTEMATIC = 0.5
"""Share of the launches."""


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

    @cached_property
    def course(self) -> Label:
        """What the samples alone say."""
        return label(self.samples_ms)


def judge(traces: Sequence[Trace]) -> Label:
    """What speaks against the row, the cause before its symptom; else valid, and how well it is known.

    Launches that something speaks against decide only if they are many enough to move the row's median. They stay in
    the row, in its interval, and in its reason, whether they decide or not.

    Raises:
        ValueError: no launches, or a launch without samples.
    """
    launches = (_disturbed(number, trace) for number, trace in enumerate(traces, start=1))
    disturbed = [disturbance for disturbance in launches if disturbance is not None]
    caused = [disturbance for disturbance in disturbed if disturbance.is_cause]
    worst = min(disturbed, key=lambda disturbance: (disturbance.rank, disturbance.launch), default=None)
    what = f"launch {worst.launch} of {len(traces)}: {worst.label.reason}" if worst else ""
    of_symptoms = MOVES_THE_MEDIAN if len(traces) < ENOUGH_LAUNCHES else SYSTEMATIC
    if worst and (_are_many(caused, traces, MOVES_THE_MEDIAN) or _are_many(disturbed, traces, of_symptoms)):
        return Label(worst.label.validity, what)
    known = median_interval([trace.samples_ms for trace in traces])
    aside = f"; {len(disturbed)} of them disturbed, e.g. {what}" if worst else ""
    return Label("noisy" if known.half_width > MAX_HALF_WIDTH else "valid", _how_well_known(traces, known) + aside)


def _are_many(disturbed: Sequence["_Disturbed"], traces: Sequence[Trace], share: float) -> bool:
    return bool(disturbed) and len(disturbed) >= share * len(traces)


@dataclass(frozen=True)
class _Disturbed:
    """What speaks against one launch; a cause has a lower rank than its symptoms."""

    rank: int
    launch: int
    label: Label

    @property
    def is_cause(self) -> bool:
        return self.rank < len(CAUSES)


def _disturbed(number: int, trace: Trace) -> _Disturbed | None:
    """The first thing that speaks against a launch, if anything does."""
    for rank, objection in enumerate((*CAUSES, *SYMPTOMS)):
        verdict = objection(trace)
        if verdict is not None:
            return _Disturbed(rank, number, verdict)
    return None


def _throttling(trace: Trace) -> Label | None:
    if trace.throttled:
        return Label("throttled", f"the kernel throttled the processor {trace.throttled} times")
    if trace.mhz_before is None or trace.mhz_after is None:
        return None
    change = drift(trace.samples_ms)
    if change is None or change < 0 or trace.mhz_after >= (1 - MAX_CLOCK_FALL) * trace.mhz_before:
        return None
    return Label(
        "throttled",
        f"the clock fell from {trace.mhz_before:.0f} to {trace.mhz_after:.0f} MHz and the last third is "
        f"{100 * change:.1f} % slower than the first",
    )


def _other_work(trace: Trace) -> Label | None:
    launch = trace.launch
    checks = (
        (launch.other_work_share, MAX_OTHER_WORK, "other work took {:.0f} % of the cores"),
        (launch.stolen_share, MAX_STOLEN, "other virtual machines took {:.0f} % of the cores"),
        (launch.waiting_share, MAX_WAITING, "the model's threads waited for a core {:.0f} % of the time"),
    )
    for share, limit, words in checks:
        if share is not None and share > limit:
            return Label("noisy", words.format(100 * share))
    return None


def _drifting(trace: Trace) -> Label | None:
    return trace.course if trace.course.validity == "drifting" else None


def _noise(trace: Trace) -> Label | None:
    if trace.course.validity == "noisy":
        return trace.course
    launch = trace.launch
    if launch.steady is False:
        return Label("noisy", f"not steady after {launch.warmup_s:.1f} s and {launch.warmup_count} calls of warm-up")
    return None


CAUSES = (_throttling, _other_work)
SYMPTOMS = (_drifting, _noise)


def _how_well_known(traces: Sequence[Trace], known: Interval) -> str:
    reach = f"the median is known to ± {100 * known.half_width:.1f} %"
    medians = [summarize(trace.samples_ms).median_ms for trace in traces]
    if len(medians) == 1:
        return f"{reach}, as far as one launch can tell"
    return f"{reach}: {len(medians)} launches, medians {min(medians):.3f} to {max(medians):.3f} ms"
