import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.config import with_overrides
from distill.data_page.page import render
from distill.data_page.survey import look_at
from distill.data_page.suspects import find_suspects
from distill.errors import UsageError
from distill.recipes import recipe
from distill.train import train
from distill.vision.datasets.image_folder import ImageFolder
from tests.conftest import MakeOnce

Folder = Callable[..., Path]


@pytest.fixture
def sorted_by_brightness(make_once: MakeOnce) -> Path:
    """A folder with `data/`, and `run/` of a network that tells dark from bright pictures."""

    def make(path: Path) -> None:
        rng = np.random.default_rng(0)
        for split in ("train", "validation"):
            for level, name in ((30, "dark"), (200, "bright")):
                folder = path / "data" / split / name
                folder.mkdir(parents=True)
                for number in range(16):
                    pixels = rng.integers(level, level + 40, (32, 32, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
        settings = ["model=resnet18", "image.size_px=32", "training.epochs=6", "training.batch_size=8", "device=cpu"]
        config = with_overrides(recipe("folder-scratch"), [f"dataset.path={path / 'data'}", *settings])
        train(config, path / "run")

    return make_once("sorted-by-brightness", make)


def test_a_picture_in_the_wrong_folder_is_doubted_and_named(sorted_by_brightness: Path, tmp_path: Path) -> None:
    pytest.importorskip("cleanlab", reason="needs the extra `suspects`")
    root = tmp_path / "data"
    shutil.copytree(sorted_by_brightness / "data", root)
    shutil.move(root / "validation" / "bright" / "3.png", root / "validation" / "dark" / "wrong.png")
    config = ImageFolder(path=str(root))
    doubts = find_suspects(sorted_by_brightness / "run", config)
    (suspect,) = doubts.suspects
    assert suspect.name == "validation/dark/wrong.png"
    assert suspect.file == root / "validation" / "dark" / "wrong.png"
    assert (suspect.label, suspect.rather) == ("dark", "bright")
    assert suspect.confidence < 0.5
    assert not suspect.is_trained_on
    page = render(look_at(config), doubts)
    assert "resnet18 in" in page
    assert "validation/dark/wrong.png" in page


def test_a_network_of_other_classes_is_not_asked(sorted_by_brightness: Path, picture_folder: Folder) -> None:
    pytest.importorskip("cleanlab", reason="needs the extra `suspects`")
    with pytest.raises(UsageError, match="was trained for the classes bright, dark; the folder has a, b"):
        find_suspects(sorted_by_brightness / "run", ImageFolder(path=str(picture_folder(classes=("a", "b")))))


def test_without_cleanlab_the_extra_is_named(picture_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(UsageError, match=r"pip install 'pocket-distill\[suspects\]'"):
        find_suspects(Path("run"), ImageFolder(path=str(picture_folder())))
