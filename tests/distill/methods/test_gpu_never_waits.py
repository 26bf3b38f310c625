"""No value of a step is needed on the host: a GPU is given the next step before it has finished this one."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from distill.config import (
    SGD,
    AdamW,
    Augment,
    ColourJitter,
    Erasing,
    RandAugment,
    RandomResizedCrop,
    TrainingSettings,
    TrivialAugment,
    WeightAveraging,
)
from distill.data import Data
from distill.run_folder import State
from distill.studies import short_demo
from distill.teachers.teacher import TeacherAnswers
from distill.training.batches import Batches, EndlessBatches
from distill.training.dry_run import dry_run
from distill.training.lightning import Fabric
from distill.training.loss_watch import LossWatch
from distill.training.stages import Underway, spans, start
from distill.training.step import Objective
from distill.training.step_clock import StepClock
from distill.training.weight_averaging import AveragedWeights
from distill.vision.datasets import EchoPhantom, Split
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from tests.distill.methods.toy import OF_PICTURES, SIZE_PX, dry, is_for_one_family, method_config, network, teacher_for


@pytest.mark.parametrize("aims", ["labels", "targets"])
@pytest.mark.parametrize("kind", OF_PICTURES)
def test_a_loss_and_its_gradient_need_no_value(kind: str, aims: str) -> None:
    """On the meta device there are no values: reading one, or choosing by a mask, is an error."""
    config = method_config(kind)
    students, teacher = [network(5) for _ in range(config.needs.students)], teacher_for(kind, 5)
    run = dry(config, students, teacher, torch.arange(6) % 5)
    objective = Objective(nn.ModuleList(students), run.method, run.students).to("meta")
    teacher.to("meta")
    run.method.start_epoch(2)
    run.method.start_step(0.5)
    images = torch.empty(6, 1, SIZE_PX, SIZE_PX, device="meta")
    numbers = torch.empty(6, dtype=torch.int64, device="meta")
    with run.tapped():
        with torch.no_grad():
            logits = None if config.needs.teacher == "none" else teacher(images)
        taps = {} if run.teacher is None else run.teacher.take()
        targets = torch.empty(6, 5, device="meta") if aims == "targets" else None
        losses = objective(images, numbers, numbers, logits, taps, targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in objective.parameters() if parameter.requires_grad)


def test_the_meta_device_does_find_a_read_and_a_mask() -> None:
    values = torch.empty(6, 5, device="meta")
    with pytest.raises(RuntimeError):
        values.sum().item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        values[values > 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", OF_PICTURES)
@pytest.mark.parametrize("optimizer", [AdamW(), SGD()])
def test_steps_on_a_gpu_never_wait_for_it(kind: str, optimizer: AdamW | SGD) -> None:
    """Batches with augmentation, teacher in every step at its own size, losses, rate and clock: as `train_epoch`."""
    fabric = Fabric(accelerator="cuda", devices=1, precision="bf16-mixed")
    preprocess = Preprocess(size_px=48, channels=1, mean=(0.2,), std=(0.2,))
    split = EchoPhantom(train_patients=8, validation_patients=1).load("train", preprocess)
    augment = Augment(crop_padding_px=2, horizontal_flip=True)
    batches = Batches(split, batch_size=32, device=fabric.device, augment=augment)
    config = method_config(kind)
    count = config.needs.students
    students = [build("mobilenet_v3_small", num_classes=10, preprocess=preprocess) for _ in range(count)]
    name = "mobilenet_v3_small" if is_for_one_family(kind) else "resnet18"
    answers = no_answers(fabric) if config.needs.teacher == "none" else answers_of_a_network(fabric, preprocess, name)
    training = TrainingSettings(epochs=2, batch_size=32, optimizer=optimizer, augment=augment)
    small = short_demo().image.model_copy(update={"size_px": 32})
    run = short_demo().model_copy(update={"method": config, "image": small, "training": training})
    built = dry_run(run, Data(split, split, "", ""), students, answers.model, teacher_px=answers.size_px)
    answers.taps = built.teacher
    objective = Objective(nn.ModuleList(students), built.method, built.students)
    watch, clock = LossWatch(run, 0, fabric.device), StepClock(fabric.device)

    def steps(stage: Underway, epoch: int, count: int) -> None:
        stage.start_epoch(epoch)
        for index, batch in enumerate(itertools.islice(batches.epoch(epoch), count)):
            stage.start_step(epoch + index / len(batches), training)
            watch.add(index, stage.stepper(batch))
            clock.tick()

    for span in spans(built.method.stages(), 2, kind=kind):
        held_back = EndlessBatches(batches) if config.needs.held_back else None
        stage = start(span, objective, answers, held_back, run, State(epoch=span.first), fabric)
        with built.tapped():
            steps(stage, span.first, 2)  # allocates, chooses algorithms
            torch.cuda.set_sync_debug_mode("error")
            try:
                steps(stage, span.end - 1, 4)
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert watch.check()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("policy", [RandAugment(), TrivialAugment()])
@pytest.mark.parametrize("kept_views", [None, 2])
def test_views_mixtures_and_averages_on_a_gpu_never_make_the_host_wait(
    policy: RandAugment | TrivialAugment, kept_views: int | None
) -> None:
    preprocess = Preprocess(size_px=48, channels=3, mean=(0.2,) * 3, std=(0.2,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (128, 48, 48, 3), dtype=np.uint8)
    split = Split(pixels, np.arange(128) % 10, tuple("0123456789"))
    augment = Augment(
        crop_padding_px=2,
        horizontal_flip=True,
        resized_crop=RandomResizedCrop(),
        policy=policy,
        colour=ColourJitter(),
        erasing=Erasing(pictures=0.5),
        mixup=None if kept_views else 0.2,
        cutmix=None if kept_views else 1.0,
        kept_views=kept_views,
    )
    device = torch.device("cuda")
    batches = Batches(
        split,
        batch_size=32,
        device=device,
        augment=augment,
        label_smoothing=0.1,
        balanced_weights=True,
        balanced_sampling=True,
    )
    network = build("mobilenet_v3_small", num_classes=10, preprocess=preprocess).to(device)
    averaged = AveragedWeights(WeightAveraging(), [network], device)
    for _ in batches.epoch(0):
        averaged.update(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, _ in enumerate(batches.epoch(1)):
            averaged.update(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def no_answers(fabric: Fabric) -> TeacherAnswers:
    return TeacherAnswers(short_demo(), None, None, fabric)  # type: ignore[arg-type]


def answers_of_a_network(fabric: Fabric, preprocess: Preprocess, name: str) -> TeacherAnswers:
    answers = no_answers(fabric)
    network = build(name, num_classes=10, preprocess=preprocess).eval().requires_grad_(False)
    answers.model, answers.size_px = fabric.to_device(network), 48
    return answers
