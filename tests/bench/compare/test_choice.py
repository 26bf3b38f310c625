import numpy as np
import pytest

from bench.compare.choice import BASE_ONLY, NO_ACCURACY, Budget, accuracy_gap, choose, latency_of, pareto_front, remedy
from bench.timing.intervals import median_interval
from tests.bench.conftest import IMAGES, answering, make_launch

TEACHER = "checkpoint of teacher"


@pytest.fixture
def make_row(make_measurement):
    """make_row(name, latency_ms, accuracy, size_mb, **fields): three launches that know their median well."""

    def make(name, latency_ms, accuracy, size_mb, **fields):
        samples = tuple(latency_ms * (1 + 0.0001 * (turn % 7)) for turn in range(90))
        fields = {"accuracy_images": 10_000, "teacher_sha256": TEACHER, "samples_ms": samples, **fields}
        return make_measurement(
            name,
            launch_counts=(30, 30, 30),
            accuracy=accuracy,
            size_bytes=int(size_mb * 1e6),
            **fields,
        )

    return make


@pytest.fixture
def matrix(make_row):
    """A teacher and students small ones fast, large ones accurate; `middle` beats `clumsy` in everything."""
    return [
        make_row("teacher", 30.0, 0.95, 45, format="eager", teacher_sha256=None),
        make_row("small", 0.5, 0.85, 1),
        make_row("middle", 2.0, 0.90, 3),
        make_row("clumsy", 2.5, 0.88, 4),
        make_row("large", 6.0, 0.94, 6),
    ]


def names(candidates):
    return [one.row.subject.name for one in candidates]


def test_two_budgets_have_two_winners(matrix):
    tight, loose = choose(matrix, Budget(max_latency_ms=3)), choose(matrix, Budget(max_latency_ms=10))
    assert (names([tight.winner, tight.runner_up]), names(tight.fitting)) == (
        ["middle", "clumsy"],
        ["small", "middle", "clumsy"],
    )
    assert names([loose.winner, loose.runner_up]) == ["large", "middle"]
    assert names(choose(matrix, Budget(max_latency_ms=10, max_size_mb=2)).fitting) == ["small"]


def test_the_front_holds_whoever_is_not_beaten_in_everything(matrix):
    found = choose(matrix, Budget(max_latency_ms=3))
    assert names(found.front) == ["small", "middle", "large"]


def test_equal_candidates_stand_both_on_the_front(make_row):
    twins = choose([make_row("one", 1.0, 0.9, 2), make_row("two", 1.0, 0.9, 2)], Budget(max_latency_ms=3))
    assert names(pareto_front(twins.candidates)) == ["one", "two"]


def test_the_winner_says_what_it_gives_up_against_the_most_accurate_and_the_runner_up(matrix):
    found = choose(matrix, Budget(max_latency_ms=3))
    most_accurate, runner_up = found.trades
    assert names([most_accurate.other, runner_up.other]) == ["large", "clumsy"]
    assert most_accurate.accuracy.value == pytest.approx(-0.04)
    assert most_accurate.accuracy.is_shown
    assert most_accurate.latency.value == pytest.approx(1 / 3, rel=1e-3)
    assert most_accurate.size == pytest.approx(0.5)


def test_relative_accuracy_is_to_the_teacher_wherever_it_was_measured(matrix, make_row):
    students = [row for row in matrix if row.subject.name != "teacher"]
    phone = matrix[0].device.model_copy(update={"kind": "android", "name": "Phone"})
    teacher = matrix[0].model_copy(update={"device": phone})
    found = choose(students, Budget(min_relative_accuracy=0.98), journal=[teacher, *students])
    assert names(found.fitting) == ["large"]
    assert found.winner.relative_accuracy.value == pytest.approx(0.94 / 0.95)
    assert found.reference == "the teacher teacher"


