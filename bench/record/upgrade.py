"""Journals of older schema versions: what they did not record is None or empty, never guessed."""

from typing import Any

NEW_IN_2 = {
    "seed": None,
    "runtime_memory_bytes": None,
    "loaded_memory_bytes": None,
    "measured_accuracy": None,
    "measured_agreement": None,
    "measured_images": 0,
    "measured_note": "",
}

NEW_IN_5 = {"answered": None, "path": None, "repeated": None}


def upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """A row of an older version as one of the newest; any other as it is, for the record to judge."""
    version = raw.get("schema_version")
    row = _from_1_to_2(raw) if version == 1 and "launch_counts" in raw else raw
    # Version 3 says of each launch in which bursts it was taken; before, there was one.
    if row.get("schema_version") in (2, 3):
        row = {**row, "schema_version": 4}
        row |= {"subject": row["subject"] | {"answers": None}} if isinstance(row.get("subject"), dict) else {}
    if row.get("schema_version") == 4:
        row = {**row, **NEW_IN_5, "schema_version": 5}
    if row.get("schema_version") != 5:
        return raw
    # Before version 6 all classified.
    subject = row.get("subject")
    return {**row, "schema_version": 6} | (
        {"subject": {"task": "classification"} | subject} if isinstance(subject, dict) else {}
    )


def _from_1_to_2(raw: dict[str, Any]) -> dict[str, Any]:
    row = {**raw, **NEW_IN_2, "schema_version": 2}
    counts = row.pop("launch_counts") or [len(row["samples_ms"])]
    warmup = {"warmup_count": row.pop("warmup_count"), "warmup_s": row.pop("warmup_s"), "steady": None}
    row["launches"] = [_launch(count, row, warmup) for count in counts] if row["samples_ms"] else []
    row["subject"] = row["subject"] | {"macs": None}
    row["conditions"] = row["conditions"] | {"busy_share_before": None, "fixed_performance": False}
    return row


def _launch(count: int, row: dict[str, Any], warmup: dict[str, Any]) -> dict[str, Any]:
    unknown = dict.fromkeys(("other_work_share", "stolen_share", "waiting_share"))
    times = {key: row[key] for key in ("load_ms", "first_inference_ms")}
    return {"sample_count": count, **warmup, **times, **unknown}
