"""What the loop stands on: everything that can fail is looked at before any work, by the commands that would fail."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from android_demo.preflight.weigh import weigh
from android_demo.ship.commands import Ended, python_module, run
from android_demo.ship.question import DeviceName, Question
from android_demo.ship.steps import Steps, free_bytes
from bench.record.carried import RUNTIME_BYTES, RuntimeBytes
from distill.checkpoint import Card, find, read_card
from distill.contract import sha256_of_json
from distill.errors import ToolError, UsageError, WorkFailed
from distill.vision.tasks import TASKS, TaskName

Grade = Literal["good", "fair"]

DEMO_TEACHER = Path("out/runs/demo/teacher")
"""Where `make distill` leaves the demo's teacher."""

BYTES_PER_ARTIFACT = 40_000_000
BYTES_OF_THE_REST = 300_000_000
"""Room that is asked for: an exported student of the usual size with its logs; runs, journal, bundle and app."""

PHANTOM_CLASSES = 10
RECIPES = {
    "echo-phantom": "demo",
    "dicom": "echo-dicom",
    "echo-phantom-masks": "demo-segmentation",
    "indoor-phantom": "demo-depth",
    "image-mask-folder": "folder-masks",
}
"""Data set that a teacher learnt from -> recipe of its students; `folder-kd` of any other."""
OF_PICTURES = "mobilenet_v3_small,mobilenet_v3_large,shufflenet_v2_x1_0,ghostnet_100"
OF_PIXELS = "lraspp_mobilenet_v3_small,lraspp_mobilenet_v3_large,deeplabv3_mobilenet_v3_large"
"""Students where nobody named any."""
TEACHER_SETTINGS = ("dataset.", "image.", "device=", "seed=")
"""Settings that a teacher which is trained here shares with the students."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at before any work."""

    topic: str
    found: str
    grade: Grade = "good"


@dataclass(frozen=True)
class Ground:
    """What all further steps take for granted.

    Attributes:
        recipe: of the students.
        teacher_recipe: of a teacher that has to be trained first.
        teacher: checkpoint folder of one that is there, absolute; None where it has to be trained.
        teacher_card: of that one.
        settings: of every student's run.
        teacher_settings: of the teacher's run.
        teacher_epochs: that its recipe has; 0 where none has to be trained.
        task: what the network answers.
        size_px, channels, num_classes: of the network's input and output.
        identity: of data and settings; what is kept of an earlier session belongs to one of these.
        formats: of those asked for, what can be made and run.
        phones: what it ships for; empty for this machine.
        adb: the program that reaches it; None for this machine.
        carried: what each runtime adds to the app; None for this machine, and where none could be weighed.
        findings: what people are shown.
    """

    recipe: str
    teacher_recipe: str
    teacher: Path | None
    teacher_card: Card | None
    settings: tuple[str, ...]
    teacher_settings: tuple[str, ...]
    teacher_epochs: int
    task: TaskName
    size_px: int
    channels: int
    num_classes: int
    identity: str
    formats: tuple[str, ...]
    phones: tuple["Phone", ...]
    adb: str | None
    carried: RuntimeBytes | None
    findings: tuple[Finding, ...]

    @property
    def place(self) -> str:
        """What it ships for, in words."""
        return " and ".join(phone.words for phone in self.phones) or "this machine"

    @property
    def serials(self) -> list[str]:
        """Of the phones, sorted."""
        return sorted(phone.serial for phone in self.phones)

    def carried_words(self, folder: Path) -> list[object]:
        """Options that let `bench` count the runtimes' bytes, which lie in a folder; none where they are not known."""
        if self.carried is None:
            return []
        path = folder / RUNTIME_BYTES.name
        self.carried.write(path)
        return ["--runtime-bytes", path]

    @property
    def emulated(self) -> bool:
        """Whether times of a phone that is none take part."""
        return any(phone.is_emulated for phone in self.phones)


@dataclass(frozen=True)
class Phone:
    """A phone.

    Attributes:
        serial: to reach it by.
        words: what it is.
        is_emulated: its times mean nothing.
    """

    serial: str
    words: str
    is_emulated: bool


def usual_students(teacher: Path | None) -> str:
    """Networks for a teacher's task; raises UsageError if there is no such checkpoint."""
    task = read_card(find(teacher)).task if teacher is not None else "classification"
    return OF_PIXELS if TASKS[task].is_dense else OF_PICTURES


