"""Accuracy on a phone: held-out pictures go there once as files, every model answers all of them, logits come back."""

import hashlib
import json
import shlex
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bench.android.adb import AdbFailed, AdbTimeout, DeviceLost, Phone
from bench.android.launch import GivenAnswers, Launcher, LaunchFailed, PhoneGone, Tell, free_storage_bytes
from bench.android.quiet import PICTURES_PLACE
from bench.cpu.logits import Asked, OnThisMachine, eager_beside, runs_here
from bench.session.answers.faults import Run, Suspect, find_fault
from bench.session.answers.held_out import HeldOut, load_once
from bench.session.answers.judge import Logits, Unreadable, judged
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.session.answers.packs import Pack, Packed, pack, pack_files
from bench.session.answers.path_pictures import path_pictures
from bench.session.cells import Cell, describe_artifact
from bench.session.row import Accuracy, PathOf
from distill.contract import sha256_of_file, whole_file
from export.artifact.manifest import MANIFEST_FILE, Manifest

NO_EAGER = "no agreement: the eager artifact of this checkpoint is not beside this one"
FULL_SHARE = 1.2
"""A phone needs so many times the pictures' bytes free."""

ATTEMPTS = 5
"""Of pushing, when the phone goes away and comes back; what has arrived is not pushed again."""


@dataclass(frozen=True)
class Question:
    """What one artifact is asked, and what it should answer.

    Attributes:
        held_out: the pictures.
        packed: the same as files.
        host: logits of the same artifact on this machine, or why there are none.
        eager: logits of eager PyTorch; None if its artifact is not there.
        run_artifact, run_eager: the two on this machine for other inputs, should an explanation be needed.
    """

    held_out: HeldOut
    packed: Packed
    host: Logits | str
    eager: Logits | None
    run_artifact: Run
    run_eager: Run


Questions = Mapping[Path, Question | str]
"""By the artifact's folder; text says why it cannot be asked."""


@dataclass(frozen=True)
class PathPack:
    """What the whole path of an artifact is timed with, as a file to push, and in words."""

    pack: Pack
    of: PathOf


@dataclass(frozen=True)
class Prepared:
    """What a session has made ready before it touches a phone.

    Attributes:
        questions: held-out pictures to be answered; empty if accuracy is not asked for.
        paths: by the artifact's folder; empty if the whole path is not timed.
    """

    questions: Questions = field(default_factory=dict)
    paths: Mapping[Path, PathPack] = field(default_factory=dict)


@contextmanager
def prepared(cells: Sequence[Cell], options: AccuracyOptions, path: PathOptions, tell: Tell) -> Generator[Prepared]:
    """Everything that needs no phone: pictures as files, and what this machine answers to them.

    Args:
        cells: the artifacts are theirs.
        options: how many pictures are answered, from where.
        path: whether the whole path is timed, and with what.
        tell: shows what is going on.

    Raises:
        UsageError: the picture named for the path is none.
    """
    with tempfile.TemporaryDirectory(prefix="bench-pictures-") as name:
        folder = Path(name)
        questions = _questions(cells, options, folder, tell) if options.images else {}
        yield Prepared(questions, _paths(cells, options, path, folder) if path.wanted else {})


def _paths(cells: Sequence[Cell], options: AccuracyOptions, path: PathOptions, folder: Path) -> dict[Path, PathPack]:
    found: dict[Path, PathPack] = {}
    packs: dict[str, Pack] = {}
    for cell in cells:
        # A path ends with the likeliest classes.
        if cell.batch != 1 or cell.folder in found or cell.manifest.task != "classification":
            continue
        pictures = path_pictures(cell, options.data, path.picture)
        if pictures.sha256 not in packs:
            packs[pictures.sha256] = pack_files(pictures.files, folder)
        found[cell.folder] = PathPack(packs[pictures.sha256], PathOf(pictures.words, pictures.sha256))
    return found


