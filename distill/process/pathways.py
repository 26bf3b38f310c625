"""Pathways: from which map of the teacher to which of the student, through which transform."""

from collections.abc import Collection
from itertools import product
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.maps import STAGE_ENDS_BEFORE_ACTIVATION, as_map, map_shape
from distill.methods.method import Outputs, Setting
from distill.methods.review_kd import hierarchical_context_loss
from distill.process.linearised import Linearised, linearised
from distill.process.transforms import TransformName, transform
from distill.taps import TapPairs

STEMS = TapPairs(student=("stem:pre",), teacher=("stem:pre",))

Level = Annotated[int, Field(ge=1)]


class Pathway(Strict):
    """One way from a map of the teacher to one of the student.

    Attributes:
        teacher, student: levels, the shallowest is 1.
        transform: of the student's map.
    """

    teacher: Level
    student: Level
    transform: TransformName


class Grid(Strict):
    """Which pathways there are, whatever the two networks.

    Attributes:
        taps: levels of both networks, shallow ones first; they need not be equally many where pairs are `all`. Maps, or
            tokens [N, C] of a transformer.
        stem: what goes into the first block is a level before these.
        pairs: `all` pairs of levels, as the paper has; or `lower_to_higher`, no level of the teacher with one of the
            student before it, as the authors' release has.
        transforms: of every pair of levels.
    """

    taps: TapPairs = STAGE_ENDS_BEFORE_ACTIVATION
    stem: bool = False
    pairs: Literal["all", "lower_to_higher"] = "all"
    transforms: Annotated[tuple[TransformName, ...], Field(min_length=1)] = (
        "two_convolutions",
        "three_convolutions",
        "rectified",
    )

    @model_validator(mode="after")
    def _check(self) -> "Grid":
        if len(set(self.transforms)) < len(self.transforms):
            raise ValueError(f"transforms names one twice: {', '.join(self.transforms)}")
        return self

    @property
    def needs(self) -> tuple[TapPairs, ...]:
        """The places to read."""
        return (STEMS, self.taps) if self.stem else (self.taps,)

    def levels(self, setting: Setting) -> tuple[list[str], list[str]]:
        """Places of student and teacher, the shallowest first.

        Raises:
            UsageError: fewer than two levels on a side, or unequally many where a level has its counterpart.
        """
        ours = [place for taps in self.needs for place in setting.places[taps].student]
        theirs = [place for taps in self.needs for place in setting.places[taps].teacher]
        if min(len(ours), len(theirs)) < 2:
            raise UsageError(
                f"pathways lead from two or more levels of the teacher to two or more of the student; method.grid.taps "
                f"gives {len(theirs)} ({', '.join(theirs)}) and {len(ours)} ({', '.join(ours)}). Name more places on "
                "both sides, or take networks with more stages."
            )
        if self.pairs == "lower_to_higher" and len(ours) != len(theirs):
            raise UsageError(
                f"pairs lower_to_higher compares levels by their number; the student has {len(ours)} of them "
                f"({', '.join(ours)}), the teacher {len(theirs)} ({', '.join(theirs)}). Name equally many places in "
                "method.grid.taps, or set method.grid.pairs=all."
            )
        return ours, theirs

    def pathways(self, student_levels: int, teacher_levels: int) -> tuple[Pathway, ...]:
        """All of them: the teacher's levels outermost, transforms innermost."""
        pairs = product(range(1, teacher_levels + 1), range(1, student_levels + 1))
        return tuple(
            Pathway(teacher=theirs, student=ours, transform=name)
            for theirs, ours in pairs
            if self.pairs == "all" or ours >= theirs
            for name in self.transforms
        )


class Distances(nn.Module):
    """The transforms of all pathways, and how far the student then is from the teacher on each.

    Attributes:
        pathways: in the order of the distances.
    """

    def __init__(self, kind: str, grid: Grid, setting: Setting) -> None:
        super().__init__()
        self.ours, self.theirs = grid.levels(setting)
        self.pathways = grid.pathways(len(self.ours), len(self.theirs))
        student = [map_shape(kind, setting.student[place]) for place in self.ours]
        teacher = [map_shape(kind, setting.teacher[place]) for place in self.theirs]
        self.transforms = nn.ModuleList(
            transform(way.transform, student[way.student - 1], teacher[way.teacher - 1]) for way in self.pathways
        )

    def __len__(self) -> int:
        """How many pathways."""
        return len(self.pathways)

    def forward(self, student: Outputs, teacher: Outputs, numbers: Collection[int] | None = None) -> Tensor:
        """The hierarchical context loss of each pathway, [n] >= 0, means over the batch.

        Args:
            student: with taps.
            teacher: with taps.
            numbers: the pathways that are wanted, counted from 0; the transforms of others are not computed. None =
                all.
        """
        chosen = range(len(self)) if numbers is None else numbers
        ours = self.student_maps(student)
        losses = [self._loss(number, ours[self.pathways[number].student - 1], teacher) for number in chosen]
        return torch.stack(losses)

    def linearised(self, student: Outputs, teacher: Outputs) -> Linearised:
        """As `forward` for all pathways, with the slope of each; the transforms are passed forward and back once."""
        ours = self.student_maps(student)
        levels = [way.student - 1 for way in self.pathways]
        with torch.enable_grad():
            starts = [ours[level].detach().requires_grad_() for level in levels]
            losses = [self._loss(number, start, teacher) for number, start in enumerate(starts)]
        with torch.autocast(ours[0].device.type, enabled=False):
            return linearised(losses, starts, [list(own.parameters()) for own in self.transforms], levels, ours)

    def student_maps(self, student: Outputs) -> list[Tensor]:
        """Of each level [B, C, H, W]."""
        return [as_map(student.taps[place]) for place in self.ours]

    def _loss(self, number: int, ours: Tensor, teacher: Outputs) -> Tensor:
        change: Any = self.transforms[number]
        place = self.theirs[self.pathways[number].teacher - 1]
        return hierarchical_context_loss(change(ours), as_map(teacher.taps[place]))