def find_device() -> tuple[DeviceName, str]:
    """What to ship for where nobody said: a phone that answers, else this machine; and why."""
    try:
        run(python_module("bench", ["doctor", "--device", "android", "--json"]), quiet=True)
    except ToolError as error:
        if "refused: no device is connected" in str(error) or "adb" in str(error):
            return "cpu", "no phone is connected: this ships for this machine (DEVICE=android for a phone)"
        return "cpu", f"no phone can be used, so this ships for this machine ({error})"
    return "android", "a phone is connected: this ships for it (DEVICE=cpu for this machine)"


def examine(question: Question, steps: Steps, out: Path) -> Ground:
    """Look at teacher, data, settings, disk, toolchains and phone, in this order.

    Raises:
        UsageError: something that cannot work, in words.
    """
    findings: list[Finding] = []
    teacher = _teacher(question, out)
    card = read_card(teacher) if teacher else None
    if card is not None and question.teacher is not None and question.data is not None and TASKS[card.task].is_dense:
        raise UsageError(
            f"TEACHER {question.teacher} is for {card.task}, and DATA {question.data} would be read as pictures of "
            "classes. Students of such a teacher learn from the pictures that it has learnt from; its card names them. "
            "Leave DATA out."
        )
    data = _data(question, steps, findings)
    if question.teacher is not None and card is not None:
        _same_classes(question, card, data)
    recipe, settings = _recipe(question, data, card if question.teacher is not None else None)
    settings = (*settings, f"seed={question.seed}", *question.settings)
    learns = [] if teacher is None else ["teacher.kind=checkpoint", f"teacher.path={json.dumps(str(teacher))}"]
    facts = _settled(steps, recipe, (*settings, *learns))
    preprocess = facts["preprocess"]
    if question.teacher is None and card is not None and not _fits_the_demo(card, facts):
        teacher, card = None, None
    of_teacher = tuple(each for each in settings if each.startswith(TEACHER_SETTINGS))
    findings.append(_about_teacher(teacher, card, recipe))
    formats = _formats(question, findings)
    _room(question, out, findings)
    phones: list[Phone] = []
    adb = None
    for serial in (question.serials or (None,)) if question.device == "android" else ():
        phone, adb = _phone(serial, findings)
        phones.append(phone)
    names = told_apart({phone.serial: phone.words for phone in phones})
    phones = [replace(phone, words=names[phone.serial]) for phone in phones]
    carried = _carried(formats, findings) if phones else None
    if not phones:
        findings.append(Finding("device", f"this machine: {platform.machine()}, batch 1, {question.threads} thread(s)"))
    return Ground(
        recipe=recipe,
        teacher_recipe=_teacher_recipe(recipe),
        teacher=teacher,
        teacher_card=card,
        settings=settings,
        teacher_settings=of_teacher,
        teacher_epochs=0 if teacher else _epochs(_settled(steps, _teacher_recipe(recipe), of_teacher)),
        task=card.task if card else "classification",
        size_px=preprocess["size_px"],
        channels=preprocess["channels"],
        num_classes=len(data["classes"]) if data else len(card.class_names) if card else PHANTOM_CLASSES,
        identity=sha256_of_json(
            {
                "data": data and data["identity"],
                "settings": list(settings),
                "recipe": recipe,
                "teacher": card.weights_sha256 if question.teacher is not None and card else None,
            }
        ),
        formats=formats,
        phones=tuple(phones),
        adb=adb,
        carried=carried,
        findings=tuple(findings),
    )


