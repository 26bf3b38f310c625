"""`process.json`: strict, its picture, and a run that follows it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.config import with_overrides
from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.figures.gallery import write_drawing
from distill.process.pathways import Grid
from distill.process.picture import draw
from distill.process.record import PICTURE, Process, Searcher
from distill.recipes import cifar_review_kd
from distill.vision.datasets import EchoPhantom


def process(grid: Grid, epochs: int = 4, levels: int = 3) -> Process:
    ways = grid.pathways(levels, levels)
    rows = np.random.default_rng(0).uniform(0, 2, (epochs, len(ways))).round(6)
    return Process(
        searched=Searcher(
            student="wrn_16_2",
            teacher="wrn_40_2",
            teacher_sha256="1" * 64,
            dataset=EchoPhantom(),
            train_sha256="2" * 64,
            num_train=9,
            held_back=0.2,
            seed=0,
        ),
        grid=grid,
        normalisation="softmax",
        pathways=ways,
        raw=tuple(tuple(row) for row in rows.tolist()),
        version="0",
    )


def test_a_run_takes_pathways_normalisation_and_factors_and_keeps_its_own_places(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    grid = Grid(pairs="lower_to_higher", transforms=("rectified",))
    process(grid).write(file)
    places = 'method.grid.taps.student=["a", "b", "c"]'
    settings = ["method.kind=distpro", f"method.process={file}", places, "method.mode=last_alpha"]
    config = with_overrides(cifar_review_kd(), settings)
    method: Any = config.method
    assert (method.grid.pairs, method.grid.transforms, method.normalisation) == (
        "lower_to_higher",
        ("rectified",),
        "softmax",
    )
    assert method.grid.taps.student == ("a", "b", "c")
    assert method.process.sha256 == sha256_of_file(file)
    assert method.process.raw == process(grid).raw
    assert method.process.searched == "wrn_16_2 from wrn_40_2"
    assert config.search_run() is None
    assert with_overrides(cifar_review_kd(), settings[::-1]) == config
    assert type(config).model_validate_json(config.model_dump_json()) == config


def test_settings_of_the_search_are_settings_and_no_file() -> None:
    plain = ["method.kind=distpro", 'method.process={"kind": "search", "epochs": 3}']
    method: Any = with_overrides(cifar_review_kd(), plain).method
    assert method.process.epochs == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "extra: unknown key"),
        ({"schema_version": 2}, "schema version 2"),
        ({"raw": [[1.0]]}, "every row of raw must have 6 factors"),
        ({"normalisation": "none"}, "normalisation"),
        ({"pathways": []}, "pathways"),
    ],
)
def test_a_file_that_is_not_one_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "process.json"
    whole = json.loads(process(Grid(pairs="lower_to_higher", transforms=("rectified",))).to_json())
    file.write_text(json.dumps(whole | change))
    with pytest.raises(UsageError, match=message):
        with_overrides(cifar_review_kd(), ["method.kind=distpro", f"method.process={file}"])


def test_other_methods_follow_none_and_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    process(Grid()).write(file)
    with pytest.raises(UsageError, match=r"review_kd follows no process; set method\.kind=distpro"):
        with_overrides(cifar_review_kd(), [f"method.process={file}"])
    with pytest.raises(UsageError, match=r"cannot read nowhere\.json"):
        with_overrides(cifar_review_kd(), ["method.kind=distpro", "method.process=nowhere.json"])


def test_the_picture_has_a_panel_for_each_level_of_the_teacher(tmp_path: Path) -> None:
    drawing = draw(process(Grid(), epochs=3, levels=2), PICTURE)
    panels = drawing.figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["level 1 of the teacher", "level 2 of the teacher"]
    assert [len(axes.lines) for axes in panels] == [7, 7]
    found = sum(np.asarray(line.get_ydata())[0] for axes in panels for line in axes.lines[:-1])
    assert found == pytest.approx(1)
    entry = write_drawing(tmp_path, drawing)
    with Image.open(tmp_path / entry.png) as picture:
        assert picture.width > 1000
    assert "12 pathways over 3 epochs of a search, wrn_16_2 from wrn_40_2" in entry.caption
