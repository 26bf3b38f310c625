"""Every way to bring a teacher gives the same answers as the network it came from, and none of them changes it."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor, nn

from distill import checkpoint
from distill.config import CheckpointTeacher, GuestImage, ImageSettings, LibraryTeacher, LogitsTeacher, ProgramTeacher
from distill.errors import UsageError
from distill.recipes import demo
from distill.teachers import teacher
from distill.training.batches import Batch
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess

NAME = "torchvision:shufflenet_v2_x0_5"
CLASSES = ("a", "b", "c")
PREPROCESS = ImageSettings(size_px=32).preprocess(1)
IMAGE = GuestImage(size_px=32, mean=(0.5,), std=(0.25,))


@pytest.fixture
def original() -> ImageClassifier:
    torch.manual_seed(0)
    return build(NAME, num_classes=3, preprocess=PREPROCESS).eval()


def as_checkpoint(model: ImageClassifier, folder: Path) -> CheckpointTeacher:
    checkpoint.save(folder, model, name=NAME, class_names=CLASSES, preprocess=PREPROCESS, training=None)
    return CheckpointTeacher(path=str(folder))


def as_safetensors(model: ImageClassifier, folder: Path) -> LibraryTeacher:
    save_file(model.network.state_dict(), folder / "w.safetensors")
    return LibraryTeacher(model=NAME, weights=str(folder / "w.safetensors"), image=IMAGE)


def as_pth(model: ImageClassifier, folder: Path) -> LibraryTeacher:
    torch.save({"state_dict": model.network.state_dict()}, folder / "w.pth")
    return LibraryTeacher(model=NAME, weights=str(folder / "w.pth"), image=IMAGE)


def as_pt2(model: ImageClassifier, folder: Path) -> ProgramTeacher:
    batch = torch.export.Dim("batch", min=1, max=512)
    wide = torch.rand(2, 3, 32, 32)
    torch.export.save(torch.export.export(model.network, (wide,), dynamic_shapes=({0: batch},)), folder / "teacher.pt2")
    return ProgramTeacher(path=str(folder / "teacher.pt2"), image=IMAGE, channels=1)


Bring = Callable[[ImageClassifier, Path], CheckpointTeacher | LibraryTeacher | ProgramTeacher]


@pytest.mark.parametrize("bring", [as_checkpoint, as_safetensors, as_pth, as_pt2])
def test_a_guest_answers_as_at_home(original: ImageClassifier, tmp_path: Path, bring: Bring) -> None:
    guest = teacher.load(bring(original, tmp_path), channels=1, class_names=CLASSES)
    assert guest.model is not None
    assert not any(module.training for module in guest.model.modules())
    assert not any(parameter.requires_grad for parameter in guest.model.parameters())
    images = torch.rand(5, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(guest.model(images), original(images), atol=1e-5)


def test_logits_alone_are_a_teacher(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", np.eye(3))
    guest = teacher.load(LogitsTeacher(path=str(tmp_path / "logits.npy")), channels=1, class_names=CLASSES)
    assert guest.model is None
    assert guest.logits is not None
    assert guest.logits.dtype == torch.float32


def test_a_teacher_of_other_classes_is_refused(original: ImageClassifier, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trained for the classes a, b, c, the data set has a, b, d"):
        teacher.load(as_checkpoint(original, tmp_path), channels=1, class_names=("a", "b", "d"))


class Sly:
    """What a hostile .pth would hold: code that runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (exec, ("raise SystemExit('pickle was executed')",))


def test_a_pth_that_wants_to_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(Sly(), tmp_path / "sly.pth")
    config = LibraryTeacher(model=NAME, weights=str(tmp_path / "sly.pth"), image=IMAGE)
    with pytest.raises(UsageError, match="cannot be read as weights"):
        teacher.load(config, channels=1, class_names=CLASSES)


