"""Named complete runs, one function each; a variant is another recipe with a few fields changed."""

from collections.abc import Callable

from distill.config import (
    AdamW,
    Augment,
    ImageSettings,
    OneCycle,
    QuantizationAware,
    RunConfig,
    TrainingSettings,
    TrainTeacher,
    WeightAveraging,
)
from distill.errors import UsageError
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.scratch import ScratchConfig
from distill.system import did_you_mean
from distill.vision.datasets import Dicom, EchoPhantom, ImageFolder

ECHO_MEAN, ECHO_STD = (0.216,), (0.231,)
"""Of the phantom's training pixels."""


def demo() -> RunConfig:
    """MobileNetV3-Small distilled from ResNet-18 on the embedded echo phantom, small enough for two cores."""
    return RunConfig(
        name="demo",
        dataset=EchoPhantom(),
        image=ImageSettings(size_px=64, mean=ECHO_MEAN, std=ECHO_STD),
        model="mobilenet_v3_small",
        teacher=TrainTeacher(
            model="resnet18",
            training=TrainingSettings(epochs=3, batch_size=64, optimizer=AdamW(lr=2e-3), schedule=OneCycle()),
        ),
        method=HintonKDConfig(temperature=4.0, alpha=0.9),
        training=TrainingSettings(
            epochs=18,
            batch_size=64,
            optimizer=AdamW(lr=8e-3),
            schedule=OneCycle(),
            augment=Augment(crop_padding_px=3, kept_views=3),
            weight_averaging=WeightAveraging(decay=0.99),
        ),
    )


def demo_qat() -> RunConfig:
    """The student of demo fine-tuned for int8 with the same teacher (run demo first)."""
    return demo().model_copy(
        update={
            "name": "demo-qat",
            "training": TrainingSettings(epochs=4, batch_size=64, optimizer=AdamW(lr=1e-4)),
            "quantization_aware": QuantizationAware(from_run="out/runs/demo"),
        }
    )


def demo_quantization_friendly() -> RunConfig:
    """As demo, for MobileNetV3-Small without hard-swish and squeeze-excitation."""
    return demo().model_copy(update={"name": "demo-quantization-friendly", "model": "mobilenet_v3_small_relu"})


def echo_kd() -> RunConfig:
    """The echo-view paper's setting: 112 px, batch 256, 20 epochs with early stopping, T = 2, alpha = 0.5.

    The paper does not state optimizer and rate; AdamW at 1e-3 with a cosine is our choice.
    """
    training = TrainingSettings(epochs=20, batch_size=256, early_stopping_patience=5)
    return RunConfig(
        name="echo-kd",
        dataset=EchoPhantom(),
        image=ImageSettings(size_px=112, mean=ECHO_MEAN, std=ECHO_STD),
        model="mobilenet_v3_small",
        teacher=TrainTeacher(model="resnet18", training=training),
        method=HintonKDConfig(temperature=2.0, alpha=0.5),
        training=training,
    )


def folder_kd() -> RunConfig:
    """Your own pictures: set dataset.path to a folder of <split>/<class>/*.jpg; random crops, no mirror images.

    Left and right may be what tells two classes apart; where they are not,
    --set training.augment.horizontal_flip=true makes more of few pictures.
    """
    augment = Augment(crop_padding_px=8)
    return RunConfig(
        name="folder-kd",
        dataset=ImageFolder(path="data"),
        image=ImageSettings(size_px=64),
        model="mobilenet_v3_small",
        teacher=TrainTeacher(model="resnet18", training=TrainingSettings(epochs=30, batch_size=128, augment=augment)),
        method=HintonKDConfig(temperature=4.0, alpha=0.9),
        training=TrainingSettings(epochs=30, batch_size=128, optimizer=AdamW(lr=2e-3), augment=augment),
    )


def echo_dicom() -> RunConfig:
    """Your own DICOM stills and cine loops, e.g. of echocardiography: set dataset.path, and dataset.labels_csv if any.

    Frames are cropped to the ultrasound region, masked around the sector, never mirrored, and divided by patient.
    """
    augment = Augment(crop_padding_px=8)
    return RunConfig(
        name="echo-dicom",
        dataset=Dicom(path="data"),
        image=ImageSettings(size_px=112),
        model="mobilenet_v3_small",
        teacher=TrainTeacher(model="resnet18", training=TrainingSettings(epochs=30, batch_size=64, augment=augment)),
        method=HintonKDConfig(temperature=4.0, alpha=0.9),
        training=TrainingSettings(epochs=30, batch_size=64, optimizer=AdamW(lr=2e-3), augment=augment),
    )


def from_scratch(config: RunConfig, name: str) -> RunConfig:
    """The same run without a teacher: the baseline of every comparison."""
    return config.model_copy(update={"name": name, "teacher": None, "method": ScratchConfig()})


def demo_scratch() -> RunConfig:
    """As demo, without a teacher."""
    return from_scratch(demo(), "demo-scratch")


def echo_scratch() -> RunConfig:
    """As echo-kd, without a teacher."""
    return from_scratch(echo_kd(), "echo-scratch")


def echo_dicom_scratch() -> RunConfig:
    """As echo-dicom, without a teacher."""
    return from_scratch(echo_dicom(), "echo-dicom-scratch")


def folder_scratch() -> RunConfig:
    """As folder-kd, without a teacher."""
    return from_scratch(folder_kd(), "folder-scratch")


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "demo": demo,
    "demo-scratch": demo_scratch,
    "demo-qat": demo_qat,
    "demo-quantization-friendly": demo_quantization_friendly,
    "echo-kd": echo_kd,
    "echo-scratch": echo_scratch,
    "echo-dicom": echo_dicom,
    "echo-dicom-scratch": echo_dicom_scratch,
    "folder-kd": folder_kd,
    "folder-scratch": folder_scratch,
}


def recipe(name: str) -> RunConfig:
    """A recipe's configuration; raises UsageError naming the nearest known ones."""
    if name not in RECIPES:
        raise UsageError(
            f"unknown recipe {name!r}{did_you_mean(name, RECIPES)} Known: {', '.join(RECIPES)}; "
            "a config.json or a run folder works as well."
        )
    return RECIPES[name]()
