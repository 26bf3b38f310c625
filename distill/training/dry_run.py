"""One call of student and teacher before training: what a method is built for, and where they will be tapped."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.config import RunConfig
from distill.data import Data
from distill.methods import Method, Setting
from distill.places import resolve
from distill.taps import Probe, Taps, probe
from distill.vision.models import ImageClassifier


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
    inside = None if tapped is None else tapped.network
    places = {
        taps: resolve(taps, network, inside, student_px=config.image.size_px, teacher_px=teacher_px)
        for taps in needs.taps
    }
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
        teacher_norms=of_teacher.norms,
    )
    return DryRun(
        config.method.build(setting),
        tuple(Taps(student.network, ours, overwritten=of_student.overwritten) for student in students),
        None if tapped is None else Taps(tapped.network, theirs, overwritten=of_teacher.overwritten),
    )


def _example(model: ImageClassifier, *, channels: int, size_px: int) -> Tensor:
    """Two black pictures [2, channels, size_px, size_px] where the model is."""
    return torch.zeros(2, channels, size_px, size_px, device=model.mean.device)
