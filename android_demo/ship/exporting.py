"""Export the finalists in the forms that may keep the budget; where the default int8 loses too much, the doctor's."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from android_demo.ship.commands import Ended
from android_demo.ship.record import Exported, FileIdentity
from android_demo.ship.screening import file_name
from android_demo.ship.steps import Steps, is_full
from distill.checkpoint import CARD_FILE, find
from distill.contract import sha256_of_file
from distill.errors import WorkFailed
from distill.terminal import say
from export.artifact.manifest import MANIFEST_FILE, Manifest

GOOD = ("made", "unchanged")
TEACHER = "teacher"


def export_teacher(teacher: Path, steps: Steps, *, with_eager: bool) -> list[Exported]:
    """The teacher, to be measured beside its students: accuracy is relative to it, and it is a candidate itself.

    With eager it is also what a phone's answers are compared with; that alone is left where ONNX cannot hold it.

    Raises:
        WorkFailed: it cannot be exported at all.
    """
    exported = _export(TEACHER, teacher, "onnx", "fp32", steps, [])
    if with_eager or not any(each.status in GOOD for each in exported):
        exported = _export(TEACHER, teacher, "eager", "fp32", steps, []) + exported
    if not any(each.status in GOOD for each in exported):
        raise WorkFailed("the teacher could not be exported, so nothing can be said relative to it; see above.")
    return exported


def export_student(
    student: str, run: Path, formats: Sequence[str], precisions: Sequence[str], steps: Steps, *, with_eager: bool
) -> list[Exported]:
    """A finalist in every form asked for; a quantized one that lost too much a second time by the doctor's recipe.

    With eager it is what a phone's answers are compared with, and no candidate.

    Raises:
        WorkFailed: the disk is full.
    """
    beside = _export(student, run, "eager", "fp32", steps, []) if with_eager else []
    exported = beside + _export(student, run, ",".join(formats), ",".join(precisions), steps, [])
    return [_mended(each, run, steps) if each.status == "refused" else each for each in exported]


def _export(
    student: str, checkpoint: Path, formats: str, precisions: str, steps: Steps, recipe: Sequence[object]
) -> list[Exported]:
    out = steps.folder / "artifacts" / file_name(student)
    words = ["export", checkpoint, "--format", formats, "--precision", precisions, *recipe, "--out", out, "--json"]
    try:
        step = steps.do(
            f"export {student} as {formats} in {precisions}",
            "export",
            words,
            deciding=sha256_of_file(find(checkpoint) / CARD_FILE),
            learn=_records,
            products=lambda answer: [Path(each["folder"]) / MANIFEST_FILE for each in _made(answer)],
            fine=(0, 1),
        )
    except WorkFailed as error:
        if is_full(steps.folder):
            raise
        say(f"[yellow]not exported:[/] {escape(student)}: {escape(str(error))}")
        return []
    answer: Any = step.answer
    return [_exported(student, each) for each in answer]


def _records(ended: Ended) -> Any:
    """What is kept of each artifact; everything else is in its manifest."""
    kept = ("format", "precision", "status", "folder", "cause")
    return [
        {name: each[name] for name in kept}
        | {"reason": each["manifest"]["parity"]["reason"] if each["manifest"] else ""}
        for each in ended.document()
    ]


def _made(answer: Any) -> list[dict[str, Any]]:
    return [each for each in answer if each["status"] in GOOD]


def _exported(student: str, told: dict[str, Any]) -> Exported:
    made = told["status"] in GOOD
    path = Path(told["folder"]) / MANIFEST_FILE
    return Exported(
        student=student,
        format=told["format"],
        precision=told["precision"],
        status=told["status"],
        cause=told["cause"] or told["reason"],
        folder=told["folder"],
        manifest=FileIdentity(path=str(path), sha256=sha256_of_file(path)) if made else None,
        verdict=Manifest.read(path).parity.verdict if made else None,
        recipe=None,
    )


def _mended(refused: Exported, run: Path, steps: Steps) -> Exported:
    """The doctor's cheapest recipe that keeps the model, or what was refused, with what the doctor says."""
    out = steps.folder / "doctor" / f"{file_name(refused.student)}-{refused.format}"
    say(f"{escape(refused.student)} {refused.format} {refused.precision} lost too much: {escape(refused.cause)}")
    try:
        step = steps.do(
            f"doctor {refused.student} {refused.format}",
            "export",
            ["doctor", run, "--format", refused.format, "--out", out, "--json"],
            deciding=sha256_of_file(find(run) / CARD_FILE),
            learn=lambda ended: ended.document()["formats"][0] | {"steps": None},
            fine=(0, 1),
        )
    except WorkFailed as error:
        if is_full(steps.folder):
            raise
        return refused.model_copy(update={"cause": f"{refused.cause} The doctor failed: {error}"})
    found: Any = step.answer
    if not found["export_command"]:
        return refused.model_copy(update={"cause": f"{refused.cause} The doctor: {found['reason']}"})
    recipe = out / found["recipe_file"]
    words = shlex.split(found["export_command"])
    options = words[words.index(str(run)) + 1 : words.index("--format")]
    again = _export(refused.student, run, refused.format, refused.precision, steps, [*options, "--recipe", str(recipe)])
    if not again or again[0].status not in GOOD:
        return refused.model_copy(update={"cause": f"{refused.cause} By the doctor's recipe as well."})
    identity = FileIdentity(path=str(recipe), sha256=sha256_of_file(recipe))
    return again[0].model_copy(update={"recipe": identity})