def _questions(cells: Sequence[Cell], options: AccuracyOptions, folder: Path, tell: Tell) -> dict[Path, Question | str]:
    artifacts = {cell.folder: cell for cell in cells}
    tell("loading held-out pictures")
    found = load_once(artifacts.values(), options.images, options.data)
    packs: dict[str, Packed] = {}
    for held_out in found.values():
        if isinstance(held_out, HeldOut) and _key(held_out) not in packs:
            told = partial(_tell_packing, tell, len(held_out))
            packs[_key(held_out)] = pack(held_out, folder, told)
    eager = {path: eager_beside(path, artifacts[path].manifest) for path in found}
    logits = _logits(artifacts, found, eager, OnThisMachine(tell))
    host = OnThisMachine(tell)
    questions: dict[Path, Question | str] = {}
    for path, held_out in found.items():
        if isinstance(held_out, str):
            questions[path] = held_out
            continue
        beside = eager[path]
        by_eager = logits.get((beside, path)) if beside else None
        questions[path] = Question(
            held_out=held_out,
            packed=packs[_key(held_out)],
            host=logits.get((path, path), "this machine has no runner for it"),
            eager=by_eager if isinstance(by_eager, np.ndarray) else None,
            run_artifact=partial(host.of_inputs, path, artifacts[path].batch),
            run_eager=partial(host.of_inputs, beside or path, 1),
        )
    return questions


def _logits(
    artifacts: Mapping[Path, Cell],
    found: Mapping[Path, HeldOut | str],
    eager: Mapping[Path, Path | None],
    host: OnThisMachine,
) -> dict[tuple[Path, Path], Logits | str]:
    """By (what answers, whose pictures): each artifact on its own pictures, and its eager once on the same."""
    asked: dict[tuple[Path, Path], Asked] = {}
    names: list[str] = []
    same: dict[tuple[Path, Path], tuple[Path, Path]] = {}
    first: dict[tuple[Path, int], tuple[Path, Path]] = {}
    for path, held_out in found.items():
        if isinstance(held_out, str):
            continue
        if runs_here(artifacts[path].manifest):
            asked[path, path] = Asked(path, artifacts[path].batch, held_out.images)
            names.append(str(artifacts[path]))
        beside = eager[path]
        if beside is None:
            continue
        key = (beside, id(held_out))
        if key not in first:
            first[key] = (beside, path)
            asked[beside, path] = Asked(beside, 1, held_out.images)
            names.append(describe_artifact(Manifest.read(beside / MANIFEST_FILE)))
        same[beside, path] = first[key]
    answers = dict(zip(asked, host.logits(list(asked.values()), names), strict=True))
    return answers | {key: answers[other] for key, other in same.items()}


Place = tuple[Path, str | None]
"""An artifact and what is asked to run it: what answers for itself."""


def place_of(cell: Cell) -> Place:
    """What of a cell decides its answers."""
    return cell.folder, cell.asked


def take(
    cells: Iterable[Cell], questions: Questions, launcher: Launcher, kept: Path
) -> Generator[tuple[Place, Accuracy]]:
    """Let every artifact answer on the phone; (folder and accelerator, what its answers say) as they come.

    What a session that was cut off has kept is not asked again.

    Args:
        cells: the artifacts are theirs; each answers once, whatever its thread counts and batches.
        questions: as `prepared`.
        launcher: of the phone.
        kept: the session's folder for logits.

    Raises:
        PhoneGone: the phone is away; what it has answered is kept.
    """
    artifacts = {place_of(cell): cell for cell in cells}
    for number, (place, cell) in enumerate(artifacts.items(), start=1):
        question = questions[cell.folder]
        if isinstance(question, str):
            yield place, Accuracy(note=question)
            continue
        file = kept / _file_name(cell, launcher)
        answers = _read(file, question)
        if answers is None:
            note = f"answers · {number} of {len(artifacts)} · {cell.manifest.format} {cell.manifest.precision}"
            try:
                push_pictures(launcher, question.packed.packs, note)
                answers = launcher.answer(cell, question.packed.packs, note=note)
            except PhoneGone:
                raise
            except (AdbFailed, LaunchFailed) as error:
                yield place, Accuracy(note=str(error))
                continue
            _keep(file, question, answers)
        yield place, accuracy_of(answers, question, cell.manifest)


def _file_name(cell: Cell, launcher: Launcher) -> str:
    """Of kept answers: several phones may answer in one session."""
    phone = hashlib.sha256(launcher.phone.serial.encode()).hexdigest()[:8]
    on = f"-{cell.asked}" if cell.asked else ""
    return f"{sha256_of_file(cell.folder / MANIFEST_FILE)[:16]}-{launcher.instrument.name}-{phone}{on}.npz"


