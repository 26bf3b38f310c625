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
