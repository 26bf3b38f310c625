"""What repeats allow to be said: means with intervals, and whether a technique differs from the baseline at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy import stats

from distill.checkpoint import Training
from distill.study.run import Result
from distill.vision.tasks import Measure, share_among

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        std: sample standard deviation; None for a single run.
        half_width: of the 95 % t interval of the mean; None for a single run.
    """

    count: int
    mean: float
    std: float | None
    half_width: float | None


@dataclass(frozen=True)
class Difference:
    """A technique against its baseline, paired by seed.

    Attributes:
        baseline: the technique that it is compared with.
        mean: technique - baseline, averaged over the common seeds.
        half_width: of the 95 % t interval of the mean, not corrected; None for a single pair.
        p_value: of the paired t test, Holm-corrected over the techniques of one student that have this baseline or
            answer the same question; None below two pairs.
        verdict: "better", "worse" or "no difference shown".
    """

    baseline: str
    mean: float
    half_width: float | None
    pairs: int
    p_value: float | None
    verdict: str


@dataclass(frozen=True)
class Line:
    """One student under one technique.

    Attributes:
        student: a network, or a group of the study.
        family: of the method.
        measure: what the runs are compared by, a share in [0, 1]: what judged their epochs where that is one.
        best, last: the measure of the best and of the last epoch.
        others: the other metrics of the best epoch, by name; those that all runs have.
        relative: the measure of the best epoch as a share of the teacher's; None where no teacher's is known.
        median_batch_ms: median over all epochs of all runs of the epoch's median; None where it was not kept.
        min_epoch_s: the shortest epoch of all runs.
        against_baseline, last_against_baseline: differences of the best and of the last epoch's measure.
    """

    student: str
    technique: str
    family: str
    measure: Measure
    best: Estimate
    last: Estimate
    others: Mapping[str, Estimate]
    relative: Estimate | None
    median_batch_ms: float | None
    min_epoch_s: float | None
    against_baseline: Difference | None
    last_against_baseline: Difference | None
    num_parameters: int
    failed: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, standard deviation and t interval of independent repeats; at least one value."""
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Estimate(count, mean, None, None)
    std = float(np.std(values, ddof=1))
    return Estimate(count, mean, std, float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * std / count**0.5)


def paired_p_value(differences: Sequence[float]) -> float | None:
    """Two-sided paired t test of the mean difference against 0; None below two pairs."""
    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values, in the given order, each in [0, 1]."""
    order = np.argsort(p_values)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def compare(results: Sequence[Result], *, baseline: str) -> list[Line]:
    """One line per student and technique, in the study's order, with its paired difference from its baseline.

    Args:
        results: of all cells.
        baseline: the technique that cells are compared with that name no other.
    """
    measure = compared_by(results)
    students = list(dict.fromkeys(result.cell.student for result in results))
    lines: list[Line] = []
    for student in students:
        of_student = [result for result in results if result.cell.student == student]
        techniques = list(dict.fromkeys(result.cell.technique for result in of_student))
        runs = {name: _by_seed(of_student, name) for name in techniques}
        compared = {
            cell.technique: (base, cell.question or base)
            for cell in (result.cell for result in of_student)
            if (base := cell.baseline or baseline) != cell.technique
        }
        best, last = (_differences(runs, compared, value) for value in (_best(measure), _last(measure)))
        for name in techniques:
            if runs[name]:
                repeats = [result for result in of_student if result.cell.technique == name]
                lines.append(_line(student, name, measure, runs[name], (best.get(name), last.get(name)), repeats))
    return lines


def compared_by(results: Sequence[Result]) -> Measure:
    """What the cells are compared by: what judges all of them, or else what networks of their task are compared by."""
    configs = [result.cell.config for result in results]
    found = {config.share for config in configs}
    return found.pop() if len(found) == 1 else share_among(config.task.name for config in configs)


@dataclass(frozen=True)
class Lead:
    """The technique of a student with the highest mean, and what can be told apart from it.

    Attributes:
        alike: techniques that no difference is shown from, in the study's order.
        behind: those that are shown to be worse.
    """

    student: str
    technique: str
    best: Estimate
    alike: tuple[str, ...]
    behind: tuple[str, ...]


