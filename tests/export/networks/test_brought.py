"""A network of the user's own: a module that exists for these tests only, beside random weights."""

import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from distill import checkpoint as checkpoints
from distill.errors import UsageError
from distill.vision.preprocess import Preprocess
from export.artifact.manifest import read_artifact
from export.networks.brought import Brought, make_checkpoint
from tests.export.test_command import run, unframed

PREPROCESS = Preprocess(size_px=32, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
MODULE = """
    from torch import nn

    def make(num_classes):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, num_classes),
        )

    def four():
        return make(4)

    def needs_more(num_classes, width):
        return make(num_classes)

    def fails():
        raise ValueError("no weights for this moon phase")

    def no_module():
        return 42

    def two_answers():
        class Two(nn.Module):
            def forward(self, images):
                return images, images
        return Two()

    def fixed_size():
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4))

    constant = 3
"""


@pytest.fixture(autouse=True)
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_network.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def weights_of(factory: str = "make", **arguments: int) -> dict[str, torch.Tensor]:
    import own_network

    torch.manual_seed(0)
    return getattr(own_network, factory)(**arguments).state_dict()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(weights_of(num_classes=4), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("\ufeffcat\ndog\n grey seal \nélan\n", encoding="utf-8")
    return tmp_path / "labels.txt"


def bring(model: str, weights: Path, labels: Path) -> checkpoints.Checkpoint:
    make_checkpoint(Brought(model, weights, labels, PREPROCESS), Path("brought"))
    return checkpoints.load(Path("brought"))


@pytest.mark.parametrize("model", ["own_network:make", "own_network:four", "python:own_network:make"])
def test_it_becomes_a_checkpoint_that_computes_the_same(model: str, weights: Path, labels: Path) -> None:
    import own_network

    loaded = bring(model, weights, labels)
    network = own_network.make(4).eval()
    network.load_state_dict(weights_of(num_classes=4))
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(images), network((images - 0.5) / 0.5))
    assert loaded.card.class_names == ("cat", "dog", "grey seal", "élan")
    assert loaded.card.training is None
    assert loaded.card.model.startswith("python:own_network:")


def test_a_pth_of_tensors_is_read_and_one_that_would_run_code_is_not(tmp_path: Path, labels: Path) -> None:
    torch.save({"state_dict": weights_of(num_classes=4)}, tmp_path / "w.pth")
    assert bring("own_network:make", tmp_path / "w.pth", labels).card.num_parameters > 0
    torch.save(Path("x"), tmp_path / "w.pth")
    with pytest.raises(UsageError, match="cannot be read as weights"):
        bring("own_network:make", tmp_path / "w.pth", labels)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("own_network:missing", "has no function 'missing'"),
        ("own_network:constant", "has no function 'constant'"),
        ("no_such_module:make", "cannot import no_such_module .*name that folder in PYTHONPATH"),
        ("own_network:", "expected package.module:factory"),
        ("own_network:needs_more", "needs width; a factory is called with num_classes or with nothing"),
        ("own_network:fails", "failed: ValueError: no weights for this moon phase"),
        ("own_network:no_module", "returned int, expected a torch.nn.Module"),
        ("own_network:two_answers", "returns tuple; expected one tensor of logits"),
        ("own_network:fixed_size", "fails on a 3x32x32 image: .*Is --size right"),
        ("timm:resnet_of_nobody", "timm has no model"),
        (
            "timm:resnet18.of_nobody",
            r"timm has resnet18, but not with the tag 'of_nobody'\. It has .*resnet18\.a1_in1k",
        ),
        ("own_netwrok", "unknown model"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused(model: str, message: str, weights: Path, labels: Path) -> None:
    with pytest.raises(UsageError, match=message):
        bring(model, weights, labels)
    assert not Path("brought").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\nc\n", r"answers one image with \[1, 4\], but .* names 3 classes"),
        ("a\n\nb\nc\n", "line 2 is empty"),
        ("a\n", "needs at least two"),
        ("", "line 1 is empty|needs at least two"),
    ],
)
def test_labels_that_do_not_fit_are_refused(text: str, message: str, weights: Path, labels: Path) -> None:
    labels.write_text(text)
    with pytest.raises(UsageError, match=message):
        bring("own_network:four", weights, labels)


def test_classes_may_share_a_name_as_imagenets_do_and_it_is_said(
    weights: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels.write_text("crane\nhen\njay\ncrane\n")
    assert bring("own_network:four", weights, labels).card.class_names == ("crane", "hen", "jay", "crane")
    assert "classes share a name: crane (lines 1, 4); they stay classes of their own" in unframed(
        capsys.readouterr().err
    )


def test_labels_that_are_no_text_are_refused(weights: Path, labels: Path) -> None:
    labels.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="Expected UTF-8 text"):
        bring("own_network:four", weights, labels)


@pytest.mark.parametrize("kind", ["missing", "unknown", "shape", "garbage", "cut off", "nan", "no file"])
def test_weights_that_do_not_fit_are_refused(kind: str, weights: Path, labels: Path) -> None:
    tensors, message = weights_of(num_classes=4), ""
    if kind == "missing":
        del tensors["0.weight"]
        message = "does not fit own_network:make with 4 labels: 1 missing: 0.weight"
    elif kind == "unknown":
        tensors["head.weight"] = torch.zeros(2)
        message = "1 unknown: head.weight"
    elif kind == "shape":
        tensors = weights_of(num_classes=7)
        message = r"2 of another shape: 5.weight is \[7, 8\], the network has \[4, 8\]"
    elif kind == "nan":
        tensors["5.bias"] = torch.full((4,), float("nan"))
        message = "answer NaN or infinity. The weights are broken"
    save_file(tensors, weights)
    if kind in ("garbage", "cut off"):
        weights.write_bytes(b"garbage" if kind == "garbage" else weights.read_bytes()[:-100])
        message = "cannot be read as weights"
    if kind == "no file":
        weights.unlink()
        message = "there is no such file"
    with pytest.raises(UsageError, match=message):
        bring("own_network:make", weights, labels)
    assert not Path("brought").exists()


def test_the_command_makes_a_checkpoint_and_proves_artifacts_of_it(
    weights: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", "own_network:make", "--weights", weights, "--labels", labels, "--size", 32)
    assert run(*arguments, "--format", "torchscript", "--precision", "fp32", "--name", "mine") == 0
    manifest = read_artifact(Path("out/artifacts/mine/torchscript-fp32"))
    assert (manifest.parity.verdict, manifest.parity.images) == ("pass", "synthetic")
    assert manifest.class_names[2] == "grey seal"
    assert "64 synthetic images" in unframed(capsys.readouterr().err)
    assert run(Path("out/brought/mine"), "--format", "torchscript", "--precision", "fp32") == 0
    assert "unchanged" in unframed(capsys.readouterr().err)


def test_the_command_wants_everything_it_needs(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--model", "own_network:make"], "--model needs --weights FILE and --labels FILE"),
        ([], "name either a checkpoint, or a network of your own with --model"),
        (["--model", "own_network:make", "--weights", weights, "--labels", "none.txt"], "cannot be read"),
    ):
        assert run(*arguments) == 2
        assert message in unframed(capsys.readouterr().err)
    for option, message in (("--mean=a,b", "expected numbers"), ("--std=0,0,0", "std must be above 0")):
        assert run("--model", "own_network:make", "--weights", weights, "--labels", "l", option) == 2
        assert message in unframed(capsys.readouterr().err)