def test_without_a_teacher_the_most_accurate_candidate_is_the_reference_and_that_is_said(matrix):
    found = choose(matrix[1:], Budget(min_relative_accuracy=0.95))
    assert "the most accurate candidate" in found.reference
    assert names(found.fitting) == ["middle", "large"]


def test_a_student_from_scratch_is_held_against_the_only_teacher(matrix, make_row):
    found = choose([*matrix, make_row("scratch", 1.0, 0.475, 2, teacher_sha256=None)], Budget(max_latency_ms=9))
    scratch = next(one for one in found.candidates if one.row.subject.name == "scratch")
    assert scratch.relative_accuracy.value == pytest.approx(0.5)


def test_two_teachers_of_one_name_are_two_references(matrix, make_row):
    other = make_row("teacher", 30.0, 0.5, 45, format="eager", checkpoint_sha256="other data", manifest_sha256="o")
    pupil = make_row("pupil", 1.0, 0.45, 1, teacher_sha256="other data")
    found = choose([*matrix, other, pupil], Budget(max_latency_ms=9))
    assert found.reference == "the teacher teacher (checkp) or the teacher teacher (other )"
    assert next(one.relative_accuracy.value for one in found.candidates if one.row is pupil) == pytest.approx(0.9)


def restless(make_row, name, middle_ms, accuracy, **fields):
    """A row whose launches lie 30 % apart."""
    samples = tuple(latency for latency in (middle_ms / 1.3, middle_ms, middle_ms * 1.3) for _ in range(30))
    return make_row(name, middle_ms, accuracy, 2, validity="noisy", samples_ms=samples, **fields)


def test_badly_known_rows_count_by_the_upper_end_of_their_interval_and_wrong_ones_never(make_row, matrix):
    noisy = restless(make_row, "noisy", 2.6, 0.93)
    drifting = make_row("drifting", 1.0, 0.86, 2, validity="drifting")
    throttled = make_row("throttled", 1.0, 0.94, 2, validity="throttled")
    rows = [*matrix, noisy, drifting, throttled]
    choice = choose(rows, Budget(max_latency_ms=3))
    assert "noisy" not in names(choice.fitting)
    assert "drifting" in names(choice.fitting)
    assert "throttled" not in names(choice.candidates)
    assert names([choose(rows, Budget(max_latency_ms=9)).winner]) == ["large"]


def test_whoever_might_win_were_it_known_better_is_named_with_what_would_tell(make_row, matrix):
    accurate, poor = restless(make_row, "accurate", 2.6, 0.93), restless(make_row, "poor", 2.6, 0.5)
    choice = choose([*matrix, accurate, poor], Budget(max_latency_ms=3))
    assert names([choice.winner]) == ["middle"]
    # A poor one would not win however fast it is, and `clumsy` is shown to be less accurate than `middle`.
    (contender,) = choice.contenders
    assert contender.candidate.row is accurate
    assert [limit.option for limit in contender.open_limits] == ["--max-latency-ms"]
    assert remedy([contender.candidate]) == "measure again with --launches 5, on a quieter machine"
    (alone,) = choose([accurate], Budget(max_latency_ms=3)).contenders
    assert alone.candidate.row is accurate
    # Where nothing it could turn out to be is inside, the answer is known.
    assert choose([*matrix, accurate], Budget(max_latency_ms=0.6)).contenders == ()


def test_whoever_is_inside_and_not_shown_to_be_slower_than_the_winner_is_a_contender(make_row):
    quick, even = make_row("quick", 1.0, 0.9, 2), restless(make_row, "even", 1.1, 0.9)
    choice = choose([quick, even, make_row("slow", 2.0, 0.9, 2)], Budget(max_latency_ms=3))
    assert names([choice.winner, *(contender.candidate for contender in choice.contenders)]) == ["quick", "even"]
    assert choice.contenders[0].open_limits == ()


