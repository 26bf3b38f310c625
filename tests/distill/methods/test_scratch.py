from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.methods import Outputs
from distill.methods.scratch import ScratchConfig
from tests.distill.methods.toy import built, samples


def test_equals_the_slow_numpy_twin(logits: Callable[..., torch.Tensor], softmax: Callable[..., np.ndarray]) -> None:
    student, labels = logits(7, 4, seed=0), torch.arange(7) % 4
    rows = zip(student.numpy(), labels.tolist(), strict=True)
    expected = np.mean([-np.log(softmax(row)[label]) for row, label in rows])
    assert built(ScratchConfig())((Outputs(student),), None, samples(labels))["label"].item() == pytest.approx(
        expected, abs=1e-10
    )
