"""The best model inside a budget, from measurements: candidates, Pareto front, winner, and what it gives up.

Inside the budget accuracy decides. Candidates whose accuracies are not shown to differ from the best one's count as
tied, and of those the fastest wins.

A label does one of two things. A row that is *wrong* (failed, throttled, of an emulated device) is no candidate. A row
that is known badly (noisy, drifting, of one launch) is one, with a wide interval: it is inside a limit if the upper end
is, and among equals the lowest upper end wins, unless another overtakes it: by their ratio where both were measured in
turn, which restless neighbours hardly touch, or because it is shown to be faster. Where an interval leaves open who
wins, the other is a contender, and named.
"""

import bisect
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median

from bench.compare.conditions import conditions_asked, in_order_of_time
from bench.compare.speed_up import teachers_of
from bench.record import WIDE, Measurement
from bench.record.carried import RuntimeBytes
from bench.timing.intervals import Interval, Z, median_interval
from bench.timing.ratio import ratio_of, ratios_by_turn
from distill.vision.tasks import Measure, share_among
from export.artifact.answers import Answers, paired, share_kept, share_kept_interval

BASE_ONLY = "eager PyTorch is the base of comparisons, not a product"
RELATIVE_ACCURACY = "--min-relative-accuracy"

NO_TEACHER = "the {most} candidate, because its teacher was not measured"
NO_ACCURACY = "no {title} is known: untrained, or brought without data"
"""Both with the words of the task's measure (`Measure.words`)."""

UNSEEN_LAUNCHES = 0.12
"""Standard deviation of the logarithms of launches' medians that a row of one launch is taken to hide: what launches of
the most restless machine in results/ have."""

ENOUGH_LAUNCHES = 5
"""From so many on, more launches narrow an interval slowly: only by their square root."""


@dataclass(frozen=True)
class Accuracy:
    """How good a model is on held-out images.

    Attributes:
        share: of correct predictions, in [0, 1]; of other tasks what their networks are compared by
            (`distill.vision.tasks.Task.share`).
        images: how many stand behind it.
        agreement: share of images for which it predicts what the eager model predicts; None if that is not known.
        is_measured: True if it was measured where the model was timed, False if when it was exported.
        answers: which images are answered rightly; None where that is not known.
    """

    share: float
    images: int
    agreement: float | None
    is_measured: bool
    answers: Answers | None


@dataclass(frozen=True)
class Relative:
    """Accuracy as a share of a reference's.

    Attributes:
        value: accuracy / the reference's accuracy, on the images that both have answered where these are known; 0 where
            the latter is.
        low, high: 95 % interval, paired by image; both equal `value` unless it is known that both models answered the
            same images.
        is_paired: whether that is known.
    """

    value: float
    low: float
    high: float
    is_paired: bool


@dataclass(frozen=True)
class Reference:
    """What relative accuracy is relative to."""

    name: str
    accuracy: Accuracy


Teachers = Mapping[str, Reference]
"""Every measured teacher by the hash of its checkpoint."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An artifact with a row to choose it by.

    Attributes:
        latency_ms: median per call, with an interval that covers other launches, too.
        accuracy: measured where it was timed, unless the export measured it on more images.
        relative_accuracy: to the reference's accuracy.
        memory_bytes: peak of a measuring process, runtime included; None if that was not measured.
        runtime_bytes: what its runtime adds to an app that carries it; 0 where no app does, or none was weighed; None
            if other runtimes were weighed and its was not.
    """

    row: Measurement
    latency_ms: Interval
    accuracy: Accuracy
    relative_accuracy: Relative
    memory_bytes: int | None
    is_teacher: bool
    runtime_bytes: int | None

    @property
    def name(self) -> str:
        """How people tell it apart, e.g. "mobilenet_v3_small hinton_kd onnx int8"."""
        subject = self.row.subject
        asked = self.row.accelerator_requested
        fell_back = f" (no {asked})" if self.row.fell_back else ""
        mode = f" ({asked})" if not fell_back and (self.row.device.kind == "cuda" or asked == "gpu") else ""
        role = " (teacher)" if self.is_teacher else ""
        return f"{subject.name} {subject.format} {subject.precision}{mode}{fell_back}{role}"

    @property
    def size_bytes(self) -> int:
        """Of the model on disk, and of the runtime that it brings into an app as far as that is known."""
        return self.row.subject.size_bytes + (self.runtime_bytes or 0)


