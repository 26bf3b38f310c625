"""Every method is of use: on a toy problem 200 steps of it end better than they began."""

import functools
import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from distill.config import SGD, AdamW, RunConfig, TrainingSettings
from distill.methods import Outputs
from distill.run_folder import State
from distill.studies import short_demo
from distill.training.batches import Batch, EndlessBatches
from distill.training.stages import spans, start
from distill.training.step import Objective
from distill.vision.models import ImageClassifier
from distill.vision.models.tap_points import Point, TapPoints, points_of_stages
from tests.distill.methods.toy import OF_PICTURES, PREPROCESS, SIZE_PX, dry, is_for_one_family, method_config

ONCE = ("distpro_search", "distpro", "learning_what_and_where")
IMAGES, BATCH, EPOCHS = 128, 32, 50  # 200 steps


class Layers(nn.Module):
    """Three hidden layers, shown as maps [B, width / 4, 2, 2], and a head of zeros."""

    def __init__(self, num_classes: int, *, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(layer(3 * SIZE_PX**2, width), layer(width, width), layer(width, width))
        self.head = nn.Linear(width, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def tap_points(self) -> TapPoints:
        stages = [[Point(f"layers.{number}", f"layers.{number}.4:input")] for number in range(3)]
        return points_of_stages(Point("layers.0.2", "layers.0.2"), stages, "head:input")

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images).flatten(1))


def layer(inputs: int, width: int) -> nn.Module:
    linear, maps = nn.Linear(inputs, width, bias=False), nn.Unflatten(1, (width // 4, 2, 2))
    return nn.Sequential(nn.Flatten(), linear, maps, nn.BatchNorm2d(width // 4), nn.ReLU())


def network(num_classes: int, *, width: int = 32) -> ImageClassifier:
    return ImageClassifier(Layers(num_classes, width=width), PREPROCESS)


@functools.cache
def problem(num_classes: int, width: int) -> tuple[Tensor, Tensor, ImageClassifier]:
    """Pictures, their labels (linear in the pixels), and a teacher that has learnt them."""
    torch.manual_seed(num_classes)
    images = torch.rand(IMAGES, 1, SIZE_PX, SIZE_PX)
    labels = ((images - 0.5).flatten(1) @ torch.randn(SIZE_PX**2, num_classes)).argmax(1)
    teacher = network(num_classes, width=width)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(teacher(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
    assert accuracy(teacher, images, labels) > 0.9
    return images, labels, teacher.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    model.eval()
    return (model(images).argmax(1) == labels).float().mean().item()


class HeldBack(EndlessBatches):
    """The same images in batches of their own order."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def start_epoch(self, number: int) -> None:
        pass

    def __next__(self) -> Batch:
        indices = torch.randperm(IMAGES)[:BATCH]
        return Batch(self.images[indices], self.labels[indices], indices)


def run_of(kind: str, optimizer: AdamW | SGD) -> RunConfig:
    """With the schedule that everyone has."""
    training = TrainingSettings(epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer)
    image = short_demo().image.model_copy(update={"size_px": SIZE_PX})
    return short_demo().model_copy(update={"method": method_config(kind), "training": training, "image": image})


def cases() -> Iterator[tuple[str, int, AdamW | SGD]]:
    """Every method with few, some and many classes, and either optimizer; once if a step is many calls."""
    for kind in OF_PICTURES:
        if kind in ONCE:
            yield kind, 10, SGD()
            continue
        fewest = 3 if kind == "logit_standardization" else 2
        yield from itertools.product([kind], (fewest, 10, 1000), (AdamW(), SGD()))


@pytest.mark.parametrize(("kind", "num_classes", "optimizer"), list(cases()))
def test_200_steps_end_better_than_they_began(kind: str, num_classes: int, optimizer: AdamW | SGD) -> None:
    """From a head of zeros, whose logits have neither length nor direction."""
    images, labels, teacher = problem(num_classes, 32 if is_for_one_family(kind) else 64)
    config = run_of(kind, optimizer)
    torch.manual_seed(0)
    students = [network(num_classes) for _ in range(config.method.needs.students)]
    built = dry(config.method, students, teacher, labels)
    objective = Objective(nn.ModuleList(students), built.method, built.students)

    def answer(batch: Batch) -> Outputs | None:
        if config.method.needs.teacher == "none":
            return None
        logits = teacher(batch.images)
        return Outputs(logits, {} if built.teacher is None else built.teacher.take())

    most_frequent = labels.bincount().max().item() / IMAGES
    fabric = Fabric(accelerator="cpu", devices=1)
    with built.tapped():
        for span in spans(built.method.stages(), EPOCHS, kind=kind):
            held_back = HeldBack(images, labels) if config.method.needs.held_back else None
            stage = start(span, objective, answer, held_back, config, State(epoch=span.first), fabric)
            for epoch in range(span.first, span.end):
                stage.start_epoch(epoch)
                for number, indices in enumerate(torch.randperm(IMAGES).split(BATCH)):
                    stage.start_step(epoch + number * BATCH / IMAGES, config.training)
                    losses = stage.stepper(Batch(images[indices], labels[indices], indices))
                    assert torch.isfinite(torch.stack(list(losses.values()))).all()
    # Nearly every image is a class of its own where there are a thousand; what holds on every processor is that a
    # student knows more than any answer that does not look at the image.
    margin = 0.05 if num_classes < IMAGES else 0.0
    for student in students:
        assert accuracy(student, images, labels) > most_frequent + margin
        assert student(images).abs().max() < 1e4
