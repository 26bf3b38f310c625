"""Every way to bring a teacher gives the same answers as the network it came from, and none of them changes it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distill import checkpoint, teacher
from distill.config import CheckpointTeacher, ImageSettings, LibraryTeacher, LogitsTeacher, ProgramTeacher
from distill.errors import UsageError
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess

NAME = "torchvision:shufflenet_v2_x0_5"
CLASSES = ("a", "b", "c")
IMAGE = ImageSettings(size_px=32)
PREPROCESS = IMAGE.preprocess(1)


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


def test_preprocess_of_a_library_teacher_is_its_own(original: ImageClassifier, tmp_path: Path) -> None:
    config = as_safetensors(original, tmp_path).model_copy(update={"image": ImageSettings(size_px=64, mean=(0.1,))})
    guest = teacher.load(config, channels=1, class_names=CLASSES)
    assert guest.preprocess == Preprocess(size_px=64, channels=1, mean=(0.1,), std=(0.25,))