def test_unsuitable_files_are_named(original: ImageClassifier, tmp_path: Path) -> None:
    as_safetensors(original, tmp_path)
    weights = str(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="does not exist"):
        teacher.load(LogitsTeacher(path=str(tmp_path / "no.npy")), channels=1, class_names=CLASSES)
    with pytest.raises(UsageError, match="does not fit torchvision:shufflenet_v2_x0_5 with 4 classes"):
        teacher.load(LibraryTeacher(model=NAME, weights=weights, image=IMAGE), channels=1, class_names=(*CLASSES, "d"))
    with pytest.raises(UsageError, match=r"neither a \.pt2 nor a TorchScript program"):
        teacher.load(ProgramTeacher(path=weights, image=IMAGE), channels=1, class_names=CLASSES)
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(UsageError, match=r"expected finite logits \[N, classes\] as floats, found float64 \(3,\)"):
        teacher.load(LogitsTeacher(path=str(tmp_path / "flat.npy")), channels=1, class_names=CLASSES)


def test_a_library_teacher_sees_what_its_library_shows_it(
    original: ImageClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = as_safetensors(original, tmp_path).model_copy(update={"image": GuestImage()})
    colour = teacher.load(config, channels=3, class_names=CLASSES)
    imagenet = Preprocess(size_px=224, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert colour.preprocess == imagenet
    assert (
        "sees 224 px, mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (size_px, mean, std as" in capsys.readouterr().err
    )
    grey = teacher.load(config, channels=1, class_names=CLASSES)
    assert grey.preprocess is not None
    assert grey.preprocess.channels == 1
    assert grey.model is not None
    assert colour.model is not None
    image = torch.rand(1, 1, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(grey.model(image), colour.model(image.expand(1, 3, 224, 224)), atol=1e-5)


def test_what_is_said_of_its_image_holds(original: ImageClassifier, tmp_path: Path) -> None:
    config = as_safetensors(original, tmp_path).model_copy(update={"image": GuestImage(size_px=64, mean=(0.1,))})
    guest = teacher.load(config, channels=1, class_names=CLASSES)
    assert guest.preprocess is not None
    assert (guest.preprocess.size_px, guest.preprocess.mean) == (64, pytest.approx((0.1,)))


def test_an_exported_program_says_its_size(original: ImageClassifier, tmp_path: Path) -> None:
    config = as_pt2(original, tmp_path).model_copy(update={"image": GuestImage()})
    guest = teacher.load(config, channels=1, class_names=CLASSES)
    assert guest.preprocess is not None
    assert guest.preprocess.size_px == 32
    path = tmp_path / "t.pt"
    trace(nn.Flatten(), path)
    with pytest.raises(UsageError, match=r"does not say what size it takes\. Add --set teacher\.image\.size_px"):
        teacher.load(ProgramTeacher(path=str(path)), channels=1, class_names=CLASSES)


def trace(network: nn.Module, path: Path, example: Tensor | None = None) -> ProgramTeacher:
    """A TorchScript program of a network, in the mode that it is in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.rand(4, 3, 32, 32) if example is None else example
        torch.jit.trace(network, images, check_trace=False, strict=False).save(path)
    return ProgramTeacher(path=str(path), image=GuestImage(size_px=32, mean=(0.0,), std=(1.0,)))


class Small(nn.Module):
    """What the programs below are made of; its answers depend on the picture."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 8, 3, 2)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.convolution(images))).mean((2, 3))
        return self.classifier(self.dropout(features))


class Wrapped(nn.Module):
    """A network whose answer is changed by a function."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network = network
        self.change = change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.network(images))


def answers(config: ProgramTeacher, images: Tensor, class_names: tuple[str, ...] = CLASSES) -> Tensor:
    guest = teacher.load(config, channels=3, class_names=class_names)
    assert guest.model is not None
    assert not any(module.training for module in guest.model.modules())
    with torch.inference_mode():
        return guest.model(images)


UNUSUAL: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "tuple": (lambda logits: (logits, logits * 2), "part 1 of what it returns, one of 2 tensors"),
    "tuple in a tuple": (lambda logits: ((logits[:, :2], logits), logits), "part 2 of part 1 of what it returns"),
    "dictionary": (lambda logits: {"aux": logits * 2, "logits": logits}, "'logits' of what it returns"),
    "pixels": (lambda logits: logits[:, :, None, None], ""),
    "probabilities": (lambda logits: logits.softmax(1), "its answers are probabilities"),
    "percentages": (lambda logits: 100 * logits.softmax(1), "its answers are percentages"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_answers_become_logits_and_are_said(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = UNUSUAL[kind]
    network, images = Small().eval(), torch.rand(5, 3, 32, 32)
    found = answers(trace(Wrapped(network, change), tmp_path / "t.pt"), images)
    with torch.inference_mode():
        assert torch.allclose(found.softmax(1), network(images).softmax(1), atol=1e-5)
    assert words in capsys.readouterr().err


def test_of_sigmoids_for_each_class_the_logits_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, images = Small().eval(), torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        network.classifier.weight.mul_(30)
    found = answers(trace(Wrapped(network, torch.sigmoid), tmp_path / "t.pt"), images)
    with torch.inference_mode():
        assert torch.allclose(found, network(images), atol=1e-2)
    assert "probabilities that each class has for itself" in capsys.readouterr().err


@pytest.mark.parametrize("squeezed", [False, True])
def test_a_single_output_becomes_two_classes(
    tmp_path: Path, squeezed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    network, images = Small(classes=1).eval(), torch.rand(5, 3, 32, 32)
    shape = (lambda logit: logit[:, 0]) if squeezed else (lambda logit: logit)
    probability = trace(Wrapped(network, lambda logit: shape(logit.sigmoid())), tmp_path / "p.pt")
    logit = trace(Wrapped(network, lambda logit: shape(logit * 9 - 3)), tmp_path / "l.pt")
    with torch.inference_mode():
        plain = network(images)[:, 0]
    of_probability = answers(probability, images, ("cat", "dog"))
    assert torch.allclose(of_probability.softmax(1)[:, 1], plain.sigmoid(), atol=1e-5)
    assert "the probability of 'dog'; two classes are made of it" in capsys.readouterr().err
    of_logit = answers(logit, images, ("cat", "dog"))
    assert torch.allclose(of_logit.softmax(1)[:, 1], (plain * 9 - 3).sigmoid(), atol=1e-5)
    assert "the logit of 'dog'" in capsys.readouterr().err


def test_half_precision_is_asked_in_half_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.rand(5, 3, 32, 32)
    config = trace(Small().eval().half(), tmp_path / "t.pt", torch.rand(4, 3, 32, 32).half())
    found = answers(config, images)
    assert found.dtype == torch.float32
    with torch.inference_mode():
        assert torch.allclose(found, Small().eval()(images), atol=1e-2)
    assert "computes in float16" in capsys.readouterr().err


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_a_fixed_batch_is_asked_in_that_batch(tmp_path: Path, batch: int, capsys: pytest.CaptureFixture[str]) -> None:
    class Fixed(Small):
        def forward(self, images: Tensor) -> Any:
            return super().forward(images.reshape(batch, 3, 32, 32))

    images = torch.rand(5, 3, 32, 32)
    found = answers(trace(Fixed().eval(), tmp_path / "t.pt", torch.rand(batch, 3, 32, 32)), images)
    with torch.inference_mode():
        assert torch.allclose(found, Small().eval()(images), atol=1e-5)
    assert f"takes {batch} image(s) at a time" in capsys.readouterr().err


def test_the_classes_may_be_in_an_order_of_its_own(tmp_path: Path) -> None:
    network, images = Small().eval(), torch.rand(5, 3, 32, 32)
    config = trace(network, tmp_path / "t.pt").model_copy(update={"class_names": ("c", "a", "b")})
    with torch.inference_mode():
        assert torch.allclose(answers(config, images), network(images)[:, [1, 2, 0]], atol=1e-6)
    typed = config.model_copy(update={"class_names": ("c", "e\u0301", "b")})
    with torch.inference_mode():
        assert torch.allclose(answers(typed, images, ("\u00e9", "b", "c")), network(images)[:, [1, 2, 0]], atol=1e-6)
    with pytest.raises(UsageError, match="must be the same names"):
        answers(config.model_copy(update={"class_names": ("c", "a", "x")}), images)


def in_train_mode(*, dropout: bool) -> nn.Module:
    network = Small()
    network.dropout.train(dropout)
    network.norm.train(not dropout)
    return network


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dropout": (lambda: in_train_mode(dropout=True), "the same picture differently when it is asked twice"),
    "batch statistics": (lambda: in_train_mode(dropout=False), "a picture alone otherwise than beside others"),
    "other classes": (lambda: Small(classes=1000).eval(), r"each image with \[1000\] of float32; expected 3 logits"),
    "one of three": (lambda: Small(classes=1).eval(), r"each image with \[1\] of float32; expected 3 logits"),
    "NaN": (lambda: Wrapped(Small().eval(), lambda logits: logits * float("nan")), "the teacher .* answers NaN"),
    "class numbers": (lambda: Wrapped(Small().eval(), lambda logits: logits.argmax(1)), r"\[1\] of int64"),
    "a map": (lambda: nn.Conv2d(3, 3, 1), r"with \[3072\] of float32; expected 3"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_answers_that_cannot_be_used_are_refused(tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(UsageError, match=message):
        answers(trace(make(), tmp_path / "t.pt"), torch.rand(1, 3, 32, 32))


def test_a_program_that_fails_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trace(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), tmp_path / "t.pt")
    other_size = config.model_copy(update={"image": GuestImage(size_px=48)})
    with pytest.raises(UsageError, match=r"fails on images of 3x48x48: .*mat1.*Is teacher\.image\.size_px right"):
        answers(other_size, torch.rand(1, 3, 48, 48))
    (tmp_path / "t.pt2").write_bytes(b"cut off")
    monkeypatch.setattr(logging.getLogger("torch.export"), "handlers", [caplog.handler])
    with pytest.raises(UsageError, match=r"neither a \.pt2 nor a TorchScript program"):
        answers(ProgramTeacher(path=str(tmp_path / "t.pt2")), torch.rand(1, 3, 32, 32))
    assert not caplog.records, "torch logs a traceback before it raises something else"


@pytest.mark.parametrize("name", ["torchvision:resnet19", "torchvision:fasterrcnn_resnet50_fpn", "timm:resnet18.none"])
def test_a_library_network_that_does_not_exist_is_refused_before_it_is_asked_what_it_sees(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "w.pth").touch()
    with pytest.raises(UsageError, match=r"has no classifier|not with the tag"):
        teacher.load(LibraryTeacher(model=name, weights=str(tmp_path / "w.pth")), channels=3, class_names=CLASSES)


def test_numbers_beyond_single_precision_and_other_formats_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.full((2, 3), 1e300))
    with pytest.raises(UsageError, match=r"numbers too large for logits, up to 1e\+300"):
        teacher.load(LogitsTeacher(path=str(tmp_path / "t.npy")), channels=1, class_names=CLASSES)
    (tmp_path / "t.onnx").write_bytes(b"\x08\x07")
    with pytest.raises(UsageError, match="is an ONNX file"):
        teacher.load(ProgramTeacher(path=str(tmp_path / "t.onnx")), channels=1, class_names=CLASSES)


def test_a_table_may_hold_probabilities_or_a_single_column(tmp_path: Path) -> None:
    path = tmp_path / "t.npy"
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=np.float16)
    np.save(path, probabilities)
    guest = teacher.load(LogitsTeacher(path=str(path)), channels=1, class_names=CLASSES)
    assert guest.logits is not None
    assert np.allclose(guest.logits.softmax(1), probabilities, atol=1e-3)
    np.save(path, np.array([0.25, 0.75]))
    guest = teacher.load(LogitsTeacher(path=str(path)), channels=1, class_names=("a", "b"))
    assert guest.logits is not None
    assert np.allclose(guest.logits.softmax(1)[:, 1], [0.25, 0.75])


def test_a_teacher_may_normalise_by_the_batchs_own_statistics_and_keeps_its_own() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    answers = teacher.TeacherAnswers(demo(), None, None, fabric)  # type: ignore[arg-type]
    grey = Preprocess(size_px=16, channels=1, mean=(0.5,), std=(0.25,))
    torch.manual_seed(0)
    answers.model = build("resnet8", num_classes=3, preprocess=grey).eval().requires_grad_(False)
    answers.size_px = grey.size_px
    before = {key: value.clone() for key, value in answers.model.state_dict().items()}
    images = torch.rand(4, 1, grey.size_px, grey.size_px)
    batch = Batch(images, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    kept = answers(batch)
    answers.statistics = "batch"
    own = answers(batch)
    assert kept is not None
    assert own is not None
    after = answers.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert not any(module.training for module in answers.model.modules())
    assert not torch.allclose(kept.logits, own.logits, atol=1e-3)
    assert torch.allclose(own.logits, answers.model.train()(images), atol=1e-5)
