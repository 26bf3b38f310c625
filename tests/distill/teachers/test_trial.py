"""A guest is measured before it is believed: what is wrong with it is found, said, and refused near chance."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from distill.config import (
    GuestImage,
    ImageSettings,
    LogitsTeacher,
    ProgramTeacher,
    RunConfig,
    TrainingSettings,
)
from distill.data import Data
from distill.errors import UsageError
from distill.methods.hinton_kd import HintonKDConfig
from distill.teachers import teacher
from distill.teachers import trial as teacher_trial
from distill.teachers.teacher import TeacherAnswers
from distill.teachers.trial import accuracy, class_orders
from distill.vision.datasets import ImageFolder, Split

NAMES = ("1", "10", "2")
"""In the data set's order; other libraries take 2 before 10."""

COLOURS = torch.tensor([[0.1, 0.4, 0.7], [0.7, 0.4, 0.1], [0.4, 0.7, 0.4]])
"""Mean red, green and blue of each class."""


def pictures(per_class: int) -> Split:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), per_class)
    noise = rng.normal(0, 0.05, (3 * per_class, 16, 16, 3))
    images = ((COLOURS.numpy()[labels][:, None, None] + noise).clip(0, 1) * 255).astype(np.uint8)
    return Split(images, labels, NAMES)


class Colours(nn.Module):
    """Answers by the nearest mean colour, of pixels handed over in one certain way."""

    def __init__(self, undo: Callable[[Tensor], Tensor], order: list[int]) -> None:
        super().__init__()
        self.undo = undo
        self.order = order

    def forward(self, images: Tensor) -> Tensor:
        seen = self.undo(images).mean((2, 3))
        return -20 * (seen[:, None] - COLOURS[self.order]).square().sum(2)


def judged(
    tmp_path: Path,
    undo: Callable[[Tensor], Tensor] = lambda images: images,
    *,
    order: tuple[int, ...] = (0, 1, 2),
    per_class: int = 20,
    image: GuestImage | None = None,
    allow: bool = False,
    class_names: tuple[str, ...] | None = None,
) -> None:
    """Ask and judge a TorchScript teacher on the pictures above; it is right if they are handed over as it expects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Colours(undo, list(order)), torch.rand(2, 3, 16, 16)).save(tmp_path / "t.pt")
    source = ProgramTeacher(
        path=str(tmp_path / "t.pt"),
        image=image or GuestImage(size_px=16, mean=(0.0,), std=(1.0,)),
        class_names=class_names,
    )
    judge(source, pictures(per_class), allow=allow)


def judge(source: ProgramTeacher | LogitsTeacher, split: Split, *, allow: bool = False) -> None:
    config = RunConfig(
        name="x",
        device="cpu",
        dataset=ImageFolder(path="nowhere"),
        image=ImageSettings(size_px=16),
        model="resnet18",
        teacher=source,
        allow_weak_teacher=allow,
        method=HintonKDConfig(),
        training=TrainingSettings(epochs=1, batch_size=8),
    )
    guest = teacher.load(source, channels=3, class_names=NAMES, pictures=split)
    answers = TeacherAnswers(
        config, Data(split, split, split.sha256(), ""), guest, Fabric(accelerator="cpu", devices=1)
    )
    teacher_trial.judge(config, guest, answers, split)


def test_a_good_teacher_is_believed_and_its_accuracy_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged(tmp_path)
    assert "right for 100.0 % of 60 training images" in capsys.readouterr().err


def test_classes_in_natural_order_are_refused_with_the_remedy_that_works(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"natural order, as timm sorts \(1, 2, 10\), and 100\.0 % would be"
    ) as refused:
        judged(tmp_path, order=(0, 2, 1))
    remedy = """'teacher.class_names=["1", "2", "10"]'"""
    assert remedy in str(refused.value)
    judged(tmp_path, order=(0, 2, 1), class_names=("1", "2", "10"))


def test_an_order_that_no_library_uses_is_found_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"in the order \(10, 2, 1\), and 100\.0 % would be right"):
        judged(tmp_path, order=(1, 2, 0))


IMAGENET = (torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None])


def imagenet_undone(images: Tensor) -> Tensor:
    return images * IMAGENET[1] + IMAGENET[0]


@pytest.mark.parametrize(
    ("undo", "image", "words"),
    [
        (
            lambda images: images.flip(1),
            (0.0, 1.0),
            r"blue before red \(BGR, as OpenCV reads\), and 100.* images\.flip\(1\)\.",
        ),
        (lambda images: images / 255, (0.0, 1.0), r"expects pixels in \[0, 255\], and .*'teacher.image.std=\[0.0039"),
        (lambda images: images.flip(1) / 255, (0.0, 1.0), r"blue before red .* and pixels in \[0, 255\]"),
        (imagenet_undone, (4.0, 0.1), "expects ImageNet's mean and deviation, and 100"),
    ],
)
def test_pixels_handed_over_otherwise_are_found(
    tmp_path: Path,
    undo: Callable[[Tensor], Tensor],
    image: tuple[float, float],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = GuestImage(size_px=16, mean=image[:1], std=image[1:])
    try:
        judged(tmp_path, undo, image=shown)
        said = capsys.readouterr().err  # better than chance: a warning
    except UsageError as refused:
        said = str(refused)
    assert re.search(words, said), said


def test_a_teacher_near_chance_is_refused_unless_it_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def constant(images: Tensor) -> Tensor:
        return images * 0

    with pytest.raises(UsageError, match=r"right for 33\.3 % of 300 .*chance is 33\.3 %.*--allow-weak-teacher"):
        judged(tmp_path, constant, per_class=100)
    judged(tmp_path, constant, per_class=100, allow=True)
    assert "No other order of the classes" in capsys.readouterr().err


def test_few_images_refuse_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged(tmp_path, lambda images: images * 0, per_class=4)
    assert "too few to tell" in capsys.readouterr().err


def test_a_table_of_answers_is_judged_too(tmp_path: Path) -> None:
    split = pictures(100)
    np.save(tmp_path / "t.npy", np.eye(3)[split.labels][:, [0, 2, 1]])
    source = LogitsTeacher(path=str(tmp_path / "t.npy"))
    with pytest.raises(UsageError, match="natural order"):
        judge(source, split)
    judge(source.model_copy(update={"class_names": ("1", "2", "10")}), split)
    split = pictures(200)
    np.save(tmp_path / "t.npy", np.random.default_rng(0).normal(size=(600, 3)))
    with pytest.raises(UsageError, match="Are the rows in the data set's order"):
        judge(source, split)


def test_the_interval_of_the_accuracy_covers_it() -> None:
    """Of 1,000 teachers that are right for 70 %, at least 93 % are within their interval."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    inside = 0
    for _ in range(1000):
        wrong = (labels + rng.integers(1, 4, 100)) % 4
        found = accuracy(np.where(rng.random(100) < 0.7, labels, wrong), labels, 4)
        inside += found.low <= 0.7 <= found.high
    assert inside >= 930


def test_a_constant_answer_is_at_chance_whatever_the_sizes_of_the_classes() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    found = accuracy(np.zeros(100, dtype=np.int64), labels, 2)
    assert found.mean == found.chance == 0.5
    assert not found.shown_better_than_chance


def test_orders_of_other_libraries() -> None:
    orders = dict(class_orders(("B2", "a10", "a9")))
    assert orders["in natural order, as timm sorts"] == ("a9", "a10", "B2")
    assert orders["in alphabetical order whatever the case"] == ("a10", "a9", "B2")
