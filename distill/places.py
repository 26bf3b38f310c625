"""Places by name: what `TapPairs` means in two certain networks."""

import difflib
from collections.abc import Sequence
from functools import cached_property

from torch import nn

from distill.errors import UsageError
from distill.taps import INPUT, PRE, PlacePairs, Places, TapPairs
from distill.vision.models.stage_ends import PROBE_PX, stage_ends
from distill.vision.models.tap_points import HasPooledPath, HasTapPoints, Point, TapPoints
from distill.vision.models.walk import Walk, walk

STAGE_ENDS = ("stage-ends", f"stage-ends{PRE}")


def resolve(
    taps: TapPairs,
    student: nn.Module,
    teacher: nn.Module | None,
    *,
    student_px: int = PROBE_PX,
    teacher_px: int = PROBE_PX,
) -> PlacePairs:
    """The places meant in these two networks; without a teacher only the student's.

    Args:
        taps: names.
        student: takes normalised images [B, 3, H, W].
        teacher: as well; None if nothing of it is read.
        student_px: side of the images on which points are looked for that a network does not name itself.
        teacher_px: the same for the teacher.

    Raises:
        UsageError: a network has no such module, block or stage.
    """
    ours = _places(taps.student, Named(student, student_px))
    if teacher is None:
        return PlacePairs(ours, ())
    theirs = _places(taps.teacher, Named(teacher, teacher_px))
    if taps.student in STAGE_ENDS:
        ours = ours[-len(theirs) :]
    if taps.teacher in STAGE_ENDS:
        theirs = theirs[-len(ours) :]
    return PlacePairs(ours, theirs)


class Named:
    """A network and the names in it; it is called only for names that need it."""

    def __init__(self, network: nn.Module, size_px: int) -> None:
        self.network = network
        self.size_px = size_px
        self.kind = type(network).__name__
        self.paths = {path for path, _ in network.named_modules() if path}

    @cached_property
    def walk(self) -> Walk:
        """What it passes in a call."""
        return walk(self.network, size_px=self.size_px)

    @cached_property
    def points(self) -> TapPoints:
        """Its own, or as seen in a call."""
        return self.network.tap_points if isinstance(self.network, HasTapPoints) else self.walk.tap_points()

    def point(self, name: str) -> Point | None:
        """The point of a name, None if it is the name of none.

        Raises:
            UsageError: there are not so many blocks or stages, or no such point.
        """
        kind, _, number = name.partition(":")
        if kind == "stage-end":
            ends = [Point(path, path) for path in stage_ends(self.network)]
            return _numbered(name, number, ends, f"no stage end of a {self.kind}: it has {len(ends)} stages")
        if kind == "block":
            blocks = self.points.blocks
            return _numbered(name, number, blocks, f"no block of a {self.kind}: it has {len(blocks)} blocks")
        if name not in ("stem", "pooled"):
            return None
        network = self.network
        pooled = network.pooled_path if isinstance(network, HasPooledPath) else self.points.pooled
        point = self.points.stem if name == "stem" else None if pooled is None else Point(pooled, pooled)
        if point is None and name not in self.paths:
            raise UsageError(
                f"a {self.kind} has no {name} that could be recognised: the stem is what goes into the first block, "
                "pooled what goes into the first linear layer after the last one. Name a module's path instead; "
                "python -m distill taps MODEL lists them."
            )
        return point

    def before(self, place: str) -> str:
        """Before the activation that a place lies behind; the same place if it lies behind none."""
        if isinstance(self.network, HasTapPoints):
            points = self.points
            known = {point.post: point.pre for point in (*points.blocks, *points.stage_ends)}
            if points.stem is not None:
                known[points.stem.post] = points.stem.pre
            if place in known:
                return known[place]
        return self.walk.before_activation(place)

    def place(self, name: str) -> str:
        """A module's path, perhaps with `:input`, for a name.

        Raises:
            UsageError: there is no such module, block or stage.
        """
        bare = name.removesuffix(PRE)
        point = self.point(bare)
        place = bare if point is None else point.post
        if place.removesuffix(INPUT) not in self.paths:
            near = difflib.get_close_matches(place.removesuffix(INPUT), self.paths, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            children = ", ".join(path for path, _ in self.network.named_children())
            raise UsageError(
                f"a {self.kind} has no module {place.removesuffix(INPUT)!r} to tap.{hint} "
                f"At its top level are {children}; stage-end:1, stage-end:-1 … name the ends of its stages, "
                "block:1 … its blocks; python -m distill taps MODEL lists all."
            )
        return self.before(place) if name.endswith(PRE) else place


def _numbered(name: str, number: str, points: Sequence[Point], complaint: str) -> Point:
    known = {str(index): point for index, point in enumerate(points, start=1)}
    known |= {str(index - len(points)): point for index, point in enumerate(points)}
    if number not in known:
        kind = name.partition(":")[0]
        raise UsageError(f"{name} is {complaint}, {kind}:1 to {kind}:{len(points)}, or {kind}:-1 for the deepest.")
    return known[number]


def _places(places: Places, named: Named) -> tuple[str, ...]:
    if not isinstance(places, str):
        return tuple(named.place(place) for place in places)
    row = places.removesuffix(PRE)
    paths = stage_ends(named.network) if row == "stage-ends" else [point.post for point in named.points.blocks]
    return tuple(named.before(place) if places.endswith(PRE) else place for place in paths)
