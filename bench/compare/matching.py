"""Two sets of measurements held against each other, row by row: which belong together, and what the pairs show."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from bench.compare.conditions import conditions_asked, newest, unlike, what
from bench.record import Measurement
from bench.timing.intervals import Interval, Verdict
from bench.timing.ratio import ratio_of

LEVEL = 0.05
"""Share of wrong ones to be expected among the verdicts other than "no difference shown"."""

Overall = Literal["faster", "slower", "no difference shown", "some faster, some slower"]
AgainstLimit = Literal["within", "undecided", "beyond"]


@dataclass(frozen=True)
class Pair:
    """Two rows of like conditions.

    Attributes:
        ratio: new / base with its own 95 % interval; above 1 is slower. See `bench.timing.ratio`.
        p_value: how likely a ratio so far from 1 is if there is no difference.
        verdict: faster or slower only if the pair stands out among all pairs of the comparison.
    """

    base: Measurement
    new: Measurement
    ratio: Interval
    p_value: float
    verdict: Verdict

    def against(self, max_slowdown: float) -> AgainstLimit:
        """Whether the pair is slower by more than a share.

        Beyond only if the verdict is slower and the whole interval lies above the limit; undecided if it reaches above.
        """
        if self.ratio.high <= 1 + max_slowdown:
            return "within"
        clear = self.verdict == "slower" and self.ratio.low > 1 + max_slowdown
        return "beyond" if clear else "undecided"


@dataclass(frozen=True)
class NotCompared:
    """A row without a partner it could be held against, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All pairs, and the rows that are in none."""

    pairs: tuple[Pair, ...]
    not_compared: tuple[NotCompared, ...]

    @property
    def overall(self) -> Overall:
        """What the verdicts of all pairs amount to."""
        verdicts = {pair.verdict for pair in self.pairs}
        if {"faster", "slower"} <= verdicts:
            return "some faster, some slower"
        if "faster" in verdicts:
            return "faster"
        return "slower" if "slower" in verdicts else "no difference shown"


def compare_rows(base: Sequence[Measurement], new: Sequence[Measurement]) -> Comparison:
    """Pair the newest rows of both sides and judge every pair.

    Rows belong together if they are of one artifact, else of one checkpoint, format and precision, else of one name,
    format and precision; always under the conditions of `bench.compare.conditions`.

    Each pair has its own 95 % interval. A pair is called faster or slower only if it passes the procedure of Benjamini
    and Hochberg (1995) over all pairs at `LEVEL`: without any true difference, a comparison of many pairs calls
    anything different in at most 5 % of the cases, as a comparison of one pair does.
    """
    matched, not_compared = _match(newest(base), newest(new))
    ratios = [ratio_of(base_row, new_row) for base_row, new_row in matched]
    p_values = [p_value(ratio) for ratio in ratios]
    pairs = [
        Pair(base_row, new_row, ratio, p, ratio.verdict if stands_out else "no difference shown")
        for (base_row, new_row), ratio, p, stands_out in zip(
            matched, ratios, p_values, standing_out(p_values), strict=True
        )
    ]
    return Comparison(tuple(pairs), tuple(not_compared))


def p_value(ratio: Interval) -> float:
    """Two-sided; below 0.05 exactly if the 95 % interval leaves 1 out.

    The interval's ends lie Student's 97.5 % quantile away on the log scale. Quantiles of other levels are Student's,
    by the normal approximation of Wallace (1959).
    """
    reach = math.log(ratio.high / ratio.value)
    distance = abs(math.log(ratio.value))
    if reach == 0:
        return 1.0 if distance == 0 else 0.0
    end = _student_from_normal(NormalDist().inv_cdf(0.975), ratio.freedom)
    return 2 * NormalDist().cdf(-_normal_from_student(distance / reach * end, ratio.freedom))


def standing_out(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests show something at `LEVEL` (Benjamini and Hochberg)."""
    ranked = sorted(p_values)
    passed = [p for rank, p in enumerate(ranked, start=1) if p <= LEVEL * rank / len(ranked)]
    return [bool(passed) and p <= passed[-1] for p in p_values]


