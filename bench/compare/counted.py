"""What counts as a row's latency: the model's call or the whole path, at once or when the phone is warm."""

from collections.abc import Hashable, Sequence

from bench.android.sustained import MS_PER_MINUTE, per_minute
from bench.compare.choice import Excluded
from bench.compare.conditions import device_of
from bench.record import Latency, Measurement

NO_PATH = "its whole path was not timed (measure it again with --path, or choose by --latency model)"
COLD = "cold: it was never measured with --sustained for a minute or more"

LAST_MINUTES = 2
"""Whose samples are the steady state of a run of three minutes or more; of a shorter one it is the last minute's."""


def latency_that_counts(rows: Sequence[Measurement], asked: Latency | None) -> Latency:
    """The one asked for; else the whole path on phones where any row has it, and the model's call elsewhere."""
    has_path = any(row.device.kind == "android" and row.path is not None for row in rows)
    return asked or ("pipeline" if has_path else "model")


def with_samples_that_count(
    rows: Sequence[Measurement], latency: Latency, *, sustained: bool
) -> tuple[list[Measurement], list[Excluded]]:
    """(rows with the samples that count, one for each left out, and why).

    Rows that failed stay as they are, for the choice to leave out in its own words. An artifact is left out only if no
    row of it has what counts.
    """
    kept: list[Measurement] = []
    lacking: dict[Hashable, Excluded] = {}
    for row in rows:
        timed = row if row.validity == "failed" else row.timed_by(latency)
        if timed is None:
            lacking[_where(row)] = Excluded(row, NO_PATH)
            continue
        steady = steady_state(timed) if sustained and timed.validity != "failed" else timed
        if steady is None:
            lacking.setdefault(_where(row), Excluded(row, COLD))
            continue
        kept.append(steady)
    known = {_where(row) for row in kept if row.validity != "failed"}
    return kept, [excluded for place, excluded in lacking.items() if place not in known]


def steady_state(row: Measurement) -> Measurement | None:
    """The row with the samples of its last minutes; None if it did not run for a minute in one go.

    That the phone throttled meanwhile is what the steady state is about, so it disqualifies nothing.
    """
    if len(row.launches) != 1 or sum(row.samples_ms) < MS_PER_MINUTE:
        return None
    minutes = per_minute(row.samples_ms)
    last = LAST_MINUTES if sum(row.samples_ms) >= 3 * MS_PER_MINUTE else 1
    # The last minute may have only begun.
    whole = [minute.count for minute in minutes]
    count = sum(whole[-last - 1 :]) if whole[-1] < max(whole) / 2 and len(whole) > last else sum(whole[-last:])
    validity = "noisy" if row.validity in ("throttled", "drifting") else row.validity
    launch = row.launches[0].model_copy(update={"sample_count": count, "burst_counts": (), "together": None})
    return row.model_copy(
        update={
            "samples_ms": row.samples_ms[-count:],
            "launches": (launch,),
            "validity": validity,
            "reason": f"steady state of the last {count} calls; {row.reason}",
        }
    )


def _where(row: Measurement) -> Hashable:
    return row.subject.manifest_sha256, device_of(row)
