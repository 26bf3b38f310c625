"""CONTRACT: what the loop was asked, did and decided, `ship.json`; every number leads to the file it came from."""

from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, JsonValue

from android_demo.ship.question import LatencyName, Question
from distill.contract import Contract, Strict
from distill.vision.tasks import TASKS, Measure, TaskName

SHIP_FILE = "ship.json"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fit = Literal["inside", "open", "outside", "not-measured"]
"""`open`: the interval of the median lies across the limit."""


class FileIdentity(Strict):
    """A file that this record speaks of, as it was then; `path` is relative to the record's folder where it can be."""

    path: str
    sha256: Sha256


class Timed(Strict):
    """An untrained student in one format and precision on the device.

    Attributes:
        median_ms: per call, with its 95 % interval; None if it could not be measured.
    """

    format: str
    precision: str
    median_ms: float | None
    median_interval_ms: tuple[float, float] | None
    size_bytes: int
    validity: str
    fit: Fit


class Screened(Strict):
    """A student before it was trained.

    Attributes:
        kept: whether it is trained.
        reason: why not, or what keeps the budget.
        journal: its raw samples; None where nothing was measured.
    """

    student: str
    kept: bool
    reason: str
    timed: tuple[Timed, ...]
    journal: FileIdentity | None


class Teacher(Strict):
    """What the students learnt from.

    Attributes:
        accuracy: on its own validation images, in [0, 1]; None for one that was brought from elsewhere. Here and below
            of other tasks what networks are compared by (`Ship.measure`).
    """

    folder: str
    model: str
    weights_sha256: Sha256
    num_parameters: int
    accuracy: float | None
    trained_here: bool


class Data(Strict):
    """What was learnt from and judged on, as the students' cards say it."""

    kind: str
    path: str | None
    class_names: tuple[str, ...]
    num_train: int
    num_validation: int
    train_sha256: str
    validation_sha256: str


class Rung(Strict):
    """How a student stood when it was compared with the others: its best epoch so far, accuracy in [0, 1]."""

    epochs: int
    accuracy: float


class Trained(Strict):
    """A student that was trained, as far as it came.

    Attributes:
        full_length: epochs that its run has when it is finished.
        finalist: whether it was trained to the end.
        reason: why it was not.
        rungs: in order.
        seconds_per_epoch: median; None without an epoch.
        card: of its best epoch.
    """

    student: str
    run: str
    full_length: int
    finalist: bool
    reason: str
    rungs: tuple[Rung, ...]
    seconds_per_epoch: float | None
    card: FileIdentity | None
    weights_sha256: Sha256 | None


class Exported(Strict):
    """A finalist, or the teacher, in one format and precision.

    Attributes:
        status: as `export` says: made, unchanged, refused, failed.
        cause: why it could not be made, or what the proof says.
        recipe: the doctor's, where the default lost too much.
        verdict: of the proof against eager PyTorch.
    """

    student: str
    format: str
    precision: str
    status: str
    cause: str
    folder: str
    manifest: FileIdentity | None
    verdict: str | None
    recipe: FileIdentity | None


class Candidate(Strict):
    """An artifact that was measured, as `bench choose` sees it.

    Attributes:
        median_ms, median_interval_ms: per call.
        accuracy: share of right answers on `accuracy_images` held-out images.
        relative_accuracy, relative_accuracy_interval: share of the teacher's; None where it is not paired by image.
        breaks: options of the limits that it is not shown to keep.
        folder: the artifact; None if it is not among those of this loop.
    """

    name: str
    format: str
    precision: str
    manifest_sha256: str
    folder: str | None
    median_ms: float
    median_interval_ms: tuple[float, float]
    size_bytes: int
    peak_memory_bytes: int | None
    accuracy: float
    accuracy_images: int
    relative_accuracy: float
    relative_accuracy_interval: tuple[float, float] | None
    validity: str
    is_teacher: bool
    breaks: tuple[str, ...]


class Kill(Strict):
    """A limit: how many candidates break it, and what it would have to be if it alone gave; None if that is no help."""

    limit: str
    value: float
    breaking: int
    alone: float | None


class Choice(Strict):
    """What `bench choose` decided.

    Attributes:
        device: name of what it was measured on.
        latency: what counted: the model's call, or the whole path from picture to answer.
        sustained: whether it was what remains when the phone is warm.
        reference: what the relative accuracy is relative to.
        tied: those inside whose accuracy is not shown to differ from the best inside; of them the fastest wins.
        contenders: who might win if latencies were known better, and what would tell.
        excluded: what was left out, and why.
        kills: the limits, the one that stands most in the way first.
        nearest_miss: where nothing fits.
        trades: what the winner gives up against others, as `bench choose --json` says it.
    """

    device: str
    latency: LatencyName
    sustained: bool
    reference: str
    tied: tuple[str, ...]
    winner: Candidate | None
    runner_up: Candidate | None
    candidates: tuple[Candidate, ...]
    contenders: tuple[tuple[str, str], ...]
    excluded: tuple[tuple[str, str], ...]
    kills: tuple[Kill, ...]
    nearest_miss: Candidate | None
    trades: tuple[dict[str, JsonValue], ...]
    journal: FileIdentity


