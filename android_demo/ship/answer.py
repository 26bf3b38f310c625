"""The answer in words, and what it does not show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from android_demo.ship.ground import Ground
from android_demo.ship.question import Question
from android_demo.ship.record import App, Candidate, Choice, Data, Kill, OnDevice, Screened, Teacher, Trained
from distill.checkpoint import find, read_card
from distill.vision.tasks import Measure

MANY_IMAGES = 1000


def answer(question: Question, screened: Sequence[Screened], choice: Choice | None, measure: Measure) -> str:
    """One or two sentences: what goes out, or what stands in the way and what would have to give."""
    if choice is None:
        return f"Nothing fits: no student was worth training. {_nearest_untrained(question, screened)}"
    if choice.winner is not None:
        return f"{_name(choice.winner)}: {figures(choice.winner, measure)}. {_why(choice, measure)}"
    sure = " for sure" if choice.contenders else ""
    none = f"none of {len(choice.candidates)} candidates is shown to keep every limit"
    return f"Nothing fits{sure}: {none}. {_what_must_give(choice, measure)}"


def _why(choice: Choice, measure: Measure) -> str:
    """Why the winner wins."""
    if len(choice.tied) > 1:
        return (
            f"{len(choice.tied)} candidates inside the budget are not shown to differ in {measure.title} from the best "
            "of them; of those it is the fastest."
        )
    return f"It is the {measure.words['most']} inside the budget."


def figures(candidate: Candidate, measure: Measure) -> str:
    """Latency, quality by the task's measure and size of a candidate for people."""
    low, high = candidate.median_interval_ms
    parts = [f"{candidate.median_ms:.3f} ms per call ({low:.3f} to {high:.3f})", _accuracy(candidate, measure)]
    return ", ".join([*parts, f"{candidate.size_bytes / 1e6:.2f} MB"])


def limit_in_words(limit: str, value: float, measure: Measure) -> str:
    """E.g. "at most 5 ms per call"."""
    return {
        "--max-latency-ms": f"at most {value:g} ms per call",
        "--max-size-mb": f"at most {value:g} MB",
        "--min-relative-accuracy": f"at least {100 * value:g} % of the teacher's {measure.title}",
        "--max-memory-mb": f"at most {value:g} MB of memory",
    }.get(limit, f"{limit} {value:g}")


def kill_in_words(kill: Kill, count: int, measure: Measure) -> str:
    """How many candidates a limit costs, and whether it alone could give."""
    broken = f"{kill.breaking} of {count} candidates break it"
    if kill.alone is None:
        return f"{broken}; loosening it alone does not help"
    return f"{broken}; alone it would have to be: {limit_in_words(kill.limit, round_loose(kill), measure)}"


def round_loose(kill: Kill) -> float:
    """What a limit would have to be, rounded to its loose side in the third place."""
    assert kill.alone is not None
    step = -0.0005 if kill.limit.startswith("--min") else 0.0005
    return round(kill.alone + step, 3)


def data_of(trained: Sequence[Trained]) -> Data | None:
    """The data as the students' cards say it."""
    for each in trained:
        if each.card is None:
            continue
        card = read_card(Path(each.card.path).parent)
        assert card.training is not None
        of = card.training.data
        return Data(
            kind=of.config.kind,
            path=getattr(of.config, "path", None),
            class_names=card.class_names,
            num_train=of.num_train,
            num_validation=of.num_validation,
            train_sha256=of.train_sha256,
            validation_sha256=of.validation_sha256,
        )
    return None


def teacher_of(folder: Path | None, *, trained_here: bool) -> Teacher | None:
    """The teacher as its card says it."""
    if folder is None:
        return None
    card = read_card(find(folder))
    return Teacher(
        folder=str(folder),
        model=card.model,
        weights_sha256=card.weights_sha256,
        num_parameters=card.num_parameters,
        accuracy=None if card.training is None else card.training.best.share,
        trained_here=trained_here,
    )