def in_turn(row):
    """The row as one whose launches took bursts of five in turn with others."""
    launches = tuple(
        make_launch(30).model_copy(update={"burst_counts": (5,) * 6, "together": f"round {number}"})
        for number in range(3)
    )
    return row.model_copy(update={"launches": launches})


def test_the_ratio_in_turn_decides_who_of_two_badly_known_rows_is_faster(make_row):
    # The machine is half as fast in some turns: both rows see the same ones.
    machine = np.repeat([1, 1, 2, 1, 2, 1, 1, 1, 2, 1, 1, 2, 1, 2, 1, 1, 1, 1], 5)
    alike = [make_row(name, 1.0, 0.9, 2, validity="noisy", samples_ms=tuple(1.0 * machine)) for name in "ab"]
    # `b` is 20 % faster in every turn, and one launch of it has an upper half that widens its interval.
    wide = np.where(np.arange(90) < 30, 1.3, 1.0) * machine * 0.8
    rows = [in_turn(alike[0]), in_turn(alike[1].model_copy(update={"samples_ms": tuple(wide.tolist())}))]
    first, second = (latency_of(row) for row in rows)
    assert first.high < second.high
    assert names([choose(rows, Budget(max_latency_ms=99)).winner]) == ["b"]
    apart = [row.model_copy(update={"launches": tuple(make_launch(30) for _ in range(3))}) for row in rows]
    assert names([choose(apart, Budget(max_latency_ms=99)).winner]) == ["a"]


def test_one_launch_is_taken_to_hide_what_launches_of_a_restless_machine_differ_by(make_measurement):
    row = make_measurement(samples_ms=tuple(1 + 0.001 * (turn % 7) for turn in range(90)))
    assert median_interval(row.samples_by_launch).half_width < 0.01
    assert 0.2 < latency_of(row).half_width < 0.4
    assert choose([row], Budget(max_latency_ms=1.1)).winner is None
    assert choose([row], Budget(max_latency_ms=1.4)).winner is not None


def test_a_teacher_that_fits_is_a_candidate_and_marked(matrix, make_row):
    exported = make_row("teacher", 8.0, 0.95, 45, teacher_sha256=None)
    found = choose([*matrix, exported], Budget(max_latency_ms=10, min_relative_accuracy=0.995))
    assert found.winner.name == "teacher onnx fp32 (teacher)"


def test_accuracies_that_are_not_shown_to_differ_are_tied_and_the_fastest_wins(make_row):
    rows = [make_row("slow", 2.0, 0.91, 2, accuracy_images=1000), make_row("fast", 1.0, 0.90, 2, accuracy_images=1000)]
    found = choose(rows, Budget(max_latency_ms=3))
    assert (names(found.tied), names([found.winner, found.runner_up])) == (["fast", "slow"], ["fast", "slow"])
    many = [
        row.model_copy(update={"subject": row.subject.model_copy(update={"accuracy_images": 100_000})}) for row in rows
    ]
    assert names(choose(many, Budget(max_latency_ms=3)).tied) == ["slow"]


def test_exports_of_one_checkpoint_are_compared_on_the_same_images(make_row):
    fields = {"checkpoint_sha256": "one", "accuracy_images": 1000}
    rows = [
        make_row("net", 2.0, 0.91, 4, top1_agreement=1.0, **fields),
        make_row("net", 1.0, 0.90, 1, precision="int8", top1_agreement=0.995, **fields),
    ]
    found = choose(rows, Budget(max_latency_ms=3))
    fast, slow = found.candidates
    gap = accuracy_gap(slow, fast)
    assert (gap.is_paired, gap.is_shown) == (True, True)
    # Six of 1000 pairs of predictions may differ, one and two images added: 1.96 sqrt(6) / 1002.
    assert gap.half_width == pytest.approx(1.96 * 6**0.5 / 1002, rel=1e-3)
    assert found.winner.row.subject.precision == "fp32"


