import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UsageError
from distill.vision.datasets.divide import divide

NAMES = ("a", "b", "c")


@given(st.integers(0, 2**32), st.integers(9, 60), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_no_patient_is_in_two_splits_and_every_class_in_each(
    seed: int, patients: int, validation: float, test: float
) -> None:
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    labels = owners % 3
    sides = divide(labels, owners, {"validation": validation, "test": test}, NAMES, seed=seed)
    assert sorted(np.concatenate(list(sides.values()))) == list(range(len(owners)))
    for indices in sides.values():
        assert set(labels[indices]) == {0, 1, 2}
    assert sum(len(set(owners[indices])) for indices in sides.values()) == patients


def test_shares_are_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    sides = divide(labels, None, {"validation": 0.2, "test": 0.1}, NAMES, seed=0)
    assert np.bincount(labels[sides["validation"]]).tolist() == [20, 10, 2]
    assert np.bincount(labels[sides["test"]]).tolist() == [10, 5, 1]


def test_the_seed_decides() -> None:
    labels = np.repeat([0, 1, 2], 20)

    def validation(seed: int) -> list[int]:
        return divide(labels, None, {"validation": 0.2}, NAMES, seed=seed)["validation"].tolist()

    assert validation(0) == validation(0) != validation(1)


def test_too_few_patients_of_a_class_are_named() -> None:
    owners = np.array([0, 0, 1, 1, 2, 3, 4, 5])
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    with pytest.raises(UsageError, match=r"class 'a' has 2 patients, too few for 3 splits"):
        divide(labels, owners, {"validation": 0.2, "test": 0.2}, NAMES, seed=0)


def test_patients_who_show_every_class_are_divided_too() -> None:
    labels, owners = np.tile([0, 1, 2], 6), np.repeat(np.arange(6), 3)
    sides = divide(labels, owners, {"validation": 0.3, "test": 0.2}, NAMES, seed=0)
    assert {name: len(set(owners[indices].tolist())) for name, indices in sides.items()} == {
        "train": 3,
        "validation": 2,
        "test": 1,
    }
    assert all(set(labels[indices].tolist()) == {0, 1, 2} for indices in sides.values())


def test_a_class_of_few_patients_is_in_every_split_if_it_can_be() -> None:
    """Two patients show the second class, one picture of many each: whichever cut parts them is taken."""
    owners = np.repeat(np.arange(8), 5)
    labels = np.where(np.isin(np.arange(40), [0, 5]), 1, 0)
    for seed in range(10):
        sides = divide(labels, owners, {"validation": 0.25}, ("a", "b"), seed=seed)
        assert all(set(labels[indices].tolist()) == {0, 1} for indices in sides.values())