def _normal_from_student(t: float, freedom: float) -> float:
    if math.isinf(freedom):
        return t
    return (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t**2 / freedom))


def _student_from_normal(z: float, freedom: float) -> float:
    if math.isinf(freedom):
        return z
    return math.sqrt(freedom * math.expm1((z * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom))


Matched = list[tuple[Measurement, Measurement]]
Identity = Callable[[Measurement], Hashable]


def _named(row: Measurement) -> Hashable:
    return row.subject.name, row.subject.format, row.subject.precision


IDENTITIES: tuple[Identity, ...] = (
    lambda row: row.subject.manifest_sha256,
    lambda row: (row.subject.checkpoint_sha256, row.subject.format, row.subject.precision),
    _named,
)
"""What makes two rows belong together, the strictest first."""


def _match(base: Sequence[Measurement], new: Sequence[Measurement]) -> tuple[Matched, list[NotCompared]]:
    belonging, left, right = _belonging(base, new)
    matched: Matched = []
    not_compared: list[NotCompared] = []
    for base_row, new_row in belonging:
        refusal = _refusal(base_row, new_row)
        if refusal is None:
            matched.append((base_row, new_row))
        else:
            not_compared.append(NotCompared(what(base_row), refusal))
    in_base, in_new = _by_name(base), _by_name(new)
    not_compared += [NotCompared(what(row), _why_alone(row, in_new[_named(row)], here="A", there="B")) for row in left]
    told = {_named(row) for row in left}
    not_compared += [
        NotCompared(what(row), _why_alone(row, in_base[_named(row)], here="B", there="A"))
        for row in right
        if _named(row) not in told
    ]
    return matched, not_compared


def _belonging(
    base: Sequence[Measurement], new: Sequence[Measurement]
) -> tuple[Matched, list[Measurement], list[Measurement]]:
    """(pairs under the same conditions asked for, what is left of base, what is left of new)."""
    left, right = list(base), list(new)
    counterparts: dict[int, Measurement] = {}
    for identity in IDENTITIES:
        ours, theirs = _groups(left, identity), _groups(right, identity)
        for key, rows in ours.items():
            # Two of a kind on one side: nobody can say which belongs to which.
            if len(rows) == 1 and len(theirs[key]) == 1:
                counterparts[id(rows[0])] = theirs[key][0]
        taken = {id(row) for row in counterparts.values()}
        left = [row for row in left if id(row) not in counterparts]
        right = [row for row in right if id(row) not in taken]
    return [(row, counterparts[id(row)]) for row in base if id(row) in counterparts], left, right


def _by_name(rows: Sequence[Measurement]) -> defaultdict[Hashable, list[Measurement]]:
    named: defaultdict[Hashable, list[Measurement]] = defaultdict(list)
    for row in rows:
        named[_named(row)].append(row)
    return named


def _groups(rows: Sequence[Measurement], identity: Identity) -> defaultdict[Hashable, list[Measurement]]:
    groups: defaultdict[Hashable, list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[(identity(row), conditions_asked(row))].append(row)
    return groups


def _refusal(base: Measurement, new: Measurement) -> str | None:
    """Why two rows that belong together cannot be held against each other, or None."""
    failed = [f"failed in {side}: {row.reason}" for side, row in (("A", base), ("B", new)) if not row.samples_ms]
    if failed:
        return "; ".join(failed)
    wrong = [f"{row.wrong} in {side}" for side, row in (("A", base), ("B", new)) if row.wrong]
    if wrong:
        return "; ".join(wrong)
    return _in_words(base, new, here="A", there="B")


def _why_alone(row: Measurement, namesakes: Sequence[Measurement], *, here: str, there: str) -> str:
    if not namesakes:
        return f"only in {here}"
    nearest = min(namesakes, key=lambda namesake: len(unlike(row, namesake)))
    different = _in_words(row, nearest, here=here, there=there)
    return different or "several artifacts have this name, format and precision; compare journals that hold one each"


def _in_words(row: Measurement, other: Measurement, *, here: str, there: str) -> str | None:
    fields = [f"{field.field}: {field.base} in {here}, {field.new} in {there}" for field in unlike(row, other)]
    return f"unlike conditions: {'; '.join(fields)}" if fields else None
