"""One model for several phones: the one whose worst phone is best."""

from collections.abc import Hashable, Mapping, Sequence

from bench.compare.choice import Excluded, best_known, latency_of
from bench.compare.conditions import conditions_asked, device_of, in_order_of_time, place_of
from bench.record import Measurement

NOT_MEASURED_ON = "not measured on"

Phones = Mapping[str, list[Measurement]]
"""Rows by the phone's name in words."""


def phones_of(rows: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The rows of every phone, by its name in words, with its serial number where two share a name."""
    groups: dict[Hashable, list[Measurement]] = {}
    for row in rows:
        groups.setdefault(device_of(row), []).append(row)
    return {place_of(group[0]): group for group in groups.values()}


def worst_of(phones: Phones) -> tuple[list[Measurement], list[Excluded]]:
    """(for every artifact that was measured on all phones the row of the phone it is worst on, the others and why).

    Worst by the upper end of the latency's interval; memory and accuracy are those of the phone where they are worst.
    A row that must not be chosen on one phone stands for all of them.
    """
    by_phone = {
        phone: {_artifact(row): row for row in best_known(in_order_of_time(rows))} for phone, rows in phones.items()
    }
    worst: list[Measurement] = []
    lacking: list[Excluded] = []
    for key in dict.fromkeys(key for rows in by_phone.values() for key in rows):
        there = {phone: rows[key] for phone, rows in by_phone.items() if key in rows}
        missing = [phone for phone in by_phone if phone not in there]
        if missing:
            lacking.append(Excluded(next(iter(there.values())), f"{NOT_MEASURED_ON} {', '.join(missing)}"))
        else:
            worst.append(_worst(list(there.values())))
    return worst, lacking


def _artifact(row: Measurement) -> Hashable:
    """What is the same model on every phone: the artifact, how it is called, and what is asked to run it."""
    *_, accelerator = conditions_asked(row)
    return row.subject.manifest_sha256, row.batch, row.threads, accelerator


def _worst(rows: Sequence[Measurement]) -> Measurement:
    if wrong := [row for row in rows if row.wrong]:
        return wrong[0]
    slowest = max(rows, key=lambda row: latency_of(row).high)
    changes: dict[str, object] = {}
    peaks = [row.peak_memory_bytes for row in rows if row.peak_memory_bytes is not None]
    if peaks:
        changes["peak_memory_bytes"] = max(peaks)
    answered = [row for row in rows if row.measured_accuracy is not None]
    if answered:
        least = min(answered, key=lambda row: row.measured_accuracy or 0.0)
        names = ("measured_accuracy", "measured_agreement", "measured_images", "answered")
        changes |= {name: getattr(least, name) for name in names}
    return slowest.model_copy(update=changes)
