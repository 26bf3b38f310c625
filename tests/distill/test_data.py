from dataclasses import replace

import numpy as np
import pytest

from distill.config import with_overrides
from distill.data import load_data
from distill.errors import UsageError
from distill.recipes import demo
from distill.vision.datasets import EchoPhantom, Split, SplitName
from distill.vision.preprocess import Preprocess


@pytest.mark.parametrize("label", [-100, 10])
def test_a_label_that_is_no_class_is_refused(label: int, monkeypatch: pytest.MonkeyPatch) -> None:
    load = EchoPhantom.load

    def spoilt(self: EchoPhantom, split: SplitName, preprocess: Preprocess) -> Split:
        found = load(self, split, preprocess)
        labels = np.where(np.arange(len(found)) == 7, label, found.labels)
        return replace(found, labels=labels) if split == "validation" else found

    monkeypatch.setattr(EchoPhantom, "load", spoilt)
    config = with_overrides(demo(), ["dataset.train_patients=1", "dataset.validation_patients=1", "image.size_px=32"])
    with pytest.raises(UsageError, match=rf"image 7 of the validation split has the label {label} .* expected 0 to 9"):
        load_data(config)