def test_perfect_accuracies_still_have_an_interval(make_row):
    one, two = choose(
        [make_row("a", 1.0, 1.0, 1, accuracy_images=20), make_row("b", 2.0, 1.0, 1, accuracy_images=20)],
        Budget(max_latency_ms=9),
    ).candidates
    assert 0 < accuracy_gap(one, two).half_width < 0.2


def test_the_upper_end_of_the_interval_counts_against_the_limit(make_measurement):
    # Three launches that are 10 % apart: the median is 2.0, but it may well be above 2.1.
    samples = tuple(value for value in (1.9, 2.0, 2.1) for _ in range(30))
    row = make_measurement(samples_ms=samples, launch_counts=(30, 30, 30))
    found = choose([row], Budget(max_latency_ms=2.05))
    assert found.candidates[0].latency_ms.value == 2.0
    assert found.winner is None
    assert choose([row], Budget(max_latency_ms=3)).winner is not None


def test_where_nothing_fits_the_worst_limit_and_the_nearest_miss_are_named(matrix):
    found = choose(matrix, Budget(max_latency_ms=1.0, min_relative_accuracy=0.93, max_size_mb=5))
    assert found.winner is None
    # 0.93 of 0.95 is 0.8835: small and clumsy break it, and all but small break the latency.
    assert [(effect.limit.option, effect.breaking) for effect in found.limit_effects] == [
        ("--max-latency-ms", 3),
        ("--min-relative-accuracy", 2),
        ("--max-size-mb", 1),
    ]
    latency, accuracy, size = found.limit_effects
    assert latency.alone == pytest.approx(2.0, rel=0.01)
    assert accuracy.alone == pytest.approx(0.85 / 0.95)
    assert (size.alone, size.alone_candidate) == (None, None)
    assert names([found.nearest_miss, latency.alone_candidate]) == ["small", "middle"]


def test_memory_that_was_not_measured_keeps_no_limit_of_memory(make_row):
    unknown = make_row("unknown", 1.0, 0.9, 1, peak_memory_bytes=None)
    assert choose([unknown], Budget(max_latency_ms=3)).winner is not None
    found = choose([unknown, make_row("known", 1.0, 0.8, 1, peak_memory_bytes=10**8)], Budget(max_memory_mb=100))
    assert names(found.fitting) == ["known"]
    assert choose([unknown], Budget(max_memory_mb=100)).limit_effects[0].alone is None


def test_what_cannot_be_chosen_is_left_out_with_its_reason(matrix, make_row, make_measurement):
    emulated = matrix[0].device.model_copy(update={"emulated": True})
    rows = [
        *matrix,
        make_row("untrained", 0.1, None, 1, accuracy_images=0),
        make_row("virtual", 0.1, 0.99, 1, device=emulated),
        make_row("hot", 0.1, 0.99, 1, validity="throttled"),
        make_measurement("broken", samples_ms=(), validity="failed"),
    ]
    found = choose(rows, Budget(max_latency_ms=3))
    assert {one.row.subject.name: one.reason for one in found.excluded} == {
        "teacher": BASE_ONLY,
        "untrained": NO_ACCURACY.format(title="accuracy"),
        "virtual": "emulated device: its times say nothing of any product",
        "hot": "its row is throttled",
        "broken": "its row is failed",
    }
    assert names([found.winner]) == ["middle"]


def test_the_newest_valid_row_counts_and_a_later_noisy_one_does_not_hide_it(make_row):
    old = make_row("net", 9.0, 0.9, 1)
    valid = make_row("net", 1.0, 0.9, 1)
    noisy = make_row("net", 50.0, 0.9, 1, validity="noisy")
    found = choose([old, valid, noisy], Budget(max_latency_ms=3))
    assert [round(one.latency_ms.value) for one in found.candidates] == [1]
    assert found.excluded == ()
    assert [round(one.latency_ms.value) for one in choose([old, noisy], Budget(max_latency_ms=3)).candidates] == [9]
    throttled = make_row("net", 1.0, 0.9, 1, validity="throttled")
    (known,) = choose([noisy, throttled], Budget(max_latency_ms=3)).candidates
    assert known.row is noisy


