"""One call of student and teacher before training: what a method is built for, and where they will be tapped."""

import difflib
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.config import RunConfig
from distill.data import Data
from distill.errors import UsageError
from distill.methods import Method, Setting
from distill.taps import INPUT, PlacePairs, Places, Probe, TapPairs, Taps, probe
from distill.vision.models import ImageClassifier
from distill.vision.models.stage_ends import stage_ends

STAGE_END = "stage-end:"


@dataclass(frozen=True)
class DryRun:
    """What came of it.

    Attributes:
        method: built for these networks and this data.
        students: taps of each student; empty where nothing is tapped.
        teacher: taps of the teacher; None where nothing of it is tapped.
    """

    method: Method
    students: tuple[Taps, ...] = ()
    teacher: Taps | None = None

    @contextmanager
    def tapped(self) -> Generator[None]:
        """Read the taps within the block; outside it the networks have no hooks."""
        with ExitStack() as attached:
            for taps in (*self.students, *([] if self.teacher is None else [self.teacher])):
                attached.enter_context(taps.attached())
            yield


def dry_run(
    config: RunConfig,
    data: Data,
    students: Sequence[ImageClassifier],
    teacher: ImageClassifier | None,
    *,
    teacher_px: int,
    trained: Sequence[nn.Module] | None = None,
) -> DryRun:
    """Build the method; where it taps anything, call both networks once on black pictures. No network is changed.

    Args:
        config: of the run.
        data: its splits.
        students: all alike.
        teacher: None if there is no network to tap.
        teacher_px: side of the images that the teacher sees.
        trained: what is called instead of the students: they, prepared for quantization-aware training.

    Raises:
        UsageError: a place to tap that is not there, or networks that the method cannot compare.
    """
    needs = config.method.needs
    labels, num_classes = torch.from_numpy(data.train.labels), len(data.train.class_names)
    if not needs.taps:
        return DryRun(config.method.build(Setting(labels, num_classes)))
    tapped = teacher if needs.teacher == "taps" else None
    network = students[0].network
    places = {taps: resolve(taps, network, None if tapped is None else tapped.network) for taps in needs.taps}
    ours = tuple(dict.fromkeys(place for pair in places.values() for place in pair.student))
    theirs = tuple(dict.fromkeys(place for pair in places.values() for place in pair.teacher))
    trained = trained or students
    pictures = _example(students[0], channels=config.preprocess.channels, size_px=config.image.size_px)
    of_student = probe(trained[0], network, ours, pictures)
    of_teacher = Probe()
    if tapped is not None:
        pictures = _example(tapped, channels=config.preprocess.channels, size_px=teacher_px)
        of_teacher = probe(tapped, tapped.network, theirs, pictures)
    setting = Setting(
        labels,
        num_classes,
        student=of_student.shapes,
        teacher=of_teacher.shapes,
        places=places,
        upstream={
            place: frozenset(f"students.{number}.{name}" for number in range(len(students)) for name in names)
            for place, names in of_student.upstream.items()
        },
    )
    return DryRun(
        config.method.build(setting),
        tuple(Taps(student.network, ours, overwritten=of_student.overwritten) for student in students),
        None if tapped is None else Taps(tapped.network, theirs, overwritten=of_teacher.overwritten),
    )


def _example(model: ImageClassifier, *, channels: int, size_px: int) -> Tensor:
    """Two black pictures [2, channels, size_px, size_px] where the model is."""
    return torch.zeros(2, channels, size_px, size_px, device=model.mean.device)


def resolve(taps: TapPairs, student: nn.Module, teacher: nn.Module | None) -> PlacePairs:
    """The places meant in these two networks; without a teacher only the student's.

    Raises:
        UsageError: a network has no such module or stage.
    """
    if teacher is None:
        return PlacePairs(_places(taps.student, student), ())
    if taps.student == "stage-ends" and taps.teacher == "stage-ends":
        ours, theirs = stage_ends(student), stage_ends(teacher)
        shared = min(len(ours), len(theirs))
        return PlacePairs(ours[-shared:], theirs[-shared:])
    if taps.student == "stage-ends":
        theirs = _places(taps.teacher, teacher)
        return PlacePairs(stage_ends(student)[-len(theirs) :], theirs)
    ours, theirs = _places(taps.student, student), _places(taps.teacher, teacher)
    return PlacePairs(ours, theirs[-len(ours) :] if taps.teacher == "stage-ends" else theirs)


def _places(places: Places, network: nn.Module) -> tuple[str, ...]:
    if places == "stage-ends":
        return stage_ends(network)
    paths = {path for path, _ in network.named_modules() if path}
    found = tuple(_stage_end(place, network) if place.startswith(STAGE_END) else place for place in places)
    for place in found:
        if place.removesuffix(INPUT) not in paths:
            near = difflib.get_close_matches(place.removesuffix(INPUT), paths, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            children = ", ".join(path for path, _ in network.named_children())
            raise UsageError(
                f"a {type(network).__name__} has no module {place.removesuffix(INPUT)!r} to tap.{hint} "
                f"At its top level are {children}; stage-end:1, stage-end:-1 … name the ends of its stages."
            )
    return found


def _stage_end(place: str, network: nn.Module) -> str:
    ends = stage_ends(network)
    known = {f"{STAGE_END}{number}": path for number, path in enumerate(ends, start=1)}
    known |= {f"{STAGE_END}{number - len(ends)}": path for number, path in enumerate(ends)}
    if place not in known:
        raise UsageError(
            f"{place} is no stage end of a {type(network).__name__}: it has {len(ends)} stages, "
            f"stage-end:1 to stage-end:{len(ends)}, or stage-end:-1 for the deepest."
        )
    return known[place]