def accuracy_of(answers: GivenAnswers, question: Question, manifest: Manifest) -> Accuracy:
    """What a phone's answers say, beside those of this machine."""
    host = question.host if isinstance(question.host, np.ndarray) else None
    suspect = Suspect(answers.logits, host, question.eager, question.run_artifact, question.run_eager)
    answered = judged(
        answers.logits,
        question.held_out,
        eager=question.eager,
        host=host,
        unreadable=answers.unreadable,
        rewritten=question.packed.rewritten,
        fault=find_fault(suspect, question.held_out, manifest),
    )
    return Accuracy(answered, note="" if question.eager is not None else NO_EAGER)


def push_pictures(launcher: Launcher, packs: Sequence[Pack], note: str) -> None:
    """Bring zip files to where all launches find them; those that lie there whole are not pushed again.

    Raises:
        LaunchFailed: there is no room for them.
        PhoneGone: the phone is away; what has arrived stays.
    """
    phone = launcher.phone
    for attempt in range(ATTEMPTS):
        try:
            missing = _missing(phone, packs)
            _refuse_full(phone, missing)
            for number, each in enumerate(missing, start=1):
                launcher.tell(f"{note}: pictures, part {number} of {len(missing)}")
                phone.push(each.path, f"{PICTURES_PLACE}/{each.name}", sha256=each.sha256)
                phone.must(["chmod", "0644", f"{PICTURES_PLACE}/{each.name}"])
            return
        except (DeviceLost, AdbTimeout) as error:
            launcher.tell("the phone does not answer; waiting for it")
            is_back = phone.wait_until_back(timeout_s=launcher.back_limit_s)
            if not is_back or attempt == ATTEMPTS - 1:
                raise PhoneGone(f"the phone went away while pictures were pushed to it. {error}") from error


def _missing(phone: Phone, packs: Sequence[Pack]) -> list[Pack]:
    place = shlex.quote(PICTURES_PLACE)
    text = phone.script(
        f"mkdir -p {place} && chmod 0755 {place} && cd {place} && for f in *.zip; do [ -f $f ] && sha256sum $f; done"
    ).stdout
    there = {tuple(line.split()) for line in text.splitlines()}
    return [each for each in packs if (each.sha256, each.name) not in there]


def _refuse_full(phone: Phone, packs: Sequence[Pack]) -> None:
    free_bytes = free_storage_bytes(phone)
    needed = FULL_SHARE * sum(each.path.stat().st_size for each in packs)
    if free_bytes is not None and free_bytes < needed:
        raise LaunchFailed(
            f"{phone.serial} has {free_bytes / 2**20:.1f} MB free, the pictures need {needed / 2**20:.1f} MB. Free "
            "some storage, or take fewer with --accuracy."
        )


def _tell_packing(tell: Callable[[str], None], total: int, done: int) -> None:
    if done % 100 == 0 or done == total:
        tell(f"pictures as files · {done} of {total}")


def _key(held_out: HeldOut) -> str:
    """Pictures of one order are the same files, whatever size a network takes them at."""
    kept = "" if held_out.files is not None or held_out.stored is None else str(held_out.stored.shape)
    return f"{held_out.class_names} {held_out.names} {held_out.config.model_dump_json()} {kept}"


def _facts(question: Question) -> str:
    """What kept answers must be answers to."""
    return json.dumps([question.held_out.order_sha256, [each.sha256 for each in question.packed.packs]])


def _read(file: Path, question: Question) -> GivenAnswers | None:
    """Answers that were kept, if they are to this very question."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as kept:
        if str(kept["question"]) != _facts(question):
            return None
        unreadable = tuple(Unreadable(int(index), str(reason)) for index, reason in json.loads(str(kept["unreadable"])))
        return GivenAnswers(kept["logits"], unreadable)


def _keep(file: Path, question: Question, answers: GivenAnswers) -> None:
    unreadable = json.dumps([[each.index, each.reason] for each in answers.unreadable])
    with whole_file(file) as unfinished, unfinished.open("wb") as opened:
        np.savez(
            opened,
            logits=answers.logits,
            labels=question.held_out.labels,
            names=np.asarray(question.held_out.names),
            question=np.asarray(_facts(question)),
            unreadable=np.asarray(unreadable),
        )
