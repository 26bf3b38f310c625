import pytest

from export.quantize.enlarged import stay_float
from export.quantize.steps import Kind, Step


def steps(*kinds: Kind) -> list[Step[int]]:
    """Each takes what the one before gives; the first takes 0."""
    return [Step(number, kind, (number,), (number + 1,)) for number, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        (("weighted", "resize"), {1}),
        (("weighted", "elementwise", "resize", "elementwise", "other"), {2, 3, 4}),
        (("weighted", "resize", "elementwise", "resize"), {1, 2, 3}),
        (("resize", "weighted"), set()),
        (("resize", "weighted", "elementwise"), set()),
        (("weighted", "other"), set()),
        ((), set()),
    ],
)
def test_what_enlarges_the_answer_stays_in_float_and_all_after_it(kinds: tuple[Kind, ...], found: set[int]) -> None:
    assert stay_float(steps(*kinds)) == found


def test_what_is_enlarged_and_then_added_to_something_is_no_answer() -> None:
    low, high = Step(0, "weighted", ("picture",), ("low",)), Step(1, "weighted", ("picture",), ("high",))
    enlarged, added = Step(2, "resize", ("high",), ("large",)), Step(3, "elementwise", ("low", "large"), ("sum",))
    assert stay_float([low, high, enlarged, added]) == set()
    assert stay_float([low, high, enlarged, added, Step(4, "resize", ("sum",), ("answer",))]) == {4}