@dataclass(frozen=True)
class Excluded:
    """A row that cannot be chosen, and why; rows of one kind share the reason word for word."""

    row: Measurement
    reason: str


@dataclass(frozen=True)
class Limit:
    """One limit of a budget.

    Attributes:
        option: as on the command line.
        value: in the option's unit.
        of: the same figure of a candidate, at the end of its interval that is worse; None if it is not known.
        at_best: the same at the better end.
        is_least: True if the figure must not be below the value, False if it must not be above.
    """

    option: str
    value: float
    of: Callable[[Candidate], float | None]
    at_best: Callable[[Candidate], float | None]
    is_least: bool = False

    def looser(self, candidate: Candidate) -> float:
        """How many times looser the limit would have to be for a candidate: 1 if it is kept, infinite if unknown."""
        return self._excess(self.of(candidate))

    def keeps(self, candidate: Candidate) -> bool:
        """Whether a candidate is shown to be inside."""
        return self.looser(candidate) == 1

    def may_keep(self, candidate: Candidate) -> bool:
        """Whether a candidate is not shown to be outside."""
        return self._excess(self.at_best(candidate)) == 1

    def _excess(self, figure: float | None) -> float:
        if figure is None:
            return math.inf
        above, below = (self.value, figure) if self.is_least else (figure, self.value)
        return max(1.0, above / below) if below else (1.0 if not above else math.inf)


@dataclass(frozen=True)
class Budget:
    """What a candidate may take and must keep; None where nothing is asked.

    Attributes:
        max_latency_ms: holds for the upper end of the median's 95 % interval, so that the median is inside for sure.
        max_size_mb: of the model on disk, with its runtime in an app, in 10^6 bytes.
        min_relative_accuracy: of the reference's accuracy, above 0. Holds for the lower end of the interval, so that it
            is kept for sure.
        max_memory_mb: peak of the process, runtime included, in 10^6 bytes.
    """

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    min_relative_accuracy: float | None = None
    max_memory_mb: float | None = None

    def limits(self) -> tuple[Limit, ...]:
        """What is asked, one by one."""
        asked = (
            ("--max-latency-ms", self.max_latency_ms, _latest_ms, _soonest_ms, False),
            ("--max-size-mb", self.max_size_mb, _size_mb, _size_mb, False),
            (RELATIVE_ACCURACY, self.min_relative_accuracy, _least_relative, _most_relative, True),
            ("--max-memory-mb", self.max_memory_mb, _memory_mb, _memory_mb, False),
        )
        return tuple(
            Limit(option, value, of, at_best, is_least)
            for option, value, of, at_best, is_least in asked
            if value is not None
        )


@dataclass(frozen=True)
class Gap:
    """Accuracy of one minus accuracy of another.

    Attributes:
        half_width: of the 95 % interval of the difference.
        is_paired: True if it is known which images each answers rightly, or on how many the two can disagree at most
            (both are exports of one checkpoint); otherwise the images count as drawn for each, which makes the interval
            wider than it need be.
    """

    value: float
    half_width: float
    is_paired: bool

    @property
    def is_shown(self) -> bool:
        """Whether the two are shown to differ."""
        return abs(self.value) > self.half_width


@dataclass(frozen=True)
class Trade:
    """What the winner gives up against another, and what it gains.

    Attributes:
        accuracy: the winner's minus the other's.
        latency: the winner's median / the other's; below 1 is faster.
        size: the winner's bytes / the other's.
    """

    other: Candidate
    accuracy: Gap
    latency: Interval
    size: float


@dataclass(frozen=True)
class Contender:
    """A candidate that might be the winner, were its latency known better.

    Attributes:
        open_limits: that its interval lies across; empty if it is inside and not shown to be slower than the winner.
    """

    candidate: Candidate
    open_limits: tuple[Limit, ...]


@dataclass(frozen=True)
class LimitEffect:
    """What one limit does where nothing fits.

    Attributes:
        breaking: how many candidates break it.
        alone: the value it would need if all other limits stay; None if no value would do.
        alone_candidate: who would then fit.
    """

    limit: Limit
    breaking: int
    alone: float | None
    alone_candidate: Candidate | None