def leads(results: Sequence[Result]) -> list[Lead]:
    """For each student with several finished techniques the leading one, compared with every other by paired tests.

    Holm-corrected over the others. A technique leads only with as many seeds as any has.
    """
    found: list[Lead] = []
    value = _best(compared_by(results))
    for student in dict.fromkeys(result.cell.student for result in results):
        of_student = [result for result in results if result.cell.student == student]
        techniques = list(dict.fromkeys(result.cell.technique for result in of_student))
        runs = {name: by_seed for name in techniques if (by_seed := _by_seed(of_student, name))}
        if len(runs) < 2:
            continue
        most = max(map(len, runs.values()))
        complete = {
            name: estimate([value(run) for run in by_seed.values()])
            for name, by_seed in runs.items()
            if len(by_seed) == most
        }
        first = max(complete, key=lambda name: complete[name].mean)
        others = [name for name in runs if name != first]
        differences = _differences(runs, {name: (first, first) for name in others}, value)
        behind = tuple(name for name in others if name in differences and differences[name].verdict == "worse")
        alike = tuple(name for name in others if name not in behind)
        found.append(Lead(student, first, complete[first], alike, behind))
    return found


def _best(measure: Measure) -> Callable[[Training], float]:
    return lambda run: getattr(run.best, measure.name)


def _last(measure: Measure) -> Callable[[Training], float]:
    return lambda run: getattr(run.last, measure.name)


def _by_seed(results: Sequence[Result], technique: str) -> dict[int, Training]:
    return {
        result.cell.config.seed: result.card.training
        for result in results
        if result.cell.technique == technique and result.card and result.card.training
    }


def _differences(
    runs: Mapping[str, dict[int, Training]],
    compared: Mapping[str, tuple[str, str]],
    value: Callable[[Training], float],
) -> dict[str, Difference]:
    """By technique; `compared` names for each its baseline and the family of tests that it is corrected in."""
    pairs: dict[str, list[float]] = {}
    for name, (base, _) in compared.items():
        ours, theirs = runs[name], runs.get(base, {})
        pairs[name] = [value(ours[seed]) - value(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    raw = {name: p for name, values in pairs.items() if (p := paired_p_value(values)) is not None}
    corrected: dict[str, float] = {}
    for family in dict.fromkeys(family for _, family in compared.values()):
        tested = [name for name in raw if compared[name][1] == family]
        corrected |= dict(zip(tested, holm([raw[name] for name in tested]), strict=True))
    return {
        name: Difference(
            compared[name][0],
            float(np.mean(values)),
            estimate(values).half_width,
            len(values),
            corrected.get(name),
            _verdict(values, corrected.get(name)),
        )
        for name, values in pairs.items()
        if values
    }


def _verdict(differences: Sequence[float], p_value: float | None) -> str:
    if p_value is None or p_value > 1 - CONFIDENCE:
        return "no difference shown"
    return "better" if np.mean(differences) > 0 else "worse"


def _line(
    student: str,
    technique: str,
    measure: Measure,
    runs: dict[int, Training],
    differences: tuple[Difference | None, Difference | None],
    repeats: Sequence[Result],
) -> Line:
    def over_seeds(value: Callable[[Training], float]) -> Estimate:
        return estimate([value(training) for training in runs.values()])

    known = [{name for name, value in run.best if isinstance(value, float)} for run in runs.values()]
    batches_ms = [value for result in repeats if result.card for value in result.times.batches_ms]
    epochs_s = [value for result in repeats if result.card for value in result.times.epochs_s]
    return Line(
        student=student,
        technique=technique,
        family=repeats[0].cell.config.method.family,
        measure=measure,
        best=over_seeds(_best(measure)),
        last=over_seeds(_last(measure)),
        others={
            name: over_seeds(lambda run, name=name: getattr(run.best, name))
            for name in set.intersection(*known) - {measure.name}
        },
        relative=_relative(repeats, measure),
        median_batch_ms=median(batches_ms) if batches_ms else None,
        min_epoch_s=min(epochs_s, default=None),
        against_baseline=differences[0],
        last_against_baseline=differences[1],
        num_parameters=next(result.card.num_parameters for result in repeats if result.card),
        failed=sum(result.card is None for result in repeats),
    )


def teachers_share(result: Result, measure: Measure) -> float | None:
    """The measure of a cell's teacher, in [0, 1]; None if it is not known."""
    return None if result.teacher is None else getattr(result.teacher, measure.name, None)


def _relative(repeats: Sequence[Result], measure: Measure) -> Estimate | None:
    shares = [
        getattr(result.card.training.best, measure.name) / theirs
        for result in repeats
        if result.card and result.card.training and (theirs := teachers_share(result, measure))
    ]
    return estimate(shares) if shares else None
