"""Trials in the storage, on an objective that costs nothing: what is found, what is shared, what the dead leave."""

import math
from pathlib import Path

import pytest

from distill.recipes import demo_scratch
from distill.tuning.record import Search, SearchData
from distill.tuning.varied import parse

optuna = pytest.importorskip("optuna", reason="optuna is not installed")

from distill.tuning.trials import UNPRUNED_TRIALS, Claim, Trials  # noqa: E402

BEST_RATE = 0.02
DATA = SearchData(train_sha256="a", validation_sha256="b", num_train=80, num_validation=20)
VARY = ["training.optimizer.lr=log:0.0001:1", "training.schedule.kind=choice:cosine,one_cycle"]


def search(seed: int = 0, epochs: int = 4) -> Search:
    config = demo_scratch()
    varied = parse(VARY, config, epochs_per_trial=epochs)
    return Search(config=config, varied=varied, epochs=epochs, held_back=0.2, seed=seed, data=DATA, version="1")


def planted(claim: Claim) -> float:
    """Best at one rate, and better with one of the schedules."""
    rate, schedule = claim.values["training.optimizer.lr"], claim.values["training.schedule.kind"]
    assert isinstance(rate, float)
    return 0.9 * math.exp(-(math.log10(rate / BEST_RATE) ** 2)) * (1 if schedule == "one_cycle" else 0.8)


def run_all(trials: Trials, total: int) -> None:
    while (claim := trials.next(total)) is not None:
        with claim:
            claim.report({4: planted(claim)})
            claim.complete()


def test_the_planted_optimum_is_found(tmp_path: Path) -> None:
    trials = Trials(tmp_path, search())
    run_all(trials, 40)
    best = max(trials.all(), key=lambda trial: trial.score or 0)
    assert best.values["training.schedule.kind"] == "one_cycle"
    assert abs(math.log10(float(best.values["training.optimizer.lr"]) / BEST_RATE)) < 0.15
    later, first = trials.all()[-10:], trials.all()[:10]
    assert sum(trial.score or 0 for trial in later) > sum(trial.score or 0 for trial in first)


def test_a_trial_belongs_to_whoever_holds_it_and_the_dead_ones_are_taken_over(tmp_path: Path) -> None:
    ours, theirs = Trials(tmp_path, search()), Trials(tmp_path, search())
    first, second = ours.next(3), theirs.next(3)
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (1, 2)
    second.report({1: 0.25})
    second.lock.release()  # as the kernel does when a process dies
    with first:
        first.report({4: 0.5})
        first.complete()
    again = ours.next(3)
    assert again is not None
    assert (again.number, again.values, again.scores) == (2, second.values, {1: 0.25})
    third = theirs.next(3)
    assert third is not None
    assert third.number == 3
    assert ours.next(3) is None
    for claim in (again, third):
        with claim:
            claim.report({1: 0.25, 4: 0.5})
            claim.complete()
    assert [trial.number for trial in ours.all()] == [1, 2, 3]
    assert {trial.ended for trial in ours.all()} == {"complete"}
    assert ours.all()[1].scores == {1: 0.25, 4: 0.5}


def test_a_search_that_was_interrupted_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    whole = Trials(tmp_path / "whole", search())
    run_all(whole, 14)
    for total in (1, 6, 13):
        run_all(Trials(tmp_path / "parts", search()), total)
    killed = Trials(tmp_path / "parts", search()).next(14)
    assert killed is not None
    killed.lock.release()
    run_all(Trials(tmp_path / "parts", search()), 14)
    parts = Trials(tmp_path / "parts", search()).all()
    assert [trial.values for trial in parts] == [trial.values for trial in whole.all()]
    assert len({trial.values["training.optimizer.lr"] for trial in parts}) == 14
    other = Trials(tmp_path / "other", search(seed=1))
    run_all(other, 1)
    assert other.all()[0].values != parts[0].values


def test_what_lies_below_the_median_is_hopeless_after_a_quarter_of_its_epochs(tmp_path: Path) -> None:
    trials = Trials(tmp_path, search(epochs=8))
    for _ in range(UNPRUNED_TRIALS):
        with trials.next(99) as claim:  # type: ignore[union-attr]
            claim.report({epoch: 0.5 + epoch / 100 for epoch in range(1, 9)})
            assert not claim.is_hopeless()
            claim.complete()
    with trials.next(99) as claim:  # type: ignore[union-attr]
        claim.report({1: 0.1, 2: 0.1})
        assert not claim.is_hopeless()
        claim.report({3: 0.1})
        assert claim.is_hopeless()
        claim.prune()
    with trials.next(99) as claim:  # type: ignore[union-attr]
        claim.prune(diverged="the loss is no longer finite")
    *_, pruned, diverged = trials.all()
    assert (pruned.ended, pruned.score, diverged.ended, diverged.score) == ("pruned", 0.1, "diverged", None)
