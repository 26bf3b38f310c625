"""Images per second of this loop against the usual research loop.

Both sides train MobileNetV3-Small at 64 px, batch 64, with ResNet-18 as teacher, on the same phantom images.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from distill.config import AdamW, Augment, TrainingSettings
from distill.methods import AnyMethod, Outputs, Setting
from distill.methods.hinton_kd import HintonKDConfig
from distill.training.batches import Batch, Batches
from distill.training.step import Objective, Step, make_optimizer
from distill.vision.datasets import EchoPhantom, Split
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess
from tests.performance.side_by_side import Comparison, compare

SIZE_PX, BATCH, STEPS, ROUNDS = 64, 64, 3, 7
SMALL = Preprocess(size_px=SIZE_PX, channels=1, mean=(0.2,), std=(0.2,))
NATIVE = SMALL.model_copy(update={"size_px": 112})
DATA = EchoPhantom(train_patients=50, validation_patients=1)
PLAIN = Augment()


class ResearchImages(Dataset[tuple[Tensor, int]]):
    """Decoded pictures with a PIL transform per image, as research code has them."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images, split.labels
        self.transform = transforms.Compose(
            [
                transforms.Grayscale(3),
                transforms.Resize((SIZE_PX, SIZE_PX)),
                transforms.ToTensor(),
                transforms.Normalize((0.2,) * 3, (0.2,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index, :, :, 0])), int(self.labels[index])  # type: ignore[call-overload,index]


def network(name: str) -> ImageClassifier:
    torch.manual_seed(0)
    return build(name, num_classes=10, preprocess=SMALL)


def research_loop(split: Split, *, workers: int, device: str = "cpu") -> Callable[[], None]:
    """The usual loop: DataLoader, float32, teacher forward in every step, `.item()` in every step."""
    student = network("mobilenet_v3_small").network.to(device)
    teacher = network("resnet18").network.eval().to(device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    loader = DataLoader(
        ResearchImages(split), BATCH, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    endless: Iterator[list[Tensor]] = itertools.chain.from_iterable(itertools.repeat(loader))

    def some_steps() -> None:
        for images, labels in itertools.islice(endless, STEPS):
            images, labels = images.to(device), labels.to(device)
            with torch.no_grad():
                answers = teacher(images)
            logits = student(images)
            soft = F.kl_div(F.log_softmax(logits / 2, 1), F.softmax(answers / 2, 1), reduction="batchmean") * 4
            loss = 0.5 * soft + 0.5 * F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return some_steps


class Asked:
    """A teacher that is asked in every step."""

    def __init__(self, device: str = "cpu") -> None:
        self.model = network("resnet18").eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Outputs:
        return Outputs(self.model(batch.images))


def our_loop(
    split: Split,
    answers: Callable[[Batch], Outputs | None],
    config: AnyMethod,
    *,
    device: str = "cpu",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    compiled: str | None = None,
    augment: Augment = PLAIN,
) -> Callable[[], None]:
    """The step of `distill.train` with the batches it would get.

    Args:
        compiled: mode of `torch.compile` for the students, e.g. `reduce-overhead` for CUDA graphs; None for eager.
    """
    students = torch.nn.ModuleList(network("mobilenet_v3_small") for _ in range(config.needs.students))
    students.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled is not None:
        for student in students:
            student.compile(mode=compiled)
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    settings = TrainingSettings(epochs=1, batch_size=BATCH, optimizer=AdamW())
    method = config.build(Setting(torch.from_numpy(split.labels), len(split.class_names)))
    plain = Objective(students, method)
    objective, optimizer = fabric.setup(plain, make_optimizer(settings, plain))
    step = Step(fabric, objective, optimizer, answers, SIZE_PX)
    batches = Batches(split, batch_size=BATCH, device=fabric.device, augment=augment)
    endless = itertools.chain.from_iterable(batches.epoch(number) for number in itertools.count())

    def some_steps() -> None:
        for batch in itertools.islice(endless, STEPS):
            step(batch)
        if device == "cuda":
            torch.cuda.synchronize()

    return some_steps


def nobody(batch: Batch) -> None:
    """No teacher."""


def comparisons() -> list[Comparison]:
    """Every training comparison."""
    torch.set_num_threads(2)
    native, small = DATA.load("train", NATIVE), DATA.load("train", SMALL)
    table = torch.randn(len(small), 10)
    cached = our_loop(small, lambda batch: Outputs(table[batch.indices]), HintonKDConfig())
    asked = our_loop(small, Asked(), HintonKDConfig())
    found = []
    for workers in (0, 2):
        base = research_loop(native, workers=workers)
        title = f"research loop ({workers} loader workers)"
        found.append(compare(f"KD, teacher kept, against {title}", "≥ 1.3", base, cached, rounds=ROUNDS))
        found.append(compare(f"KD, teacher asked every step, against {title}", "–", base, asked, rounds=ROUNDS))
    return found
