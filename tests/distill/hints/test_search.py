"""The command from end to end: a teacher is searched, a run takes its hints, and only from this teacher."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from distill.__main__ import app
from distill.checkpoint import Card
from distill.config import with_overrides
from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.hints.features import blocks_of, drawn, pooled, pooled_features
from distill.hints.options import HintSearch
from distill.hints.record import Hints, listed
from distill.hints.search import remarks
from distill.recipes import demo
from distill.run_folder import State
from distill.train import train
from distill.vision.datasets import EchoPhantom
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from tests.conftest import MakeOnce

PREPROCESS = Preprocess(size_px=32, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
DATA = ("dataset.train_patients=2", "dataset.validation_patients=1")


def guest(weights: Path, network: str = "resnet20") -> list[str]:
    """Settings of a run with this teacher."""
    of_teacher = [f"teacher.model={network}", f"teacher.weights={weights}", "teacher.image.size_px=32"]
    return ["teacher.kind=library", *of_teacher, *DATA, "image.size_px=32", "allow_weak_teacher=true"]


def written(path: Path, *, seed: int, network: str = "resnet20") -> None:
    torch.manual_seed(seed)
    torch.save(build(network, num_classes=10, preprocess=PREPROCESS).network.state_dict(), path)


@pytest.fixture(scope="module")
def teacher(make_once: MakeOnce) -> Path:
    """Weights of a ResNet-20."""
    return make_once("hints-teacher.pth", lambda path: written(path, seed=0))


@pytest.fixture(scope="module")
def found(make_once: MakeOnce, teacher: Path) -> Path:
    """What the command writes about it."""

    def make(path: Path) -> None:
        result = ask("demo", guest(teacher), "--out", str(path / "hints.json"))
        assert result.exit_code == 0, result.stderr
        assert result.stdout.strip() == str(path / "hints.json")

    return make_once("hints-found", make)


def ask(recipe: str, settings: Sequence[str], *options: str) -> Result:
    return CliRunner().invoke(
        app, ["hints", recipe, *(word for each in settings for word in ("--set", each)), *options]
    )


def test_the_command_writes_hints_and_a_picture(found: Path, teacher: Path) -> None:
    hints = Hints.read(found / "hints.json")
    assert len(hints.blocks) == 9
    assert [block.place for block in hints.blocks[2:4]] == ["stages.0.2", "stages.1.0"]
    assert [block.channels for block in hints.blocks] == [16] * 3 + [32] * 3 + [64] * 3
    assert hints.points == tuple(f"block:{number}" for number in hints.hints)
    assert hints.stage_ends == (3, 6, 9)
    assert (hints.data.num_images, hints.data.num_train) == (40, 40)
    assert hints.data.config == EchoPhantom(train_patients=2, validation_patients=1)
    assert hints.teacher == "resnet20"
    assert Hints.from_json(hints.to_json(), source="test") == hints
    for row, block in enumerate(hints.similarity):
        assert block[row] == 1
        assert all(block[column] == hints.similarity[column][row] for column in range(9))
    assert {path.name for path in found.iterdir()} == {"hints.json", "hints.png", "hints.svg"}
    drawing = (found / "hints.svg").read_text()
    assert f"hints: {listed(hints.hints)}" in drawing
    assert "stage ends: 3, 6, 9" in drawing


def test_what_is_odd_about_a_choice_is_told(found: Path) -> None:
    raw = json.loads((found / "hints.json").read_text())
    blocks = [[1, 2, 7], [3, 4, 5, 6], [8, 9]]
    raw["clusters"] = [
        {"blocks": members, "hint": hint, "contiguous": members[-1] - members[0] < len(members)}
        for members, hint in zip(blocks, (2, 4, 8), strict=True)
    ]
    raw["points"] = ["block:2", "block:4", "block:8"]
    tie = {"block": 7, "cluster": 1, "other": 3, "margin": 0.004, "hints": [1, 4, 8]}
    raw |= {"near_ties": [tie] * 5, "metric": "cca", "clustered_by": "gcd"}
    hints = Hints.from_json(json.dumps(raw), source="test")
    told = "\n".join(remarks(hints))
    assert "clusters are those of gcd" in told
    assert "cluster 1 is not contiguous: its blocks are 1-2, 7" in told
    assert told.count("the choice hangs on block 7: it is nearer to cluster 1 than to 3 by 0.0040 only") == 3
    assert "5 near ties in all" in told
    assert "stage ends, blocks 3, 6, 9; these are blocks 2, 4, 8, of which 3 of 3 are elsewhere" in told
    plain = hints.model_copy(update={"stage_ends": (2, 4, 8), "near_ties": ()})
    assert "the hints are the conventional ones" in "\n".join(remarks(plain))
    assert "no conventional hints" in "\n".join(remarks(plain.model_copy(update={"stage_ends": ()})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["similarity"].pop(), "similarity must be 9 x 9"),
        (lambda raw: raw["clusters"][0]["blocks"].pop(), "every block of 1 to 9 must be in one cluster"),
        (lambda raw: raw["points"].reverse(), "points must be the clusters' hints"),
        (lambda raw: raw.update(schema_version=4), "schema version 4"),
        (lambda raw: raw.update(more=1), "more: unknown key"),
    ],
)
def test_hints_that_contradict_themselves_are_refused(
    found: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    raw = json.loads((found / "hints.json").read_text())
    change(raw)
    with pytest.raises(UsageError, match=message):
        Hints.from_json(json.dumps(raw), source="test")


def test_hints_of_the_first_version_are_centres(found: Path) -> None:
    hints = Hints.read(found / "hints.json")
    raw = json.loads(hints.to_json()) | {"schema_version": 1}
    assert raw.pop("position") == "centre"
    assert Hints.from_json(json.dumps(raw), source="test") == hints
    of_version_2 = json.loads(hints.to_json()) | {"schema_version": 2}
    assert of_version_2["preprocess"].pop("interpolation") == "bilinear"
    assert of_version_2["preprocess"].pop("crop_share") is None
    assert Hints.from_json(json.dumps(of_version_2), source="test") == hints


@pytest.mark.parametrize(
    ("options", "clustered_by"),
    [
        (("--metric", "cka-rbf", "--activation", "pre"), "cka-rbf"),
        (("--metric", "cka", "--contiguous", "--position", "last"), "cka"),
    ],
)
def test_the_options_are_followed_and_recorded(
    tmp_path: Path, teacher: Path, options: tuple[str, ...], clustered_by: str
) -> None:
    few = ("--clusters", "2", "--images", "30", "--json", "--out", str(tmp_path / "found.json"))
    result = ask("demo", guest(teacher), *options, *few)
    hints = Hints.from_json(result.stdout, source="test")
    assert hints == Hints.read(tmp_path / "found.json")
    assert (hints.metric, hints.clustered_by, len(hints.points)) == (options[1], clustered_by, 2)
    assert hints.data.num_images == 30
    assert hints.activation == ("pre" if "pre" in options else "post")
    assert all(point.endswith(":pre") == (hints.activation == "pre") for point in hints.points)
    if hints.contiguous:
        assert all(cluster.contiguous for cluster in hints.clusters)
        assert hints.segmentation.agreement == 1
        assert hints.position == "last"
        assert hints.hints == hints.segmentation.hints == hints.segmentation.last_blocks


def test_too_few_images_or_blocks_are_refused(tmp_path: Path, teacher: Path) -> None:
    for options, message in (
        (("--metric", "gcd"), "64 channels can tell of 40 images"),
        (("--clusters", "10"), "9 blocks, too few for 10 clusters. Use --clusters 9 at most"),
    ):
        result = ask("demo", guest(teacher), *options, "--out", str(tmp_path / "found.json"))
        assert isinstance(result.exception, UsageError)
        assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_run_takes_its_hints_and_its_card_says_so(tmp_path: Path, found: Path, teacher: Path) -> None:
    file = found / "hints.json"
    settings = [f"method.hints={file}", "method.kind=attention_transfer", "model=resnet8", "training.epochs=1"]
    config = with_overrides(demo(), [*settings, *guest(teacher)])
    card = train(config, tmp_path / "run")
    hints = Hints.read(file)
    assert card.training is not None
    method: Any = card.training.config["method"]
    taps = method["taps"]
    assert taps["teacher"] == list(hints.points)
    assert taps["student"] == "stage-ends"
    assert taps["hints"]["teacher_sha256"] == card.training.teacher_sha256 == hints.teacher_sha256
    assert Card.read(tmp_path / "run" / "best" / "card.json") == card
    out = tmp_path / "of [my] run.json"
    searched = CliRunner().invoke(app, ["hints", str(tmp_path / "run"), "--out", str(out)])
    assert searched.exit_code == 0, searched.stderr
    assert all(out.with_suffix(suffix).is_file() for suffix in (".png", ".svg"))
    of_run = Hints.read(out)
    assert (len(of_run.blocks), of_run.hints, of_run.teacher_sha256) == (3, (1, 2, 3), card.weights_sha256)


SEARCHING = ("method.kind=attention_transfer", "model=resnet8", "training.epochs=2", "device=cpu")


def test_a_run_searches_its_hints_itself(
    tmp_path: Path, found: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command finds in the same teacher; a run that was killed goes on with it and searches no more."""
    config = with_overrides(demo(), [*SEARCHING, "hints.metric=cka", *guest(teacher)])

    def killed(_state: State) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(config, tmp_path / "run", watch=killed)
    by_command, by_run = Hints.read(found / "hints.json"), Hints.read(tmp_path / "run" / "hints.json")
    assert by_run == by_command
    monkeypatch.setattr("distill.train.search", None)
    card = train(config, tmp_path / "run", resume=True)
    assert card.training is not None
    method: Any = card.training.config["method"]
    hints: Any = card.training.config["hints"]
    assert method["taps"]["teacher"] == list(by_run.points)
    assert method["taps"]["hints"]["sha256"] == sha256_of_file(tmp_path / "run" / "hints.json")
    assert method["taps"]["hints"]["teacher_sha256"] == card.training.teacher_sha256
    assert hints == HintSearch().model_dump(mode="json")
    assert train(config, tmp_path / "run") == card
    plain = config.model_copy(update={"hints": None})
    assert plain.identity() != config.identity()
    train(plain, tmp_path / "run", restart=True)
    assert not (tmp_path / "run" / "hints.json").exists()