@dataclass(frozen=True)
class Choice:
    """The outcome.

    Attributes:
        reference: name of what relative accuracy is relative to.
        candidates: the fastest first.
        front: those that no other candidate beats in latency, size and accuracy at once.
        fitting: those inside the budget.
        tied: those that fit and are not shown to differ in accuracy from the most accurate that fits, the winner first.
        runner_up: the winner if there were no winner.
        contenders: who might win as well or instead, as far as the intervals tell.
        trades: the winner against the most accurate of all candidates and against the runner-up.
        limit_effects: if nothing fits: every limit, the one that most candidates break first; else empty.
        nearest_miss: if nothing fits: the candidate whose worst limit needs the least loosening.
    """

    limits: tuple[Limit, ...]
    reference: str
    candidates: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    front: tuple[Candidate, ...]
    fitting: tuple[Candidate, ...]
    tied: tuple[Candidate, ...]
    winner: Candidate | None
    runner_up: Candidate | None
    contenders: tuple[Contender, ...]
    trades: tuple[Trade, ...]
    limit_effects: tuple[LimitEffect, ...]
    nearest_miss: Candidate | None

    @property
    def measure(self) -> Measure:
        """What accuracy is, by the task of the candidates."""
        return share_among(candidate.row.subject.task for candidate in self.candidates)

    @cached_property
    def on_front(self) -> frozenset[Candidate]:
        """The front, to ask whether one of many candidates is on it."""
        return frozenset(self.front)


