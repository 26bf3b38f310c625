import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.config import RunConfig, with_overrides
from distill.data import load_data
from distill.errors import UsageError
from distill.recipes import recipe
from distill.studies import short_demo
from distill.vision.datasets import EchoPhantom, Split, SplitName
from distill.vision.preprocess import Preprocess

Folder = Callable[..., Path]


def config(root: Path, *assignments: str) -> RunConfig:
    return with_overrides(recipe("folder-scratch"), [f"dataset.path={root}", "image.size_px=32", *assignments])


def test_equal_pictures_in_two_splits_are_said_once_and_a_clean_set_needs_no_word(
    picture_folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    root = picture_folder()
    load_data(config(root))
    assert capfd.readouterr().err == ""
    shutil.copy(root / "train" / "dark" / "1.png", root / "validation" / "dark" / "1 [copy].png")
    load_data(config(root))
    said = capfd.readouterr().err
    assert "1 of 13 validation pictures are in train as well" in said
    assert "train/dark/1.png and validation/dark/1 [copy].png" in said


@pytest.mark.parametrize("memory_limit_mib", [4096, 0])
def test_unreadable_pictures_of_all_splits_are_named_together(picture_folder: Folder, memory_limit_mib: int) -> None:
    root = picture_folder()
    (root / "train" / "dark" / "1.png").write_bytes(b"")
    (root / "validation" / "bright" / "2.png").write_bytes(b"<html>")
    with pytest.raises(UsageError) as caught:
        load_data(config(root, f"dataset.memory_limit_mib={memory_limit_mib}"))
    assert "train/dark/1.png (the file is empty); validation/bright/2.png (it is a web page" in str(caught.value)


def test_a_test_split_is_loaded_where_there_is_one(picture_folder: Folder) -> None:
    root = picture_folder()
    assert load_data(config(root)).test is None
    data = load_data(config(root, "dataset.test_share=0.3"))
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 12, 4)


def test_a_batch_of_one_is_refused(picture_folder: Folder) -> None:
    with pytest.raises(UsageError, match="a batch of one image cannot be normalised"):
        load_data(config(picture_folder(), "training.batch_size=1"))


@pytest.mark.parametrize("label", [-100, 10])
def test_a_label_that_is_no_class_is_refused(label: int, monkeypatch: pytest.MonkeyPatch) -> None:
    load = EchoPhantom.load

    def spoilt(self: EchoPhantom, split: SplitName, preprocess: Preprocess) -> Split:
        found = load(self, split, preprocess)
        labels = np.where(np.arange(len(found)) == 7, label, found.labels)
        return replace(found, labels=labels) if split == "validation" else found

    monkeypatch.setattr(EchoPhantom, "load", spoilt)
    config = with_overrides(
        short_demo(), ["dataset.train_patients=1", "dataset.validation_patients=1", "image.size_px=32"]
    )
    with pytest.raises(UsageError, match=rf"image 7 of the validation split has the label {label} .* expected 0 to 9"):
        load_data(config)
