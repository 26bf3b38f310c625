"""Journals of older schema versions: what they did not record is None or empty, never guessed."""

import json
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


def upgraded(line: bytes) -> bytes:
    """A journal line of an older version as one of the newest; any other line as it is, for the record to judge."""
    row: Any = json.loads(line)
    if not isinstance(row, dict) or row.get("schema_version") not in (1, 2, 3):
        return line
    if row["schema_version"] == 1 and "launch_counts" in row:
        _from_1_to_2(row)
    # Version 3 says of each launch in which bursts it was taken; before, there was one.
    if row["schema_version"] == 1:
        return line
    if isinstance(row.get("subject"), dict):
        row["subject"]["answers"] = None
    return json.dumps({**row, "schema_version": 4}).encode()


def _from_1_to_2(row: dict[str, Any]) -> None:
    counts = row.pop("launch_counts") or [len(row["samples_ms"])]
    warmup = {"warmup_count": row.pop("warmup_count"), "warmup_s": row.pop("warmup_s"), "steady": None}
    row["launches"] = [_launch(count, row, warmup) for count in counts] if row["samples_ms"] else []
    row["subject"]["macs"] = None
    row["conditions"] |= {"busy_share_before": None, "fixed_performance": False}
    row |= {**NEW_IN_2, "schema_version": 2}


def _launch(count: int, row: dict[str, Any], warmup: dict[str, Any]) -> dict[str, Any]:
    unknown = dict.fromkeys(("other_work_share", "stolen_share", "waiting_share"))
    times = {key: row[key] for key in ("load_ms", "first_inference_ms")}
    return {"sample_count": count, **warmup, **times, **unknown}