def choose(
    rows: Iterable[Measurement],
    budget: Budget,
    *,
    journal: Sequence[Measurement] = (),
    left_out: Sequence[Excluded] = (),
    carried: RuntimeBytes | None = None,
) -> Choice:
    """Choose among rows of one device, batch and thread count.

    Args:
        rows: in any order; of every artifact the newest valid row counts, or else the newest that is not
            wrong.
        budget: the limits.
        journal: where the teacher's accuracy is looked for beside `rows`; accuracy knows no device.
        left_out: rows that are no candidates for a reason of their own.
        carried: what runtimes add to an app; None where models alone count.
    """
    rows = in_order_of_time(rows)
    candidates, excluded, reference = candidates_among(
        rows, teachers_among(in_order_of_time([*journal, *rows])), carried
    )
    limits = budget.limits()
    fitting = [candidate for candidate in candidates if all(limit.keeps(candidate) for limit in limits)]
    ranked = _ranked(fitting)
    winner = ranked[0] if ranked else None
    others = _ranked([candidate for candidate in fitting if candidate is not winner])
    runner_up = others[0] if others else None
    nothing_fits = bool(candidates) and winner is None
    return Choice(
        limits=limits,
        reference=reference,
        candidates=tuple(candidates),
        excluded=(*left_out, *excluded),
        front=tuple(pareto_front(candidates)),
        fitting=tuple(fitting),
        tied=tuple(ranked),
        winner=winner,
        runner_up=runner_up,
        contenders=tuple(_contenders(candidates, fitting, winner, limits)),
        trades=tuple(_trades(winner, candidates, runner_up)) if winner else (),
        limit_effects=tuple(_effects(candidates, limits)) if nothing_fits else (),
        nearest_miss=min(candidates, key=lambda candidate: _loosening(candidate, limits)) if nothing_fits else None,
    )


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other candidate equals or beats in latency, size and accuracy, and beats in one of them.

    Taken by latency, a candidate is beaten if one before it is as small and as accurate. Of those before it only a
    staircase matters, on which accuracy rises with size, so each is held against one other.
    """
    sizes: list[int] = []
    accuracies: list[float] = []
    on_front: set[tuple[float, int, float]] = set()
    for figures in sorted({_figures(candidate) for candidate in candidates}):
        size, accuracy = figures[1], -figures[2]
        place = bisect.bisect_right(sizes, size)
        if place and accuracies[place - 1] >= accuracy:
            continue
        on_front.add(figures)
        end = bisect.bisect_right(accuracies, accuracy)
        start = bisect.bisect_left(sizes, size)
        sizes[start:end], accuracies[start:end] = [size], [accuracy]
    return [candidate for candidate in candidates if _figures(candidate) in on_front]


def is_shown_faster(candidate: Candidate, other: Candidate) -> bool:
    """Whether a candidate is shown to be faster than another, in turn where both were measured so."""
    if candidate.latency_ms.value >= other.latency_ms.value:
        return False
    return candidate.latency_ms.high < other.latency_ms.low or ratio_of(other.row, candidate.row).high < 1


def overtakes(candidate: Candidate, other: Candidate) -> bool:
    """Whether a candidate counts as faster than another whose latency has the lower upper end."""
    if candidate.latency_ms.value >= other.latency_ms.value:
        return False
    turns = ratios_by_turn(other.row, candidate.row)
    if turns is None:
        return is_shown_faster(candidate, other)
    return median(ratio for launch in turns for ratio in launch) < 1


def remedy(contenders: Iterable[Candidate], open_limits: Iterable[Limit] = ()) -> str:
    """What would narrow the intervals of candidates, in words.

    Args:
        contenders: whose intervals.
        open_limits: that those lie across; none if it is their latencies that overlap.
    """
    rows = [candidate.row for candidate in contenders]
    options = {limit.option for limit in open_limits}
    more_images = f"export with more held-out images than {min(row.subject.accuracy_images for row in rows)}"
    if options == {RELATIVE_ACCURACY}:
        return more_images
    if RELATIVE_ACCURACY in options:
        return f"{more_images}, and {remedy(contenders)}"
    fewest = min(len(row.launches) for row in rows)
    launches = ENOUGH_LAUNCHES if fewest < ENOUGH_LAUNCHES else 2 * fewest
    quieter = ", on a quieter machine" if any(row.validity in WIDE for row in rows) else ""
    return f"measure again with --launches {launches}{quieter}"


def accuracy_gap(candidate: Candidate, other: Candidate) -> Gap:
    """The difference of two accuracies with its 95 % interval.

    Independent proportions after Agresti and Caffo (2000), paired ones after Agresti and Min (2005): a few
    pseudo-observations keep the interval from vanishing at the ends. Where every pixel is answered, the share of a
    picture is anything from 0 to 1 and varies less than a picture that is right or wrong: the interval is too wide.
    """
    counts = paired(candidate.accuracy.answers, other.accuracy.answers)
    if counts is not None:
        images, won, lost = int(counts.num_images), int(counts.only_ours), int(counts.only_theirs)
        return Gap((won - lost) / images, Z * math.sqrt(won + lost + 1) / (images + 2), is_paired=True)
    value = candidate.accuracy.share - other.accuracy.share
    variance = _variance(candidate.accuracy) + _variance(other.accuracy)
    discordant = _discordant(candidate, other)
    if discordant is not None:
        images = candidate.accuracy.images
        at_most = (discordant * images + 1) / (images + 2) ** 2
        if at_most < variance:
            return Gap(value, Z * math.sqrt(at_most), is_paired=True)
    return Gap(value, Z * math.sqrt(variance), is_paired=False)


def accuracy_of(row: Measurement) -> Accuracy | None:
    """Accuracy of a row: measured where it was timed, unless the export knows it from more images."""
    subject = row.subject
    if row.measured_accuracy is not None and row.measured_images >= subject.accuracy_images:
        answers = row.answered.answers if row.answered else None
        return Accuracy(row.measured_accuracy, row.measured_images, row.measured_agreement, True, answers)
    if subject.accuracy is not None and subject.accuracy_images > 0:
        return Accuracy(subject.accuracy, subject.accuracy_images, subject.top1_agreement, False, subject.answers)
    return None


def relative(accuracy: Accuracy, reference: Accuracy) -> Relative:
    """One accuracy as a share of another, with its interval where both answered the same images."""
    kept = share_kept(accuracy.answers, reference.answers)
    value = _share(accuracy.share, reference.share) if kept is None else kept
    if accuracy is reference:
        return Relative(value, value, value, is_paired=True)
    interval = share_kept_interval(accuracy.answers, reference.answers)
    low, high = interval or (value, value)
    return Relative(value, low, high, is_paired=interval is not None)


def candidates_among(
    rows: Sequence[Measurement], teachers: Teachers, carried: RuntimeBytes | None = None
) -> tuple[list[Candidate], list[Excluded], str]:
    """(candidates, the fastest first; what is left out; name of the reference of their relative accuracy)."""
    excluded: list[Excluded] = []
    eligible: list[tuple[Measurement, Accuracy]] = []
    for row in best_known(rows):
        accuracy, reason = accuracy_of(row), _ineligible(row)
        if reason is None and accuracy is not None:
            eligible.append((row, accuracy))
        else:
            excluded.append(Excluded(row, reason or NO_ACCURACY.format_map(row.subject.measure.words)))
    best = max((accuracy for _, accuracy in eligible), key=lambda accuracy: accuracy.share, default=None)
    references = [_reference(row, teachers, best) for row, _ in eligible if best]
    candidates = [
        Candidate(
            row=row,
            latency_ms=latency_of(row),
            accuracy=accuracy,
            relative_accuracy=relative(accuracy, reference.accuracy),
            memory_bytes=row.peak_memory_bytes,
            is_teacher=row.subject.checkpoint_sha256 in teachers,
            runtime_bytes=carried.of(row.subject.format) if carried else 0,
        )
        for (row, accuracy), reference in zip(eligible, references, strict=True)
    ]
    names = sorted({reference.name for reference in references})
    return sorted(candidates, key=_speed), excluded, " or ".join(names)


def latency_of(row: Measurement) -> Interval:
    """The median per call with its interval; of one launch widened by what others may be off (`UNSEEN_LAUNCHES`).

    Raises:
        ValueError: no samples.
    """
    seen = median_interval(row.samples_by_launch)
    if seen.knows_launches:
        return seen
    factor = math.exp(math.hypot(math.log1p(seen.half_width), Z * UNSEEN_LAUNCHES))
    return replace(seen, low=seen.value / factor, high=seen.value * factor)


def best_known(rows: Iterable[Measurement]) -> list[Measurement]:
    """Of every artifact and accelerator the last valid row, or else the last that is not wrong, or else the last."""
    chosen: dict[Hashable, Measurement] = {}
    for row in rows:
        key = (row.subject.manifest_sha256, conditions_asked(row))
        if key not in chosen or _trust(row) >= _trust(chosen[key]):
            chosen[key] = row
    return list(chosen.values())


def _trust(row: Measurement) -> int:
    return 0 if row.wrong else 1 if row.validity in WIDE else 2


def _ineligible(row: Measurement) -> str | None:
    if row.wrong:
        return row.wrong
    if row.subject.format == "eager" and row.device.kind != "cuda":
        return BASE_ONLY
    return None


def teachers_among(journal: Sequence[Measurement]) -> Teachers:
    """Every measured teacher; names that two share end in a piece of the checkpoint's hash.

    Args:
        journal: the oldest row first.
    """
    rows_of: dict[str, list[Measurement]] = {sha: [] for sha in teachers_of(journal)}
    for row in journal:
        if row.subject.checkpoint_sha256 in rows_of:
            rows_of[row.subject.checkpoint_sha256].append(row)
    teachers = {sha: teacher for sha, rows in rows_of.items() if (teacher := _teacher(rows)) is not None}
    counts = Counter(teacher.name for teacher in teachers.values())
    return {
        sha: teacher if counts[teacher.name] == 1 else replace(teacher, name=f"{teacher.name} ({sha[:6]})")
        for sha, teacher in teachers.items()
    }


def _teacher(rows: Sequence[Measurement]) -> Reference | None:
    """A checkpoint as its eager row says, or else its newest."""
    known = [row for row in rows if accuracy_of(row)]
    eager = [row for row in known if row.subject.format == "eager"]
    for row in reversed(eager or known):
        accuracy = accuracy_of(row)
        if accuracy is not None and accuracy.share > 0:
            return Reference(f"the teacher {row.subject.name}", accuracy)
    return None


def _teacher_of(row: Measurement, teachers: Teachers) -> str | None:
    """The checkpoint that a row's accuracy is held against; a student from scratch is held against the only teacher."""
    if row.subject.checkpoint_sha256 in teachers:
        return row.subject.checkpoint_sha256
    if row.subject.teacher_sha256 is None and len(teachers) == 1:
        return next(iter(teachers))
    return row.subject.teacher_sha256 if row.subject.teacher_sha256 in teachers else None


