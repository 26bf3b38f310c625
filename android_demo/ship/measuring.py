"""Measure the finalists and the teacher on the device in one session, and let `bench choose` decide."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from android_demo.ship.exporting import TEACHER
from android_demo.ship.ground import Ground, Phone, require_phone, told_apart
from android_demo.ship.question import Question
from android_demo.ship.record import Candidate, Choice, Exported, FileIdentity, Kill, OnDevice
from android_demo.ship.steps import Steps, key_of
from bench.record import read_journal
from distill.contract import sha256_of_file, sha256_of_json, write_whole
from distill.errors import WorkFailed

BEGUN_FILE = "measuring.json"
"""Which session was begun last, so that it is gone on with rather than begun anew."""


def measure(question: Question, ground: Ground, exported: Sequence[Exported], steps: Steps) -> Path:
    """The journal with a row of every artifact, on each phone; a session that was cut off is gone on with.

    Raises:
        WorkFailed: nothing could be measured, or a phone went away.
    """
    for phone in ground.phones or (None,):
        _measure_on(phone, question, exported, steps)
    return _of_all(ground, steps)


def _journal_of(phone: Phone | None, steps: Steps) -> Path:
    """This machine's, or of one phone: `bench choose` takes every phone of a journal into account."""
    return steps.folder / (f"measurements-{sha256_of_json(phone.serial)[:8]}.jsonl" if phone else "measurements.jsonl")


def _of_all(ground: Ground, steps: Steps) -> Path:
    """One journal with the rows of all phones that it ships for, as they are now."""
    if len(ground.phones) < 2:
        return _journal_of(ground.phones[0] if ground.phones else None, steps)
    together = steps.folder / f"measurements-{sha256_of_json([*ground.serials])[:8]}.jsonl"
    rows = [_journal_of(phone, steps).read_bytes() for phone in ground.phones]
    write_whole(together, b"".join(own if own.endswith(b"\n") else own + b"\n" for own in rows))
    return together


def _measure_on(phone: Phone | None, question: Question, exported: Sequence[Exported], steps: Steps) -> None:
    journal = _journal_of(phone, steps)
    made = [each for each in exported if each.manifest is not None and _runs_on(each, question.device)]
    manifests = {each.manifest.sha256 for each in made if each.manifest}
    words: list[object] = [*(each.folder for each in made), "--device", question.device, "--out", journal]
    words += ["--threads", question.threads, "--launches", question.launches, "--repeat", question.repeats]
    if question.device == "android":
        words += ["--accuracy", question.pictures]
    if question.latency is not None:
        words.append("--path" if question.latency == "pipeline" else "--no-path")
    deciding: JsonValue = {"manifests": [*sorted(manifests)], "phone": phone and phone.serial}
    key = key_of("bench", words, deciding)
    name = f"measure {len(made)} artifacts on {phone.words if phone else 'this machine'}"
    more: list[str] = []
    if not steps.has(key):
        measured = _measured_since_begun(journal, steps.folder / BEGUN_FILE, key)
        if measured >= manifests:
            steps.accept(name, "bench", words, deciding=deciding)
        more = ["--resume"] if measured else []
    before = len(read_journal(journal).measurements) if journal.is_file() else 0
    try:
        steps.do(name, "bench", words, deciding=deciding, more=more, serial=phone and phone.serial)
    except WorkFailed:
        if phone is not None:
            require_phone(phone.serial)
        rows = read_journal(journal).measurements[before:] if journal.is_file() else ()
        if all(row.validity == "failed" for row in rows):
            raise
        # Rows that failed for a reason of their own cost no other one; `choose` says which are left out.
        steps.accept(name, "bench", words, deciding=deciding)


def measure_warm(question: Question, ground: Ground, exported: Sequence[Exported], steps: Steps) -> Path:
    """The journal with one long run of every student's artifact, too, a step each: phones cool down in between."""
    assert question.sustained is not None, "whoever asks makes sure of it"
    for each, phone in product(exported, ground.phones):
        if each.manifest is None or not _runs_on(each, question.device) or each.student == TEACHER:
            continue
        words: list[object] = [each.folder, "--device", question.device, "--sustained", question.sustained]
        words += ["--threads", question.threads, "--out", _journal_of(phone, steps)]
        name = f"measure {each.student} {each.format} {each.precision} until it is warm"
        deciding: JsonValue = {"manifest": each.manifest.sha256, "phone": phone.serial}
        try:
            steps.do(name, "bench", words, deciding=deciding, serial=phone.serial)
        except WorkFailed:
            require_phone(phone.serial)
            steps.accept(name, "bench", words, deciding=deciding)
    return _of_all(ground, steps)


