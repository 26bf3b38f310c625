import numpy as np
import pytest

from export.artifact.paired import Paired, exceeded_with, paired_interval, share_interval, share_score
from tests.export.proof.gate import LOSSES, SIZES, simulate

LIMIT = 0.99


def counts(*cells: int) -> Paired:
    return Paired(*map(np.asarray, cells))


def likelihood(cells: tuple[int, ...], probabilities: tuple[np.ndarray, ...]) -> np.ndarray:
    pairs = zip(cells, probabilities, strict=True)
    return sum((count * np.log(np.maximum(p, 1e-300)) for count, p in pairs if count), np.zeros_like(probabilities[0]))


@pytest.mark.parametrize("share", [0.9, 0.99, 1.0, 1.2])
@pytest.mark.parametrize("cells", [(900, 10, 15, 75), (270, 3, 8, 19), (270, 0, 5, 30), (50, 5, 2, 3), (9, 0, 1, 0)])
def test_the_score_has_the_variance_of_the_likeliest_cells_under_the_hypothesis(
    cells: tuple[int, int, int, int], share: float
) -> None:
    """Against a search over all of them."""
    both, only_theirs = np.meshgrid(np.linspace(0.0005, 0.9995, 2000), np.geomspace(1e-6, 0.9, 3000), indexing="ij")
    only_ours = share * only_theirs + (share - 1) * both
    neither = 1 - both - only_theirs - only_ours
    possible = (only_ours >= 0) & (neither >= 0)
    found = np.where(possible, likelihood(cells, (both, only_ours, only_theirs, neither)), -np.inf).argmax()
    n = sum(cells)
    variance = (share - 1) * both.flat[found] + (1 + share) * only_theirs.flat[found]
    difference = cells[0] + cells[1] - share * (cells[0] + cells[2])
    assert share_score(counts(*cells), share) == pytest.approx(difference / np.sqrt(n * share * variance), rel=0.02)


def test_the_score_of_equal_accuracies_is_mcnemars() -> None:
    assert share_score(counts(800, 12, 30, 158), 1.0) == pytest.approx((12 - 30) / np.sqrt(12 + 30))


@pytest.mark.parametrize("cells", [(900, 10, 15, 75), (100, 0, 0, 0), (5, 2, 0, 0), (0, 1, 3, 6)])
def test_the_interval_ends_where_the_score_rejects(cells: tuple[int, int, int, int]) -> None:
    found = share_interval(counts(*cells))
    assert found is not None
    low, high = found
    assert share_score(counts(*cells), low * 0.999) > exceeded_with(0.025) > share_score(counts(*cells), low * 1.001)
    assert share_score(counts(*cells), high * 0.999) > -exceeded_with(0.025) > share_score(counts(*cells), high * 1.001)
    wider = share_interval(counts(*cells), error=0.0125)
    assert wider is not None
    assert wider[0] < low < high < wider[1]


def test_a_model_that_is_never_right_has_no_share() -> None:
    assert share_interval(counts(0, 3, 0, 7)) is None
    assert share_score(counts(0, 0, 0, 7), LIMIT) == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gate_hardly_ever_says_the_contrary_of_the_truth(loss: float, size: int) -> None:
    """However many times more images are taken: 300 at first, then twice as many until there are no more."""
    share = simulate(loss, size, first=min(300, size))
    wrong = share["kept"] if loss > 1 - LIMIT else share["lost"]
    assert wrong <= 0.05
    assert sum(share.values()) == pytest.approx(1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("churn", [0.0, 0.002, 0.01, 0.05])
def test_at_the_limit_itself_either_answer_is_given_in_5_percent(size: int, churn: float) -> None:
    share = simulate(1 - LIMIT, size, first=min(300, size), churn=churn)
    assert share["kept"] <= 0.05
    assert share["lost"] <= 0.055


def test_more_images_decide() -> None:
    for loss, answer in ((0.0, "kept"), (0.03, "lost")):
        shares = [simulate(loss, size)[answer] for size in SIZES]
        assert shares == sorted(shares)
        assert shares[-1] > 0.95


def test_the_interval_holds_the_true_difference_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        theirs = rng.random(300) < 0.85
        flips = rng.random(300)
        ours = np.where(theirs, flips > 0.03, flips < 0.05)  # true difference: 0.15 * 0.05 - 0.85 * 0.03
        low, high = paired_interval(ours, theirs)
        inside += low <= 0.15 * 0.05 - 0.85 * 0.03 <= high
    assert 0.93 <= inside / 2000 <= 0.99


def test_the_interval_is_like_a_bootstrap_where_answers_differ_and_has_a_width_where_none_does() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(1000) < 0.8
    ours = theirs ^ (rng.random(1000) < 0.1)
    picks = rng.integers(0, 1000, (4000, 1000))
    bootstrap = np.quantile((ours[picks].mean(1) - theirs[picks].mean(1)), [0.025, 0.975])
    np.testing.assert_allclose(paired_interval(ours, theirs), bootstrap, atol=0.004)
    low, high = paired_interval(theirs, theirs)
    assert -0.01 < low < 0 < high < 0.01
    assert paired_interval(ours, theirs) == tuple(-end for end in reversed(paired_interval(theirs, ours)))
