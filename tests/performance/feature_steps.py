"""What the step of each method costs that looks inside both networks, against hinton_kd's step in the same rounds.

ResNet-20 learns from ResNet-56 at 32 px; the teacher is asked in both.
"""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from distill.config import SGD, TrainingSettings
from distill.data import Data
from distill.methods import METHODS, AnyMethod
from distill.methods.contrastive_representation import Negatives
from distill.methods.hinton_kd import HintonKDConfig
from distill.recipes import demo
from distill.run_folder import State
from distill.teachers.teacher import TeacherAnswers
from distill.training.batches import Batches, EndlessBatches
from distill.training.dry_run import dry_run
from distill.training.lightning import Fabric
from distill.training.stages import spans, start
from distill.training.step import Objective
from distill.vision.datasets import EchoPhantom, Split
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from tests.performance.method_steps import in_rounds
from tests.performance.side_by_side import Comparison, compare

SIZE_PX, BATCH, STEPS, ROUNDS = 32, 64, 2, 7
PICTURES = Preprocess(size_px=SIZE_PX, channels=1, mean=(0.2,), std=(0.2,))
DATA = EchoPhantom(train_patients=50, validation_patients=1)
IMAGES, CLASSES = 50_000, 100

GOALS = {
    "attention_transfer": "≥ 0.80",
    "variational_information": "≥ 0.80",
    "similarity_preserving": "≥ 0.80",
    "fitnet": "≥ 0.80",
    "probabilistic_knowledge_transfer": "≥ 0.80",
    "relational_kd": "≥ 0.80",
    "correlation_congruence": "≥ 0.80",
    "neuron_selectivity": "≥ 0.80",
    "overhaul_feature_distillation": "≥ 0.67",
    "attention_feature_distillation": "≥ 0.67",
    "contrastive_representation": "≥ 0.67",
    "activation_boundaries": "–",
    "factor_transfer": "–",
}
"""base / new: 0.80 is 1.25 times the step, 0.67 is 1.5 times."""

IN_ONE_STAGE = {"activation_boundaries": "first_epochs", "factor_transfer": "paraphraser_epochs"}


def comparisons() -> list[Comparison]:
    """Every method's step against hinton_kd's; and how negatives are drawn."""
    torch.set_num_threads(2)
    split = DATA.load("train", PICTURES)
    work = {"hinton_kd": loop(split, HintonKDConfig(temperature=4.0, alpha=0.9))}
    for kind in GOALS:
        config = METHODS[kind]()  # type: ignore[call-arg]
        work[kind] = loop(split, config.model_copy(update={IN_ONE_STAGE[kind]: None} if kind in IN_ONE_STAGE else {}))
    seconds = in_rounds(work, rounds=ROUNDS)
    base = tuple(seconds["hinton_kd"])
    steps = [
        Comparison(f"{kind} step, against hinton_kd, teacher asked in both", goal, base, tuple(seconds[kind]))
        for kind, goal in GOALS.items()
    ]
    return [*steps, *drawing()]


def loop(split: Split, config: AnyMethod) -> Callable[[], None]:
    """Some steps of `distill.train`."""
    fabric = Fabric(accelerator="cpu", devices=1)
    training = TrainingSettings(epochs=1, batch_size=BATCH, optimizer=SGD())
    image = demo().image.model_copy(update={"size_px": SIZE_PX})
    run = demo().model_copy(update={"method": config, "image": image, "training": training, "model": "resnet20"})
    torch.manual_seed(0)
    student = build("resnet20", num_classes=len(split.class_names), preprocess=PICTURES)
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    answers = TeacherAnswers(run, None, None, fabric)  # type: ignore[arg-type]
    teacher = build("resnet56", num_classes=len(split.class_names), preprocess=PICTURES).eval().requires_grad_(False)
    teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    answers.model, answers.size_px = teacher, SIZE_PX
    built = dry_run(run, Data(split, split, "", ""), [student], teacher, teacher_px=SIZE_PX)
    answers.taps = built.teacher
    objective = Objective(torch.nn.ModuleList([student]), built.method, built.students)
    (span,) = spans(built.method.stages(), 1, kind=config.kind)
    batches = Batches(split, batch_size=BATCH, device=fabric.device)
    held_back = EndlessBatches(batches) if config.needs.held_back else None
    stage = start(span, objective, answers, held_back, run, State(), fabric)
    stage.start_epoch(0)
    some = list(itertools.islice(batches.epoch(0), STEPS))

    def steps() -> None:
        with built.tapped():
            for batch in some:
                stage.stepper(batch)

    return steps


def drawing() -> list[Comparison]:
    """16,384 negatives for each of 64 of CIFAR-100's images, against NumPy, which draws for one image after the other.

    The method's authors draw by NumPy's older generator.
    """
    labels = torch.arange(IMAGES) % CLASSES
    negatives, indices = Negatives(labels, 16_384), torch.arange(BATCH)
    others = [np.flatnonzero(labels.numpy() != label) for label in range(CLASSES)]

    def one_by_one(generator: np.random.RandomState | np.random.Generator) -> None:
        for label in labels[:BATCH].tolist():
            generator.choice(others[label], 16_384, replace=False)

    def together() -> None:
        negatives.draw(indices, torch.tensor(0))

    return [
        compare(f"negatives of a batch, against {name}", goal, partial(one_by_one, generator), together, rounds=ROUNDS)
        for name, goal, generator in (
            ("one image after the other, as the authors draw", "≥ 8", np.random.RandomState(0)),
            ("NumPy's newer generator", "–", np.random.default_rng(0)),
        )
    ]