def choose(question: Question, ground: Ground, exported: Sequence[Exported], journal: Path, steps: Steps) -> Choice:
    """What `bench choose` decides among the artifacts of this loop."""
    folders = {each.manifest.sha256: each.folder for each in exported if each.manifest is not None}
    words: list[object] = ["choose", *question.budget.options(), "--device", question.device]
    words += ["--threads", question.threads, "--measurements", journal]
    words += ["--latency", question.latency] if question.latency else []
    words += ["--sustained"] if question.sustained else []
    words += ["--rehearse"] if ground.emulated else []
    for folder in folders.values():
        words += ["--artifacts", folder]
    sha256 = sha256_of_file(journal)
    deciding: JsonValue = {"journal": sha256, "manifests": [*sorted(folders)]}
    if ground.carried is not None:
        words += ground.carried_words(steps.folder)
        deciding["runtime_bytes"] = sha256_of_json(ground.carried.model_dump(mode="json"))
    step = steps.do(
        "choose",
        "bench",
        [*words, "--json"],
        deciding=deciding,
        learn=lambda ended: ended.document(),
        fine=(0, 1),
    )
    return as_choice(step.answer, folders, FileIdentity(path=str(journal), sha256=sha256))


def as_choice(told: Any, folders: dict[str, str], journal: FileIdentity) -> Choice:
    """The document of `bench choose --json` as this contract has it."""

    def candidate(record: dict[str, Any] | None) -> Candidate | None:
        if record is None:
            return None
        known = {name: record[name] for name in Candidate.model_fields if name in record}
        interval = record["relative_accuracy_interval"]
        known |= {
            "median_interval_ms": tuple(record["median_interval_ms"]),
            "relative_accuracy_interval": None if interval is None else tuple(interval),
            "breaks": tuple(record["breaks"]),
            "folder": folders.get(record["manifest_sha256"]),
        }
        return Candidate(**known)

    return Choice(
        device=told["device"]["name"],
        latency=told["latency"],
        sustained=told["sustained"],
        tied=tuple(told["tied"]),
        reference=told["reference"],
        winner=candidate(told["winner"]),
        runner_up=candidate(told["runner_up"]),
        candidates=tuple(found for record in told["candidates"] if (found := candidate(record))),
        contenders=tuple((each["name"], each["remedy"]) for each in told["contenders"]),
        excluded=tuple((each["what"], each["reason"]) for each in told["excluded"]),
        kills=tuple(
            Kill(
                limit=each["limit"], value=told["budget"][each["limit"]], breaking=each["breaking"], alone=each["alone"]
            )
            for each in told["kills"]
        ),
        nearest_miss=candidate(told["nearest_miss"]),
        trades=tuple(told["trades"]),
        journal=journal,
    )


def on_device(journal: Path, choice: Choice) -> tuple[OnDevice, ...]:
    """What the device answered to pictures, for each candidate that it was asked of; its newest row counts."""
    names = {candidate.manifest_sha256 for candidate in choice.candidates}
    rows = {
        (row.subject.manifest_sha256, row.device.serial): row
        for row in read_journal(journal).measurements
        if row.answered is not None and row.device.kind == "android" and row.subject.manifest_sha256 in names
    }
    found: list[OnDevice] = []
    phones = told_apart({serial or "": row.device.name for (_, serial), row in rows.items()})
    for row in rows.values():
        answered, repeated = row.answered, row.repeated
        assert answered is not None, "the others are left out above"
        beside = answered.eager
        found.append(
            OnDevice(
                manifest_sha256=row.subject.manifest_sha256,
                phone=phones[row.device.serial or ""],
                pictures=answered.answers.num_images,
                accuracy=answered.accuracy,
                accuracy_interval=answered.accuracy_interval,
                host_agreement=answered.host_agreement,
                eager_accuracy=None if beside is None else beside.accuracy,
                p_value=None if beside is None else beside.p_value,
                changed=None if beside is None else len(beside.changed),
                fault=answered.fault,
                repeated_calls=repeated.calls if repeated else 0,
                distinct_outputs=len(repeated.outputs) if repeated else 0,
            )
        )
    return tuple(found)


def _runs_on(exported: Exported, device: str) -> bool:
    return device != "android" or exported.format != "eager"


def _measured_since_begun(journal: Path, begun: Path, key: str) -> set[str]:
    """Manifests that the session which was begun last has rows of, if it was this one; else it is begun now."""
    rows = read_journal(journal).measurements if journal.is_file() else ()
    if begun.is_file() and (told := json.loads(begun.read_text()))["key"] == key:
        own = rows[told["rows"] :]
        return {row.subject.manifest_sha256 for row in own if row.validity != "failed"}
    write_whole(begun, json.dumps({"key": key, "rows": len(rows)}).encode())
    return set()
