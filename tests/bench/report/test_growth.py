"""A report of many rows grows with the rows and not with their square, counted in comparisons and bytes."""

import json
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import numpy as np
import pytest

from bench.compare.choice import Budget, choose
from bench.compare.choose import as_document
from bench.compare.matching import compare_rows
from bench.record import Measurement
from bench.report.html import page_content
from tests.bench.conftest import answering, make_launch

FEW, MANY = 32, 128
GROWTH = 1.1
"""Calls may grow so much faster than the rows: rows differ a little in what is to be told of them."""

IN_TURN = 4
"""Rows that a machine holds at a time."""

WHERE_ROWS_MEET = ("bench/compare/", "bench/report/", "bench/timing/ratio.py", "export/artifact/answers.py")
"""What is done to one row alone (resampling, bars) is left out: it would drown what is done to pairs of them."""


def comparisons_of(work: Callable[[], object]) -> int:
    """How many functions are called where rows are held against each other."""
    count = 0

    def tell(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call" and any(place in frame.f_code.co_filename for place in WHERE_ROWS_MEET)

    sys.setprofile(tell)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture
def journal(make_measurement) -> Callable[..., list[Measurement]]:
    """journal(count, apart=False): rows that are all tied, whose latencies overlap and of which each is a teacher and
    every other one eager; `apart`: each on a device of its own."""

    def make(count: int, *, apart: bool = False) -> list[Measurement]:
        rng = np.random.default_rng(count)
        rows: list[Measurement] = []
        for number in range(count):
            samples_ms = tuple((1 + number / count) * (1 + 0.4 * rng.random(20)))
            launch = make_launch(20).model_copy(
                update={"together": f"group {number // IN_TURN}", "burst_counts": (2,) * 10}
            )
            rows.append(
                make_measurement(
                    f"network {number}",
                    format="eager" if number % 2 else "onnx",
                    samples_ms=samples_ms,
                    launches=(launch,),
                    size_bytes=6_000_000 + number,
                    accuracy=0.9 + 0.0001 * number,
                    teacher_sha256=f"checkpoint of network {(number + 1) % count}",
                    **answering(range(number)),
                )
            )
        if not apart:
            return rows
        return [
            row.model_copy(update={"device": row.device.model_copy(update={"name": f"device {number}"})})
            for number, row in enumerate(rows)
        ]

    return make


def all_choices(rows: Sequence[Measurement]) -> list[str]:
    budgets = (Budget(max_latency_ms=1.5), Budget(max_latency_ms=0.1))
    found = [choose(rows, budget) for budget in budgets]
    return [json.dumps(as_document(choice, rows[0].device, None)) for choice in found]


@pytest.mark.parametrize("apart", [False, True], ids=["one device", "each on a device of its own"])
def test_the_page_of_four_times_the_rows_takes_four_times_the_comparisons_and_bytes(journal, apart: bool):
    pages = [journal(count, apart=apart) for count in (FEW, MANY)]
    contents: list[str] = []
    comparisons = [
        comparisons_of(lambda rows=rows: contents.append(json.dumps(page_content(rows)["data"]))) for rows in pages
    ]
    assert comparisons[1] / comparisons[0] <= GROWTH * MANY / FEW
    assert len(contents[1]) / len(contents[0]) <= GROWTH * MANY / FEW


@pytest.mark.parametrize(
    "work",
    [
        all_choices,
        lambda rows: compare_rows(rows[::2], rows[1::2]),
        lambda rows: compare_rows(rows, [row.model_copy(update={"threads": 2}) for row in rows]),
    ],
    ids=["choose", "compare with nothing alike", "compare under other conditions"],
)
def test_a_choice_and_a_comparison_grow_with_the_rows(journal, work):
    comparisons = [comparisons_of(lambda count=count: work(journal(count))) for count in (FEW, MANY)]
    assert comparisons[1] / comparisons[0] <= GROWTH * MANY / FEW
