"""What every method can be tried on: a small network with stages, and the method built for it."""

import itertools
import json
from typing import Any

import torch
from torch import Tensor, nn

from distill.data import Data
from distill.methods import METHODS, AnyMethod, Method, Outputs, Samples, Setting
from distill.studies import short_demo
from distill.training.dry_run import DryRun, dry_run
from distill.vision.datasets import Split
from distill.vision.models import ImageClassifier
from distill.vision.models.tap_points import Point, TapPoints, points_of_stages
from distill.vision.preprocess import Preprocess

SIZE_PX = 8
PREPROCESS = Preprocess(size_px=SIZE_PX, channels=1, mean=(0.5,), std=(0.25,))


def method_config(kind: str) -> AnyMethod:
    """A method's settings: the defaults, what it cannot do without, and weights for maps of four pixels."""
    parts = [{"method": {"kind": part}} for part in ("spherical_kd", "decoupled_kd", "curriculum_temperature")]
    grid = {"pairs": "lower_to_higher", "transforms": ["two_convolutions"]}
    settings: dict[str, dict[str, Any]] = {
        "weighted_sum": {"parts": parts},
        "contrastive_representation": {"negatives": 16},
        "attention_transfer": {"weight": 10.0},
        "fitnet": {"weight": 10.0},
        "neuron_selectivity": {"weight": 5.0},
        "attention_feature_distillation": {"weight": 20.0},
        "review_kd": {"weight": 0.5},
        "distpro_search": {"grid": grid, "weight": 0.2},
        "distpro": {"grid": grid, "weight": 0.2, "mode": "equally_weighted"},
        "token_distillation": {"distillation_head": "head"},
        "activation_boundaries": {"first_epochs": 1},
        "factor_transfer": {"paraphraser_epochs": 1},
        "flow_of_solution_procedure": {"first_epochs": 1},
    }
    return METHODS[kind].model_validate_json(json.dumps(settings.get(kind, {})))


OF_PICTURES = tuple(kind for kind in METHODS if "classification" in method_config(kind).needs.tasks)
"""Methods for classifiers; the others are for masks or depth alone."""


def is_for_one_family(kind: str) -> bool:
    """Whether a method wants a teacher as wide as the student."""
    return kind == "flow_of_solution_procedure"


def built(config: AnyMethod, num_classes: int = 4) -> Method:
    """A method that looks at logits alone."""
    return config.build(Setting(torch.arange(num_classes), num_classes))


def samples(labels: Tensor) -> Samples:
    """The first images of the training split, with these labels."""
    return Samples(labels, torch.arange(len(labels)))


class Stages(nn.Module):
    """Three stages of one block at 1/1, 1/2 and 1/4, and a linear head; students have no batch normalisation."""

    def __init__(self, num_classes: int, *, width: int, zero_head: bool = False, normalised: bool = False) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(i, o, 3, stride=1 if i == 3 else 2, padding=1),
                    *([nn.BatchNorm2d(o)] if normalised else []),
                    nn.ReLU(),
                )
                for i, o in itertools.pairwise(widths)
            )
        )
        self.head = nn.Linear(4 * width * (SIZE_PX // 4) ** 2, num_classes)
        if zero_head:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @property
    def tap_points(self) -> TapPoints:
        """What its first convolution gives is called the stem."""
        last = len(self.stages[0]) - 1  # type: ignore[arg-type]
        stages = [[Point(f"stages.{number}", f"stages.{number}.{last}:input")] for number in range(3)]
        return points_of_stages(Point("stages.0.0", "stages.0.0"), stages, "head:input")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, classes]."""
        return self.head(self.stages(images).flatten(1))


def network(num_classes: int, *, width: int = 4, zero_head: bool = False, normalised: bool = False) -> ImageClassifier:
    """A student of one-channel images [B, 1, SIZE_PX, SIZE_PX]."""
    return ImageClassifier(Stages(num_classes, width=width, zero_head=zero_head, normalised=normalised), PREPROCESS)


def teacher_for(kind: str, num_classes: int) -> ImageClassifier:
    """What any method can learn from: batch normalisation, and twice the student's width where that is allowed."""
    width = 4 if is_for_one_family(kind) else 8
    return network(num_classes, width=width, normalised=True).eval().requires_grad_(False)


def dry(
    config: AnyMethod,
    students: list[ImageClassifier],
    teacher: ImageClassifier,
    labels: Tensor,
    *,
    size_px: int = SIZE_PX,
) -> DryRun:
    """The method for these networks, as the loop builds it."""
    classes = students[0].network.head.out_features  # type: ignore[union-attr]
    images = torch.zeros(len(labels), size_px, size_px, 1, dtype=torch.uint8).numpy()
    split = Split(images, labels.numpy(), tuple(str(number) for number in range(classes)))  # type: ignore[arg-type]
    image = short_demo().image.model_copy(update={"size_px": size_px})
    run = short_demo().model_copy(update={"method": config, "image": image})
    return dry_run(run, Data(split, split, "", ""), students, teacher, teacher_px=size_px)


def losses_of(
    run: DryRun, students: list[ImageClassifier], teacher: ImageClassifier, images: Tensor, samples: Samples
) -> dict[str, Tensor]:
    """The method's losses of a batch, with everything it asked for."""
    with run.tapped():
        with torch.no_grad():
            logits = teacher(images)
        theirs = Outputs(logits, {} if run.teacher is None else run.teacher.take())
        ours = []
        for number, student in enumerate(students):
            logits = student(images)
            ours.append(Outputs(logits, run.students[number].take() if run.students else {}))
        return run.method(tuple(ours), theirs, samples)


def features(model: ImageClassifier, images: Tensor, stage: int) -> Tensor:
    """The map [B, C, H, W] at the end of a stage of the network above (0 ... 2), computed without taps."""
    network = model.network
    assert isinstance(network, Stages)
    return network.stages[: stage + 1]((images - model.mean) * model.inverse_std)