def test_a_teacher_that_a_run_trains_is_searched_when_it_is_there(tmp_path: Path) -> None:
    teacher = ["teacher.model=resnet14", "teacher.training.epochs=1", "training.epochs=1"]
    config = with_overrides(demo(), [*SEARCHING, *DATA, "image.size_px=32", *teacher, "hints.position=last"])
    card = train(config, tmp_path / "run")
    (trained,) = tmp_path.glob("teacher-*")
    hints = Hints.read(tmp_path / "run" / "hints.json")
    assert (len(hints.blocks), hints.points[-1]) == (6, "block:6")
    assert card.training is not None
    assert hints.teacher_sha256 == Card.read(trained / "best" / "card.json").weights_sha256
    assert hints.teacher_sha256 == card.training.teacher_sha256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["method.kind=hinton_kd"], "hinton_kd cannot use hints"),
        (["method.kind=similarity_preserving"], "it compares one place of each network"),
        (["method.kind=activation_boundaries"], "hints.activation=pre"),
        (["method.kind=fitnet", 'method.taps.student=["stages.0", "stages.1"]'], "hints.clusters=2"),
        (["method.kind=fitnet", "hints.clusters=7"], "resnet14 has 6 blocks, too few for 7 clusters"),
    ],
)
def test_a_search_that_cannot_be_used_is_refused_before_a_teacher_is_trained(
    settings: list[str], message: str, tmp_path: Path
) -> None:
    teacher = ["teacher.model=resnet14", "teacher.training.epochs=1"]
    small = ["model=resnet8", "image.size_px=32", "device=cpu", *DATA]
    config = with_overrides(demo(), [*small, *teacher, "hints.metric=gcd", *settings])
    with pytest.raises(UsageError, match=message):
        train(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_run_takes_hints_of_a_file_or_searches_them(found: Path) -> None:
    settings = [*SEARCHING, "hints.metric=gcd", f"method.hints={found / 'hints.json'}"]
    with pytest.raises(UsageError, match=r"searches its teacher for hints itself.* --set hints=null"):
        with_overrides(demo(), settings)
    assert with_overrides(demo(), [*settings, "hints=null"]).hints is None


def test_hints_of_another_teacher_are_refused(tmp_path: Path, found: Path) -> None:
    written(tmp_path / "other.pth", seed=1)
    settings = [f"method.hints={found / 'hints.json'}", "method.kind=attention_transfer", "model=resnet8"]
    config = with_overrides(demo(), [*settings, *guest(tmp_path / "other.pth")])
    with pytest.raises(UsageError, match=r"the hints were found in resnet20, .* Other weights have other hints"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_without_an_inside_or_data_is_refused(tmp_path: Path) -> None:
    for recipe, settings, message in (
        ("demo-scratch", [], "has no teacher to search"),
        ("demo", [], "trains its teacher itself"),
        ("demo", ["teacher.kind=logits", "teacher.path=t.npy"], "does not show its blocks"),
        (str(tmp_path), ["seed=1"], "--set is for a recipe"),
        (str(tmp_path), [], "is not a checkpoint"),
    ):
        result = ask(recipe, settings)
        assert isinstance(result.exception, UsageError)
        assert message in str(result.exception)


@pytest.mark.parametrize(
    ("network", "blocks", "stage_ends"),
    [
        ("wrn_16_1", 6, (2, 4, 6)),
        ("torchvision:resnet34", 16, (3, 7, 13, 16)),
        ("mobilenet_v3_small", 11, (1, 3, 8, 11)),
        ("timm:test_convnext", 9, (1, 3, 7, 9)),
        ("timm:test_vit", 6, ()),
    ],
)
def test_blocks_of_every_kind_of_network_are_pooled(network: str, blocks: int, stage_ends: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    size = 160 if "vit" in network else 32
    preprocess = PREPROCESS.model_copy(update={"size_px": size})
    model = build(network, num_classes=4, preprocess=preprocess).eval()
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(2, 3, size, size)
    for activation in ("pre", "post"):
        found = blocks_of(model, preprocess, activation)  # type: ignore[arg-type]
        assert len(found.names) == blocks
        assert tuple(end + 1 for end in found.stage_ends) == stage_ends
        assert pooled_features(model, found.places, images).shape == (2, sum(found.widths))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_activation_is_pooled_before_it_is_overwritten() -> None:
    """A ResNet's ReLU works in place; what goes into it is read before."""
    torch.manual_seed(0)
    model = build("torchvision:resnet18", num_classes=4, preprocess=PREPROCESS).eval()
    images = torch.rand(2, 3, 32, 32)
    pre, post = (
        pooled_features(model, blocks_of(model, PREPROCESS, activation).places, images)
        for activation in ("pre", "post")
    )
    assert (post >= 0).all()
    assert (pre < 0).any()


def test_maps_tokens_and_vectors_are_pooled() -> None:
    maps = torch.rand(2, 5, 3, 4)
    assert torch.equal(pooled(maps), maps.mean((2, 3)))
    assert torch.equal(pooled(maps, channels_last=True), maps.mean((1, 2)))
    assert torch.equal(pooled(maps[0]), maps[0].mean(1))
    assert torch.equal(pooled(maps[0, 0]), maps[0, 0])
    with pytest.raises(UsageError, match="expected a map"):
        pooled(torch.rand(2, 3, 4, 5, 6))


def test_images_are_drawn_once_each_by_seed() -> None:
    split = EchoPhantom(train_patients=1, validation_patients=1).load("train", demo().preprocess)
    some = drawn(split, 7, seed=0)
    assert len(set(some.tolist())) == 7
    assert torch.equal(some, some.sort().values)
    assert torch.equal(some, drawn(split, 7, seed=0))
    assert torch.equal(drawn(split, 1000, seed=0), torch.arange(len(split)))
