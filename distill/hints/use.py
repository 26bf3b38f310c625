"""Hints in a run: the teacher's hint points are put into a method's taps.

They are those of a file, `--set method.hints=hints.json`, or those that the run searches itself, `--set
hints.metric=cka`, which may be of a teacher that it has yet to train.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.hints.options import Activation, HintSearch
from distill.hints.record import Hints
from distill.methods.weighted_sum import WeightedSumConfig
from distill.taps import PRE, Places, SearchedHints, TapPairs

if TYPE_CHECKING:  # it calls this module
    from distill.methods import AnyMethod

STAGE_END = "stage-end:"


def with_hints(method: "AnyMethod", path: Path) -> "AnyMethod":
    """A method that reads the teacher where a search has found its hints.

    Args:
        method: with settings.
        path: of a `hints.json`.

    Raises:
        UsageError: no such file, or a method that cannot use it.
    """
    return at_hints(method, Hints.read(path), sha256=sha256_of_file(path))


def at_hints(method: "AnyMethod", hints: Hints, *, sha256: str) -> "AnyMethod":
    """A method that reads the teacher at its hints.

    Of a sum every part does that compares rows of places; at least one must. The student's side stays the
    conventional one, before its activations where the hints are.

    Args:
        method: with settings.
        hints: of the run's teacher.
        sha256: of their file.

    Raises:
        UsageError: a method that cannot use them.
    """
    record = SearchedHints(
        sha256=sha256, teacher_sha256=hints.teacher_sha256, metric=hints.metric, teacher=hints.teacher
    )
    return _reading(method, hints.points, hints.activation, record)


def check_search(method: "AnyMethod", search: HintSearch) -> None:
    """Raises UsageError if the method could not use what the search would find, whatever that is."""
    suffix = PRE if search.activation == "pre" else ""
    points = tuple(f"block:{number}{suffix}" for number in range(1, search.clusters + 1))
    _reading(method, points, search.activation, None)


def _reading(
    method: "AnyMethod", points: tuple[str, ...], activation: Activation, record: SearchedHints | None
) -> "AnyMethod":
    if not isinstance(method, WeightedSumConfig):
        complaint = _unfit(method)
        if complaint:
            raise UsageError(f"method {method.kind} cannot use hints: {complaint}")
        return _hinted(method, points, activation, record)
    unfit = {part.method.kind: _unfit(part.method) for part in method.parts}
    if all(unfit.values()):
        reasons = "; ".join(f"{kind}: {reason}" for kind, reason in unfit.items())
        raise UsageError(f"no part of the sum can use hints: {reasons}")
    parts = tuple(
        part
        if unfit[part.method.kind]
        else part.model_copy(update={"method": _hinted(part.method, points, activation, record)})
        for part in method.parts
    )
    return method.model_copy(update={"parts": parts})


def _unfit(method: "AnyMethod") -> str | None:
    taps: Any = getattr(method, "taps", None)
    if not isinstance(taps, TapPairs):
        return "it does not read rows of places inside the networks."
    if len(taps.student) == 1:
        return (
            f"it compares one place of each network, {taps.student[0]} of the student's. Name the teacher's itself: "
            """--set 'method.taps.teacher=["block:N"]'"""
        )
    return None


def _hinted(
    method: "AnyMethod", points: tuple[str, ...], activation: Activation, record: SearchedHints | None
) -> "AnyMethod":
    taps: Any = getattr(method, "taps", None)
    student: Places = taps.student
    if not isinstance(student, str) and all(place.startswith(STAGE_END) for place in student):
        student = "stage-ends:pre" if all(place.endswith(PRE) for place in student) else "stage-ends"
    if isinstance(student, str) and student.endswith(PRE) and activation == "post":
        raise UsageError(
            f"method {method.kind} compares what lies before activations, but the hints lie after them. Search again "
            "with --activation pre (a run that searches itself: hints.activation=pre)."
        )
    if isinstance(student, str) and activation == "pre":
        student = "blocks:pre" if student.startswith("blocks") else "stage-ends:pre"
    if not isinstance(student, str) and len(student) != len(points):
        raise UsageError(
            f"method {method.kind} reads {len(student)} places of the student ({', '.join(student)}), and there are "
            f"{len(points)} hints. Name equally many with method.taps.student, or search again with --clusters "
            f"{len(student)} (a run that searches itself: hints.clusters={len(student)})."
        )
    return method.model_copy(update={"taps": TapPairs(student=student, teacher=points, hints=record)})


def check_teacher(taps: TapPairs, sha256: str, source: str) -> None:
    """Raises UsageError if the hints are of another teacher than this one."""
    if taps.hints is not None and taps.hints.teacher_sha256 != sha256:
        raise UsageError(
            f"the hints were found in {taps.hints.teacher}, whose weights have the hash "
            f"{taps.hints.teacher_sha256[:12]}…, but the teacher is {source} with {sha256[:12]}…. Other weights have "
            f"other hints; search this teacher: python -m distill hints {source}"
        )