def told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Serial -> what a phone is called, with its serial where another has the same name."""
    known = list(names.values())
    return {serial: name if known.count(name) == 1 else f"{name} ({serial})" for serial, name in names.items()}


def require_phone(serial: str) -> None:
    """Raise WorkFailed if the phone no longer answers: what failed meanwhile failed for that reason."""
    try:
        run(python_module("bench", ["doctor", "--device", "android", "--json"]), quiet=True, serial=serial)
    except ToolError as error:
        raise WorkFailed(
            f"the phone went away: {error}. Connect it again; the same command goes on where it was."
        ) from error


def _data(question: Question, steps: Steps, findings: list[Finding]) -> dict[str, Any] | None:
    """What `distill data` says of the pictures; None where there is no folder to look at."""
    if question.data is None:
        return None
    folder = Path(question.data)
    if not folder.is_dir():
        raise UsageError(f"DATA {folder} is no folder. Expected pictures in <split>/<class>/ (distill data shows any).")
    tree = sha256_of_json(sorted(_tree(folder)))
    words = ["data", str(folder.resolve())]
    words += [f"--set={each}" for each in question.settings if each.startswith("dataset.")]
    step = steps.do(
        "look at the data",
        "distill",
        [*words, "--json"],
        deciding=tree,
        learn=_survey,
        more=["--out", steps.folder / "data.html"],
    )
    answer: Any = step.answer
    counts = ", ".join(f"{sum(of.values()):,} {split}" for split, of in answer["counts"].items())
    bad = [each["sentence"] for each in answer["findings"] if each["grade"] == "bad"]
    grade: Grade = "fair" if bad else "good"
    findings.append(Finding("data", "; ".join([f"{folder}: {len(answer['classes'])} classes, {counts}", *bad]), grade))
    return answer | {"identity": tree}


def _survey(ended: Ended) -> Any:
    told = ended.document()
    return {key: told[key] for key in ("classes", "counts", "formats", "findings")}


def _tree(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            yield f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}"


def _teacher(question: Question, out: Path) -> Path | None:
    """Folder of the teacher's checkpoint; the demo's where none is named, none was trained here and it is there."""
    if question.teacher is not None:
        return find(Path(question.teacher)).resolve()
    if question.data is None and not (out / "runs" / "teacher").is_dir() and (DEMO_TEACHER / "best").is_dir():
        return find(DEMO_TEACHER).resolve()
    return None


def _same_classes(question: Question, card: Card, data: dict[str, Any] | None) -> None:
    if card.training is None and data is None:
        raise UsageError(
            f"TEACHER {question.teacher} does not say what it learnt from, so DATA has to name a folder of pictures."
        )
    if data is None or set(data["classes"]) == set(card.class_names):
        return
    only_data = [name for name in data["classes"] if name not in card.class_names]
    only_teacher = [name for name in card.class_names if name not in data["classes"]]
    differences = [f"only the data have {', '.join(only_data[:5])}"] * bool(only_data)
    differences += [f"only the teacher has {', '.join(only_teacher[:5])}"] * bool(only_teacher)
    raise UsageError(
        f"TEACHER {question.teacher} tells {len(card.class_names)} classes apart, DATA {question.data} has "
        f"{len(data['classes'])}: {'; '.join(differences)}. A student learns the classes of its data from a teacher "
        "that knows them: name another teacher or other data, or leave TEACHER out and one is trained."
    )


def _recipe(question: Question, data: dict[str, Any] | None, card: Card | None) -> tuple[str, tuple[str, ...]]:
    """The students' recipe, and the settings by which data and teacher change it."""
    settings: list[str] = []
    if data is not None:
        recipe = "echo-dicom" if any("dicom" in name.lower() for name in data["formats"]) else "folder-kd"
        settings.append(f"dataset.path={json.dumps(str(Path(question.data or '').resolve()))}")
    elif card is not None and card.training is not None:
        config = card.training.data.config.model_dump(mode="json")
        recipe = RECIPES.get(config["kind"], "folder-kd")
        settings += [f"dataset.{key}={json.dumps(value)}" for key, value in config.items()]
    else:
        return "demo", ()
    if card is not None:
        seen = card.preprocess
        if data is not None:
            settings.append(f"dataset.channels={seen.channels}")
        settings += [f"image.size_px={seen.size_px}", f"image.resize={seen.resize}"]
        settings += [f"image.{name}={json.dumps(list(getattr(seen, name)))}" for name in ("mean", "std")]
    return recipe, tuple(settings)


def _teacher_recipe(recipe: str) -> str:
    return {"demo": "demo-teacher", "echo-dicom": "echo-dicom-teacher"}.get(recipe, "folder-teacher")


