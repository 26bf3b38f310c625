"""`method.hints=FILE`: which methods take hints, and where they then read."""

from pathlib import Path
from typing import Any

import pytest

from distill.config import with_overrides
from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.hints.record import Block, Cluster, HintData, Hints, Segmentation
from distill.recipes import cifar_afd, cifar_crd_at_kd, demo
from distill.taps import TapPairs
from distill.vision.datasets import EchoPhantom

BLOCKS = 5


def write(folder: Path, activation: str = "post", count: int = 3) -> Path:
    """Hints of a network of five blocks: the first ones."""
    suffix = ":pre" if activation == "pre" else ""
    members = [(number,) for number in range(1, count)] + [tuple(range(count, BLOCKS + 1))]
    blocks = tuple(
        Block(name=f"block:{number}{suffix}", place=f"b.{number}", channels=4, cluster=min(number, count))
        for number in range(1, BLOCKS + 1)
    )
    hints = Hints(
        teacher="mine",
        teacher_sha256="0" * 64,
        network="Net",
        preprocess=demo().preprocess,
        data=HintData(config=EchoPhantom(), train_sha256="1" * 64, num_train=9, num_images=9, seed=0),
        metric="cka",
        clustered_by="cka",
        activation=activation,  # type: ignore[arg-type]
        contiguous=False,
        position="centre",
        points=tuple(blocks[one[(len(one) - 1) // 2] - 1].name for one in members),
        clusters=tuple(Cluster(blocks=one, hint=one[(len(one) - 1) // 2], contiguous=True) for one in members),
        stage_ends=(),
        segmentation=Segmentation(last_blocks=(5,), hints=(3,), agreement=0.5),
        near_ties=(),
        blocks=blocks,
        similarity=((1.0,) * BLOCKS,) * BLOCKS,
        version="0",
    )
    path = folder / f"hints-{activation}-{count}.json"
    hints.write(path)
    return path


def taps(kind: str, file: Path, *more: str) -> TapPairs:
    method: Any = with_overrides(demo(), [f"method.hints={file}", f"method.kind={kind}", *more]).method
    return method.taps


@pytest.mark.parametrize("kind", ["attention_transfer", "fitnet", "variational_information", "neuron_selectivity"])
def test_the_teacher_is_read_at_its_hints_and_the_student_where_its_stages_end(kind: str, tmp_path: Path) -> None:
    file = write(tmp_path)
    found = taps(kind, file)
    assert (found.student, found.teacher) == ("stage-ends", ("block:1", "block:2", "block:4"))
    assert found.hints is not None
    assert (found.hints.sha256, found.hints.teacher_sha256, found.hints.metric) == (
        sha256_of_file(file),
        "0" * 64,
        "cka",
    )
    before = taps(kind, write(tmp_path, "pre"))
    assert (before.student, before.teacher[0]) == ("stage-ends:pre", "block:1:pre")
    assert len(taps(kind, write(tmp_path, count=4)).teacher) == 4


def test_a_row_of_candidates_is_kept(tmp_path: Path) -> None:
    method: Any = with_overrides(cifar_afd(), [f"method.hints={write(tmp_path)}"]).method
    assert (method.taps.student, method.taps.teacher) == ("blocks", ("block:1", "block:2", "block:4"))
    method = with_overrides(cifar_afd(), [f"method.hints={write(tmp_path, 'pre')}"]).method
    assert method.taps.student == "blocks:pre"


def test_of_a_sum_those_parts_take_them_that_compare_rows(tmp_path: Path) -> None:
    plain: Any = cifar_crd_at_kd().method
    method: Any = with_overrides(cifar_crd_at_kd(), [f"method.hints={write(tmp_path)}"]).method
    then = {part.method.kind: part for part in plain.parts}
    for part in method.parts:
        if part.method.kind == "attention_transfer":
            assert part.method.taps.teacher == ("block:1", "block:2", "block:4")
            assert part.weight == then["attention_transfer"].weight
        else:
            assert part == then[part.method.kind]


def test_the_order_of_settings_and_the_way_through_json_do_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path)
    settings = [f"method.hints={file}", "method.kind=attention_transfer", "method.power=1"]
    config = with_overrides(demo(), settings)
    assert with_overrides(demo(), settings[::-1]) == config
    assert with_overrides(config, []) == config
    plain = with_overrides(demo(), settings[1:])
    assert config.identity() != plain.identity()


def test_a_run_without_hints_keeps_its_identity() -> None:
    config = with_overrides(demo(), ["method.kind=attention_transfer"])
    raw = config.model_dump(mode="json")
    assert raw["method"]["taps"].pop("hints") is None
    assert type(config).model_validate_json(config.model_dump_json()).identity() == config.identity()


@pytest.mark.parametrize(
    ("kind", "more", "activation", "message"),
    [
        ("hinton_kd", (), "post", "hinton_kd cannot use hints: it does not read rows of places"),
        ("similarity_preserving", (), "post", r"it compares one place of each network, stage-end:-1 of the student's"),
        ("contrastive_representation", (), "post", "it compares one place of each network, pooled"),
        ("activation_boundaries", (), "post", "Search again with --activation pre"),
        (
            "attention_transfer",
            ('method.taps.student=["a", "b"]',),
            "post",
            r"2 places of the student \(a, b\), and there are 3 hints.* --clusters 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: str, more: tuple[str, ...], activation: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        taps(kind, write(tmp_path, activation), *more)


def test_a_sum_without_such_a_part_is_refused(tmp_path: Path) -> None:
    parts = '[{"method": {"kind": "scratch"}}, {"method": {"kind": "contrastive_representation"}}]'
    settings = ["method.kind=weighted_sum", f"method.parts={parts}", f"method.hints={write(tmp_path)}"]
    with pytest.raises(
        UsageError, match=r"no part of the sum can use hints: scratch: .*; contrastive_representation: "
    ):
        with_overrides(demo(), settings)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot read nowhere\.json"):
        taps("attention_transfer", Path("nowhere.json"))