def _reference(row: Measurement, teachers: Teachers, best: Accuracy) -> Reference:
    sha = _teacher_of(row, teachers)
    return teachers[sha] if sha else Reference(NO_TEACHER.format_map(row.subject.measure.words), best)


def _ranked(fitting: Sequence[Candidate]) -> list[Candidate]:
    """Those tied with the most accurate: the winner, then the others by the upper end of their latency."""
    tied = sorted(_tied(fitting), key=_at_latest)
    if not tied:
        return []
    winner = tied[0]
    for candidate in tied:
        if overtakes(candidate, winner):
            winner = candidate
    return [winner, *(candidate for candidate in tied if candidate is not winner)]


def _tied(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The most accurate and those whose accuracy is not shown to differ from it."""
    if not candidates:
        return []
    best = most_accurate(candidates)
    return [candidate for candidate in candidates if not accuracy_gap(best, candidate).is_shown]


def most_accurate(candidates: Iterable[Candidate]) -> Candidate:
    """Of several equally accurate ones the first, which is the fastest as the candidates come."""
    return max(candidates, key=lambda candidate: candidate.accuracy.share)


def _contenders(
    candidates: Sequence[Candidate], fitting: Sequence[Candidate], winner: Candidate | None, limits: Sequence[Limit]
) -> list[Contender]:
    """Who is not shown to be outside and, if inside, not shown to lose; those that are inside first."""
    contenders: list[Contender] = []
    inside = set(fitting)
    best_inside = most_accurate(fitting) if fitting else None
    for candidate in sorted(candidates, key=lambda candidate: candidate not in inside):
        if candidate is winner or not all(limit.may_keep(candidate) for limit in limits):
            continue
        # The most accurate if this one were inside.
        best = most_accurate([best_inside, candidate]) if best_inside else candidate
        if accuracy_gap(best, candidate).is_shown:
            continue
        if winner and not accuracy_gap(best, winner).is_shown and is_shown_faster(winner, candidate):
            continue
        contenders.append(Contender(candidate, tuple(limit for limit in limits if not limit.keeps(candidate))))
    return contenders


def _trades(winner: Candidate, candidates: Sequence[Candidate], runner_up: Candidate | None) -> list[Trade]:
    best = most_accurate(candidates)
    others = [best] if runner_up is None or runner_up is best else [best, runner_up]
    return [_trade(winner, other) for other in others if other is not winner]


def _trade(winner: Candidate, other: Candidate) -> Trade:
    return Trade(
        other=other,
        accuracy=accuracy_gap(winner, other),
        latency=ratio_of(other.row, winner.row),
        size=_share(winner.size_bytes, other.size_bytes),
    )


def _effects(candidates: Sequence[Candidate], limits: Sequence[Limit]) -> list[LimitEffect]:
    limit_effects: list[LimitEffect] = []
    for limit in limits:
        rest = [other for other in limits if other is not limit]
        inside = [candidate for candidate in candidates if all(other.keeps(candidate) for other in rest)]
        nearest = min(inside, key=limit.looser, default=None)
        needed = limit.of(nearest) if nearest else None
        breaking = sum(not limit.keeps(candidate) for candidate in candidates)
        limit_effects.append(LimitEffect(limit, breaking, needed, nearest if needed is not None else None))
    return sorted(limit_effects, key=lambda effect: -effect.breaking)


def _loosening(candidate: Candidate, limits: Sequence[Limit]) -> tuple[float, float]:
    """The worst factor, then all of them together."""
    factors = [limit.looser(candidate) for limit in limits]
    return max(factors), math.prod(factors)


def _figures(candidate: Candidate) -> tuple[float, int, float]:
    """What the front is about; less is better of each."""
    return candidate.latency_ms.value, candidate.size_bytes, -candidate.accuracy.share


def _discordant(candidate: Candidate, other: Candidate) -> float | None:
    """The largest share of images on which two exports of one checkpoint can differ: each may leave eager elsewhere."""
    ours, its = candidate.accuracy, other.accuracy
    same_images = (ours.images, ours.is_measured) == (its.images, its.is_measured)
    same_checkpoint = candidate.row.subject.checkpoint_sha256 == other.row.subject.checkpoint_sha256
    if not (same_images and same_checkpoint) or ours.agreement is None or its.agreement is None:
        return None
    return (1 - ours.agreement) + (1 - its.agreement)


def _variance(accuracy: Accuracy) -> float:
    share = (accuracy.share * accuracy.images + 1) / (accuracy.images + 2)
    return share * (1 - share) / (accuracy.images + 2)


def _speed(candidate: Candidate) -> tuple[float, int, str]:
    return candidate.latency_ms.value, candidate.size_bytes, candidate.name


def _at_latest(candidate: Candidate) -> tuple[float, int, str]:
    return candidate.latency_ms.high, candidate.size_bytes, candidate.name


def _latest_ms(candidate: Candidate) -> float:
    return candidate.latency_ms.high


def _soonest_ms(candidate: Candidate) -> float:
    return candidate.latency_ms.low


def _size_mb(candidate: Candidate) -> float | None:
    return None if candidate.runtime_bytes is None else candidate.size_bytes / 1e6


def _least_relative(candidate: Candidate) -> float:
    return candidate.relative_accuracy.low


def _most_relative(candidate: Candidate) -> float:
    return candidate.relative_accuracy.high


def _memory_mb(candidate: Candidate) -> float | None:
    return None if candidate.memory_bytes is None else candidate.memory_bytes / 1e6


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