def unproven(
    question: Question,
    ground: Ground,
    teacher: Path | None,
    trained: Sequence[Trained],
    choice: Choice | None,
    answered: Sequence[OnDevice],
    app: App | None,
    measure: Measure,
) -> tuple[str, ...]:
    """What the record does not show, one sentence each."""
    sentences: list[str] = []
    if question.device == "cpu":
        sentences.append("Nothing was measured on a phone: latency and memory are this machine's.")
    else:
        if choice is None or not choice.sustained:
            sentences.append("The latency is that of a phone at rest; --sustained 10m counts what remains when warm.")
        sentences += _of_the_phone(choice, answered, app, measure)
    if ground.emulated:
        sentences.append("The phone is emulated: its outputs are true, its times mean nothing.")
    if sum(each.finalist for each in trained) and any(not each.finalist for each in trained):
        sentences.append(
            f"Who was trained to the end was decided by the validation images that {measure.title} is reported on, "
            "after a part of the training and with one seed; another seed may have kept another student."
        )
    learnt = read_card(find(teacher)).training if teacher is not None and ground.teacher is None else None
    asked: Any = {} if learnt is None else learnt.config.get("training", {})
    if asked.get("epochs", ground.teacher_epochs) < ground.teacher_epochs:
        sentences.append(
            f"The time was enough for {asked['epochs']} of the teacher's {ground.teacher_epochs} epochs; a better "
            "teacher may teach better students."
        )
    short = {each.full_length for each in trained if each.full_length < question.epochs}
    if short:
        sentences.append(
            f"The time was enough for {min(short)} of {question.epochs} epochs; with more time students may be better."
        )
    if choice is not None:
        winner = choice.winner
        sentences += [f"{name} may win; to tell, {remedy}." for name, remedy in choice.contenders]
        if winner is not None and winner.accuracy_images < MANY_IMAGES:
            sentences.append(f"{measure.words['heading']} stands on {winner.accuracy_images} images.")
        if winner is not None and winner.validity != "valid":
            sentences.append(f"The winner's row is {winner.validity}: its interval is wide.")
    return tuple(sentences)


def _of_the_phone(choice: Choice | None, answered: Sequence[OnDevice], app: App | None, measure: Measure) -> list[str]:
    """What is not known of the winner on the phone, and of the app."""
    winner = choice.winner if choice else None
    if winner is None:
        return []
    sentences: list[str] = []
    own = next((each for each in answered if each.manifest_sha256 == winner.manifest_sha256), None)
    if own is None:
        sentences.append(f"The phone answered no pictures: {measure.title} is the host's.")
    else:
        low, high = own.accuracy_interval
        sentences.append(
            f"The choice counts the host's {measure.title}; the phone's own stands on {own.pictures} pictures "
            f"({100 * low:.1f} to {100 * high:.1f} %)."
        )
        sentences += [f"The phone's answers are in doubt: {own.fault}."] * bool(own.fault)
    if app is None:
        sentences.append("No app was built, so its bytes are not known.")
    elif not app.has_runtimes:
        sentences.append(
            "The app was built without a runtime, for want of Gradle and an Android SDK: it was not run, and what the "
            "runtime adds to its bytes is not known."
        )
    elif not app.installed:
        sentences.append("The app was not installed: --install does that, and tries a picture.")
    return sentences


def _name(candidate: Candidate) -> str:
    return f"{candidate.name}, {candidate.format} {candidate.precision}" + (
        " (the teacher itself)" if candidate.is_teacher else ""
    )


def _accuracy(candidate: Candidate, measure: Measure) -> str:
    share = measure.on_images(candidate.accuracy, f"{candidate.accuracy_images} images")
    if candidate.is_teacher:
        return share
    interval = candidate.relative_accuracy_interval
    known = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
    return f"{share}, {100 * candidate.relative_accuracy:.1f} %{known} of the teacher's {measure.title}"


def _what_must_give(choice: Choice, measure: Measure) -> str:
    most = choice.kills[0] if choice.kills else None
    first = (
        f"Most in the way is {limit_in_words(most.limit, most.value, measure)}: "
        f"{kill_in_words(most, len(choice.candidates), measure)}. "
        if most
        else ""
    )
    nearest = choice.nearest_miss
    return f"{first}Nearest miss: {_name(nearest)}, {figures(nearest, measure)}." if nearest else first


def _nearest_untrained(question: Question, screened: Sequence[Screened]) -> str:
    timed = [(each, of) for of in screened for each in of.timed if each.median_interval_ms is not None]
    if not timed:
        return "None of them could be measured."
    nearest, student = min(timed, key=lambda pair: pair[0].median_interval_ms or (0.0, 0.0))
    low, high = nearest.median_interval_ms or (0.0, 0.0)
    factor = high / question.budget.max_latency_ms
    return (
        f"The fastest of {len(timed)} untrained exports, {student.student} {nearest.format} {nearest.precision}, takes "
        f"{nearest.median_ms:.3f} ms ({low:.3f} to {high:.3f}) and has {nearest.size_bytes / 1e6:.2f} MB; "
        f"{question.budget.max_latency_ms:g} ms would have to be {factor:.2f} times as much, or the network smaller: "
        "--students, or --set image.size_px."
    )