def _settled(steps: Steps, recipe: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """What `distill run` would run, as `distill config` says it; a bad setting is refused there."""
    words = ["config", recipe, *(f"--set={each}" for each in settings), "--json"]
    step = steps.do("look at the settings", "distill", words, deciding=None, learn=lambda ended: ended.document())
    answer: Any = step.answer
    return answer


def _epochs(facts: dict[str, Any]) -> int:
    return facts["config"]["training"]["epochs"]


def _fits_the_demo(card: Card, facts: dict[str, Any]) -> bool:
    """Whether the demo's teacher learnt from the very data and images that are asked for now."""
    if card.training is None or not card.training.finished:
        return False
    same_data = card.training.data.config.model_dump(mode="json") == facts["config"]["dataset"]
    return same_data and card.preprocess.model_dump(mode="json") == facts["preprocess"]


def _about_teacher(teacher: Path | None, card: Card | None, recipe: str) -> Finding:
    if teacher is None or card is None:
        return Finding("teacher", f"is trained first (python -m distill run {_teacher_recipe(recipe)})")
    if card.training is None:
        return Finding("teacher", f"{teacher}: {card.model}, brought from elsewhere")
    quality = TASKS[card.task].share.on_images(card.training.best.share, "its validation images")
    if not card.training.finished:
        return Finding("teacher", f"{teacher}: {card.model}, {quality}; its run is not finished", "fair")
    return Finding("teacher", f"{teacher}: {card.model}, {quality}")


def _formats(question: Question, findings: list[Finding]) -> tuple[str, ...]:
    """Those asked for that can be made and run here."""
    known = {each["format"]: each for each in run(python_module("export", ["formats", "--json"])).document()}
    unknown = [name for name in question.formats if name not in known]
    if unknown:
        raise UsageError(f"--formats: there is no format {', '.join(unknown)}. There are: {', '.join(known)}.")
    usable: list[str] = []
    for name in question.formats:
        entry = known[name]
        lacks = entry["missing_packages"]
        reason = f"packages are missing: {', '.join(lacks)}" if lacks else entry["why_not_run"]
        if reason:
            findings.append(Finding("toolchain", f"{name} is left out: {reason}", "fair"))
        else:
            usable.append(name)
    if not usable:
        raise UsageError(
            f"none of {', '.join(question.formats)} can be made and run here; see python -m export formats."
        )
    findings.append(Finding("toolchains", f"{', '.join(usable)}, in {', '.join(question.precisions)}"))
    return tuple(usable)


def _room(question: Question, out: Path, findings: list[Finding]) -> None:
    artifacts = len(question.formats) * len(question.precisions) * (len(question.students) + 3)
    needed, free = BYTES_OF_THE_REST + artifacts * BYTES_PER_ARTIFACT, free_bytes(out)
    if free < needed:
        raise UsageError(
            f"the disk of {out} has {free / 1e9:.1f} GB left; {needed / 1e9:.1f} GB are needed for {artifacts} exports "
            "and the runs. Free some space, choose another disk with --out, or ask for fewer students or formats."
        )
    findings.append(Finding("disk", f"{free / 1e9:.0f} GB left, {needed / 1e9:.1f} GB needed at most"))


def _carried(formats: Sequence[str], findings: list[Finding]) -> RuntimeBytes | None:
    """What the formats' runtimes add to the app, from one that was built before or from their packages."""
    weighed, _ = weigh()
    known = {name: weighed.of(name) for name in formats}
    told = [f"{name} {size / 1e6:.1f} MB" for name, size in known.items() if size is not None]
    unknown = [name for name, size in known.items() if size is None]
    if not told:
        findings.append(
            Finding("bytes", "the models' alone: no built app and no runtime's package is here to weigh", "fair")
        )
        return None
    lacking = f"; not weighed: {', '.join(unknown)}" if unknown else ""
    findings.append(
        Finding("bytes", f"with each model its runtime's: {', '.join(told)}{lacking}", "fair" if unknown else "good")
    )
    return weighed


def _phone(serial: str | None, findings: list[Finding]) -> tuple[Phone, str | None]:
    """A phone and the adb program, as `bench doctor` says."""
    words = python_module("bench", ["doctor", "--device", "android", "--json"])
    try:
        told = run(words, quiet=True, serial=serial).document()
    except WorkFailed as error:
        raise UsageError(f"the phone cannot be examined: {error}") from error
    by_topic = {each["topic"]: each for each in told["findings"]}
    phone = by_topic.get("phone", {"found": told["serial"], "grade": "good"})
    findings.append(Finding("phone", phone["found"], "good" if phone["grade"] == "good" else "fair"))
    for each in told["findings"]:
        if each["grade"] == "bad" and each["topic"] != "phone":
            findings.append(Finding(f"phone: {each['topic']}", f"{each['found']} {each['advice']}".strip(), "fair"))
    adb = by_topic["adb"]["found"].partition(", protocol ")[0] if "adb" in by_topic else None
    return Phone(told["serial"], phone["found"], phone["grade"] == "bad"), adb