class OnDevice(Strict):
    """What a phone answered to held-out pictures, given to it as files, through the app's own decoding and resizing.

    Attributes:
        phone: its name; empty in records before version 4, which knew one phone.
        pictures: how many.
        accuracy, accuracy_interval: share of right answers, with Wilson's 95 % interval.
        host_agreement: share that the same artifact answers alike on the computer; None if it was not run there.
        eager_accuracy, p_value: of eager PyTorch on the very same pictures, and of the exact paired test that both are
            equally accurate; None without it.
        changed: how many pictures got another answer than eager's.
        fault: what is wrong with the answers, in words, where something is.
        repeated_calls, distinct_outputs: one input again and again: how often, and how many different outputs it gave.
    """

    manifest_sha256: str
    phone: str
    pictures: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    host_agreement: float | None
    eager_accuracy: float | None
    p_value: float | None
    changed: int | None
    fault: str | None
    repeated_calls: int
    distinct_outputs: int


class App(Strict):
    """The app around the winner.

    Attributes:
        bytes_by_part: what each runtime's libraries, the code, the models and the rest take in it.
        has_runtimes: False for one that Debian's tools built: it shows its screens and cannot run models.
        broken_rules: what a store would refuse.
        installed: whether it was put on the phone.
        tried: what one picture through it gave, or why none went through; empty where it was not asked for.
    """

    apk: FileIdentity
    size_bytes: int
    bytes_by_part: dict[str, int]
    has_runtimes: bool
    broken_rules: tuple[str, ...]
    installed: bool
    tried: str


class Done(Strict):
    """A step of the way: the command, how it ended and what it took."""

    name: str
    command: tuple[str, ...]
    exit_code: int
    seconds: float
    utc_time: str


class Ship(Contract):
    """The whole loop.

    Attributes:
        toolkit_version: of this toolkit.
        task: what the models answer; `classification` in records before version 5.
        device: what it ships for, in words.
        rehearsal: an emulated phone took part, so that times and choice say nothing of any product.
        outcome: `nothing-fits`: no candidate is shown to keep every limit.
        choice: None where no candidate came as far as being measured.
        on_device: what the phone answered, artifact by artifact; empty for this machine, and in version 1.
        bundle: index of the bundle with the winner; None where nothing fits.
        app: None for this machine, where nothing can build it, and in version 1.
        steps: in order; `reused` of them were finished in an earlier session.
        seconds: all steps together, whenever they were done.
        unproven: what this record does not show, one sentence each.
    """

    SCHEMA_VERSION: ClassVar[int] = 5

    schema_version: Literal[5] = 5
    toolkit_version: str
    utc_time: str
    task: TaskName
    question: Question
    device: str
    rehearsal: bool
    outcome: Literal["shipped", "nothing-fits"]
    answer: str
    data: Data | None
    teacher: Teacher | None
    screened: tuple[Screened, ...]
    trained: tuple[Trained, ...]
    exported: tuple[Exported, ...]
    choice: Choice | None
    on_device: tuple[OnDevice, ...]
    bundle: FileIdentity | None
    app: App | None
    steps: tuple[Done, ...]
    seconds: float
    unproven: tuple[str, ...]

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """As of this version; those before knew nothing of what `SINCE` names."""
        version = raw.get("schema_version")
        if version not in (1, 2, 3, 4) or not isinstance(raw.get("question"), dict):
            return raw
        for since, added in SINCE.items():
            raw = _with(raw, added) if version < since else raw
        answered = [{"phone": ""} | cast("dict[str, Any]", each) for each in raw["on_device"]]
        return raw | {"on_device": answered, "schema_version": 5}

    @property
    def measure(self) -> Measure:
        """What the candidates are compared by: the accuracy, or what the task has in its place."""
        return TASKS[self.task].share


SINCE: dict[int, dict[str, dict[str, Any]]] = {
    2: {
        "question": {"install": False, "pictures": 0, "repeats": 1},
        "": {"rehearsal": False, "on_device": [], "app": None},
    },
    3: {
        "question": {"latency": None, "sustained": None},
        "choice": {"latency": "model", "sustained": False, "tied": []},
    },
    4: {"question": {"serials": []}},
    5: {"": {"task": "classification"}},
}
"""Keys that came with a version, by the part of the record ("" is its top), with what older records mean."""


def _with(raw: dict[str, Any], added: dict[str, dict[str, Any]]) -> dict[str, Any]:
    result = raw | added.get("", {})
    parts = {name: cast("dict[str, Any]", raw[name]) | keys for name, keys in added.items() if raw.get(name)}
    return result | parts