def test_accuracy_is_what_was_measured_where_it_was_timed_unless_the_export_saw_more_images(make_row):
    row = make_row("net", 1.0, 0.9, 1, accuracy_images=1000, measured_accuracy=0.8, measured_images=1000)
    (one,) = choose([row], Budget(max_latency_ms=3)).candidates
    assert (one.accuracy.share, one.accuracy.is_measured) == (0.8, True)
    fewer = row.model_copy(update={"measured_images": 50})
    (one,) = choose([fewer], Budget(max_latency_ms=3)).candidates
    assert (one.accuracy.share, one.accuracy.images, one.accuracy.is_measured) == (0.9, 1000, False)


def test_without_candidates_there_is_no_winner_and_no_miss(make_measurement):
    found = choose([make_measurement(accuracy=None)], Budget(max_latency_ms=1))
    assert (found.candidates, found.winner, found.limit_effects, found.nearest_miss) == ((), None, (), None)


@pytest.mark.parametrize(
    ("wrong_of_student", "kept"),
    [
        (range(58, 68), True),  # loses 8 of 1,200 images, and never errs elsewhere than the teacher nearly: shown
        (range(500, 570), False),  # as many wrong as the teacher's 60 and ten more, but others: not shown
    ],
)
def test_accuracy_is_kept_for_sure_or_not_by_the_images_that_only_one_of_both_answers(make_row, wrong_of_student, kept):
    teacher = make_row(
        "teacher", 30.0, 1 - 60 / IMAGES, 45, format="eager", teacher_sha256=None, **answering(range(60))
    )
    wrong = set(wrong_of_student) | (set(range(60)) if kept else set())
    student = make_row("student", 1.0, 1 - len(wrong) / IMAGES, 1, **answering(wrong))
    choice = choose([teacher, student], Budget(min_relative_accuracy=0.98))
    (candidate,) = choice.candidates
    assert candidate.relative_accuracy.is_paired
    assert candidate.relative_accuracy.low < candidate.relative_accuracy.value < candidate.relative_accuracy.high
    assert candidate.relative_accuracy.value > 0.98
    assert (choice.winner is not None) == kept
    if not kept:
        (contender,) = choice.contenders
        assert remedy([contender.candidate], contender.open_limits) == "export with more held-out images than 1200"


def test_answers_to_other_images_are_not_paired(make_row):
    teacher = make_row("teacher", 30.0, 0.95, 45, format="eager", teacher_sha256=None, **answering(range(60)))
    student = make_row("student", 1.0, 0.94, 1, **answering(range(72), order="others"))
    (candidate,) = choose([teacher, student], Budget(min_relative_accuracy=0.98)).candidates
    relative = candidate.relative_accuracy
    assert (relative.is_paired, relative.low, relative.high) == (False, relative.value, relative.value)


def test_two_models_are_tied_by_the_images_that_only_one_of_both_answers(make_row):
    good = make_row("good", 2.0, 1 - 60 / IMAGES, 2, **answering(range(60)))
    subset = make_row("subset", 1.0, 1 - 72 / IMAGES, 2, **answering(range(72)))
    others = make_row("others", 1.0, 1 - 72 / IMAGES, 2, **answering(range(600, 672)))
    candidates = choose([good, subset, others], Budget(max_latency_ms=9)).candidates
    by_name = {candidate.row.subject.name: candidate for candidate in candidates}
    best, worse, elsewhere = (by_name[name] for name in ("good", "subset", "others"))
    assert accuracy_gap(best, worse).is_shown
    assert not accuracy_gap(best, elsewhere).is_shown
    assert accuracy_gap(best, elsewhere).value == pytest.approx(12 / IMAGES)
