"""No value of a step is needed on the host: a GPU is given the next step before it has finished this one."""

import itertools
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from distill.batches import Batches
from distill.config import SGD, AdamW, Augment, TrainingSettings
from distill.loss_watch import LossWatch
from distill.methods import METHODS, Outputs
from distill.recipes import demo
from distill.step_clock import StepClock
from distill.teacher import TeacherAnswers
from distill.train import Objective, Step, make_optimizer, set_learning_rate
from distill.vision.datasets import EchoPhantom
from distill.vision.models import build
from distill.vision.preprocess import Preprocess


def settings_of(kind: str) -> dict[str, Any]:
    """What a method cannot do without."""
    parts = [{"method": {"kind": kind}} for kind in ("spherical_kd", "decoupled_kd", "curriculum_temperature")]
    return {"parts": parts} if kind == "weighted_sum" else {}


def method_config(kind: str) -> Any:
    return METHODS[kind].model_validate(settings_of(kind), strict=False)


@pytest.mark.parametrize("kind", METHODS)
def test_a_loss_and_its_gradient_need_no_value(kind: str) -> None:
    """On the meta device there are no values: reading one, or choosing by a mask, is an error."""
    method = method_config(kind).build().to("meta")
    method.start_epoch(2)
    students = [torch.empty(6, 5, device="meta", requires_grad=True) for _ in range(method.num_students)]
    teacher = Outputs(torch.empty(6, 5, device="meta")) if method.needs_teacher else None
    labels = torch.empty(6, dtype=torch.int64, device="meta")
    losses = method(tuple(Outputs(student) for student in students), teacher, labels)
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in [*students, *method.parameters()])


def test_the_meta_device_does_find_a_read_and_a_mask() -> None:
    values = torch.empty(6, 5, device="meta")
    with pytest.raises(RuntimeError):
        values.sum().item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        values[values > 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("optimizer", [AdamW(), SGD()])
def test_steps_on_a_gpu_never_wait_for_it(kind: str, optimizer: AdamW | SGD) -> None:
    """Batches with augmentation, teacher in every step at its own size, losses, rate and clock: as `train_epoch`."""
    fabric = Fabric(accelerator="cuda", devices=1, precision="bf16-mixed")
    preprocess = Preprocess(size_px=48, channels=1, mean=(0.2,), std=(0.2,))
    split = EchoPhantom(train_patients=8, validation_patients=1).load("train", preprocess)
    augment = Augment(crop_padding_px=2, horizontal_flip=True)
    batches = Batches(split, batch_size=32, device=fabric.device, augment=augment)
    method = method_config(kind).build()
    students = nn.ModuleList(
        build("mobilenet_v3_small", num_classes=10, preprocess=preprocess) for _ in range(method.num_students)
    )
    training = TrainingSettings(epochs=2, batch_size=32, optimizer=optimizer, augment=augment)
    wrapped, stepping = fabric.setup(Objective(students, method), make_optimizer(training, students, method))
    answers = answers_of_a_network(fabric, preprocess) if method.needs_teacher else no_answers(fabric)
    step = Step(fabric, wrapped, stepping, answers, 32)
    watch, clock = LossWatch(demo(), 0, fabric.device), StepClock(fabric.device)

    def steps(epoch: int, count: int) -> None:
        for index, batch in enumerate(itertools.islice(batches.epoch(epoch), count)):
            set_learning_rate(stepping, training, epoch + index / len(batches))
            watch.add(index, step(batch))
            clock.tick()

    steps(0, 2)  # allocates, chooses algorithms
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps(1, 4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watch.check()


def no_answers(fabric: Fabric) -> TeacherAnswers:
    return TeacherAnswers(demo(), None, None, fabric)  # type: ignore[arg-type]


def answers_of_a_network(fabric: Fabric, preprocess: Preprocess) -> TeacherAnswers:
    answers = no_answers(fabric)
    network = build("resnet18", num_classes=10, preprocess=preprocess).eval().requires_grad_(False)
    answers.model, answers.size_px = fabric.to_device(network), 48
    return answers
