"""Named complete runs, one function each; a variant is another recipe with a few fields changed."""

from collections.abc import Callable

from distill.config import (
    SGD,
    AdamW,
    Augment,
    ImageSettings,
    OneCycle,
    QuantizationAware,
    RandomResizedCrop,
    RunConfig,
    Steps,
    TrainingSettings,
    TrainTeacher,
    WeightAveraging,
)
from distill.errors import UsageError
from distill.methods.attention_feature_distillation import AttentionFeatureDistillationConfig
from distill.methods.attention_transfer import AttentionTransferConfig
from distill.methods.contrastive_representation import ContrastiveRepresentationConfig
from distill.methods.fitnet import FitNetConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.intra_class_feature_variation import IntraClassFeatureVariationConfig
from distill.methods.review_kd import ReviewKDConfig
from distill.methods.scratch import ScratchConfig
from distill.methods.spherical_kd import SphericalKDConfig
from distill.methods.variational_information import VariationalInformationConfig
from distill.methods.weighted_soft_labels import WeightedSoftLabelsConfig
from distill.methods.weighted_sum import Part, WeightedSumConfig
from distill.system import did_you_mean
from distill.taps import TapPairs
from distill.vision.datasets import Dicom, EchoPhantom, ImageFolder
from distill.vision.datasets.cifar import Cifar100
from distill.vision.datasets.echo_phantom import EchoPhantomMasks
from distill.vision.datasets.image_mask_folder import ImageMaskFolder
from distill.vision.datasets.indoor_phantom import IndoorPhantom

ECHO_MEAN, ECHO_STD = (0.216,), (0.231,)
"""Of the phantom's training pixels."""


def demo() -> RunConfig:
    """MobileNetV3-Small distilled from ResNet-18 on the embedded echo phantom, small enough for two cores."""
    return RunConfig(
        name="demo",
        dataset=EchoPhantom(validation_patients=120),
        image=ImageSettings(size_px=64, mean=ECHO_MEAN, std=ECHO_STD),
        model="mobilenet_v3_small",
        teacher=TrainTeacher(
            model="resnet18",
            training=TrainingSettings(epochs=3, batch_size=64, optimizer=AdamW(lr=2e-3), schedule=OneCycle()),
        ),
        method=HintonKDConfig(temperature=4.0, alpha=0.9),
        training=TrainingSettings(
            epochs=24,
            batch_size=64,
            optimizer=AdamW(lr=8e-3),
            schedule=OneCycle(),
            augment=Augment(crop_padding_px=3, kept_views=3),
            weight_averaging=WeightAveraging(decay=0.99),
        ),
    )


def demo_segmentation() -> RunConfig:
    """LR-ASPP on MobileNetV3-Small learns the heart's chambers from a U-Net, on the embedded echo phantom."""
    return _of_pixels("demo-segmentation", EchoPhantomMasks(train_patients=60, validation_patients=24), kd_alpha=0.5)


def demo_depth() -> RunConfig:
    """LR-ASPP on MobileNetV3-Small learns depth in metres from a U-Net, in the embedded rooms."""
    config = _of_pixels("demo-depth", IndoorPhantom(), kd_alpha=0.3)
    image = ImageSettings(size_px=64)

    def mirrored(training: TrainingSettings) -> TrainingSettings:
        return training.model_copy(update={"augment": Augment(horizontal_flip=True)})

    teacher = config.teacher
    assert isinstance(teacher, TrainTeacher)
    teacher = teacher.model_copy(update={"training": mirrored(teacher.training)})
    return config.model_copy(update={"image": image, "teacher": teacher, "training": mirrored(config.training)})


def _of_pixels(name: str, dataset: EchoPhantomMasks | IndoorPhantom, *, kd_alpha: float) -> RunConfig:
    """A mobile student at 64 px, small enough for two cores.

    The teacher's decoder goes back to the pictures' own size: of a teacher that answers at a sixteenth, as DeepLabV3
    does, a student at an eighth learns nothing in pictures as small as these.
    """
    augment = Augment(crop_padding_px=3)
    return RunConfig(
        name=name,
        dataset=dataset,
        image=ImageSettings(size_px=64, mean=ECHO_MEAN, std=ECHO_STD),
        model="lraspp_mobilenet_v3_small",
        teacher=TrainTeacher(
            model="unet_resnet18",
            training=TrainingSettings(epochs=8, batch_size=16, optimizer=AdamW(lr=2e-3), augment=augment),
        ),
        method=HintonKDConfig(temperature=1.0, alpha=kd_alpha),
        training=TrainingSettings(epochs=16, batch_size=16, optimizer=AdamW(lr=4e-3), augment=augment),
    )


def folder_masks() -> RunConfig:
    """Your own pictures with masks: dataset.path holds <split>/images, <split>/masks and classes.txt.

    With --set dataset.truth=depth it holds <split>/depth, 16-bit PNG in millimetres.
    """
    config = _of_pixels("folder-masks", EchoPhantomMasks(), kd_alpha=0.5)
    return config.model_copy(update={"dataset": ImageMaskFolder(path="data"), "image": ImageSettings(size_px=128)})


def city_segmentation() -> RunConfig:
    """IFVD's protocol, as DistPro's table 5 has it: PSPNet on ResNet-18 from ResNet-101, on CityScapes, on a GPU.

    40,000 steps of 8 crops of 512 px become 107 epochs of the 2,975 pictures, shown whole at 512 px.
    """
    training = TrainingSettings(
        epochs=107,
        batch_size=8,
        optimizer=SGD(lr=0.01),
        augment=Augment(horizontal_flip=True, resized_crop=RandomResizedCrop(min_area=0.25)),
    )
    return RunConfig(
        name="city-segmentation",
        dataset=ImageMaskFolder(path="data"),
        image=ImageSettings(size_px=512, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        model="pspnet_resnet18",
        teacher=TrainTeacher(model="pspnet_resnet101", training=training),
        method=IntraClassFeatureVariationConfig(),
        training=training,
    )


def indoor_depth() -> RunConfig:
    """DistPro's table 6: depth on NYUv2's maps, ResNet-18 from ResNet-101, dataset.path as folder-masks has it."""
    config = city_segmentation()
    training = config.training.model_copy(update={"augment": Augment(horizontal_flip=True), "epochs": 50})
    return config.model_copy(
        update={
            "name": "indoor-depth",
            "dataset": ImageMaskFolder(path="data", truth="depth"),
            "image": config.image.model_copy(update={"size_px": 256}),
            "teacher": TrainTeacher(model="pspnet_resnet101", training=training),
            "method": HintonKDConfig(alpha=0.5),
            "training": training,
        }
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


def folder_pretrained() -> RunConfig:
    """Your own pictures if they are few: as folder-kd, both networks from ImageNet weights (extra `pretrained`).

    EfficientNet-Lite0 learns from EfficientNet-Lite2. The statistics of batch normalisation stay those of the weights,
    all but the classifier learns at a tenth of the rate.
    """
    training = TrainingSettings(
        epochs=8,
        batch_size=64,
        optimizer=AdamW(lr=2e-3),
        schedule=OneCycle(),
        augment=Augment(crop_padding_px=8),
        weights="pretrained",
        backbone_lr_factor=0.1,
        freeze_batch_norm=True,
    )
    return RunConfig(
        name="folder-pretrained",
        dataset=ImageFolder(path="data"),
        image=ImageSettings(size_px=96, mean=(0.5,), std=(0.5,)),
        model="efficientnet_lite0",
        teacher=TrainTeacher(model="efficientnet_lite2", training=training),
        method=HintonKDConfig(temperature=4.0, alpha=0.9),
        training=training,
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


def cifar_kd() -> RunConfig:
    """The CRD protocol on CIFAR-100: ResNet-8x4 from ResNet-32x4, 240 epochs; dataset.path holds cifar-100-python/.

    A tenth labels, nine tenths soft targets; SGD at 0.05, divided by ten after epochs 150, 180 and 210; crops after
    four black pixels, mirror images; batch 64.
    """
    augment = Augment(crop_padding_px=4, horizontal_flip=True)
    steps = Steps(epochs=(150, 180, 210))
    training = TrainingSettings(epochs=240, batch_size=64, optimizer=SGD(), schedule=steps, augment=augment)
    return RunConfig(
        name="cifar-kd",
        dataset=Cifar100(path="data"),
        image=ImageSettings(size_px=32, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
        model="resnet8x4",
        teacher=TrainTeacher(model="resnet32x4", training=training),
        method=HintonKDConfig(temperature=4.0, alpha=0.9),
        training=training,
    )


def cifar_at_kd() -> RunConfig:
    """As cifar-kd, soft targets and attention transfer, each beside labels of weight 1."""
    return _cifar_sum("cifar-at-kd", HintonKDConfig(temperature=4.0, alpha=1.0), AttentionTransferConfig())


def cifar_wsl_at() -> RunConfig:
    """As cifar-kd, weighted soft labels and attention transfer beside labels of weight 1."""
    return _cifar_sum("cifar-wsl-at", WeightedSoftLabelsConfig(), AttentionTransferConfig())


def cifar_crd_at_kd() -> RunConfig:
    """As cifar-kd, contrastive representation, attention transfer and soft targets beside labels of weight 1."""
    soft = HintonKDConfig(temperature=4.0, alpha=1.0)
    return _cifar_sum("cifar-crd-at-kd", ContrastiveRepresentationConfig(), AttentionTransferConfig(), soft)


def cifar_afd() -> RunConfig:
    """As cifar-kd, attention-based feature distillation of the teacher's stage ends to all blocks of the student."""
    taps = TapPairs(student="blocks", teacher=("stage-end:1", "stage-end:2", "stage-end:3"))
    method = AttentionFeatureDistillationConfig(taps=taps)
    return cifar_kd().model_copy(update={"name": "cifar-afd", "method": method})


def cifar_review_kd() -> RunConfig:
    """ReviewKD's protocol on CIFAR-100: WRN-16-2 from WRN-40-2, 240 epochs; dataset.path holds cifar-100-python/.

    As cifar-kd with batch 128, twice the rate and Nesterov's momentum.
    """
    config = cifar_kd()
    changes = {"batch_size": 128, "optimizer": SGD(lr=0.1, nesterov=True)}
    training = config.training.model_copy(update=changes)
    mean, std = (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)
    return config.model_copy(
        update={
            "name": "cifar-review-kd",
            "image": ImageSettings(size_px=32, mean=mean, std=std),
            "model": "wrn_16_2",
            "teacher": TrainTeacher(model="wrn_40_2", training=training),
            "method": ReviewKDConfig(),
            "training": training,
        }
    )


SoftOnly = HintonKDConfig | SphericalKDConfig
"""In a sum with alpha = 1, without labels."""

SumPart = (
    SoftOnly
    | WeightedSoftLabelsConfig
    | FitNetConfig
    | AttentionTransferConfig
    | VariationalInformationConfig
    | ContrastiveRepresentationConfig
)


def labels_counted_once(*methods: SumPart) -> WeightedSumConfig:
    """The losses of several methods as each has them alone, labels counted once.

    Those that count the labels share their weight of 1; what they have beside is multiplied by as much as they lose.
    """
    counting = [method for method in methods if not isinstance(method, SoftOnly)]
    share = 1 / len(counting)

    def part(method: SumPart) -> Part:
        if isinstance(method, SoftOnly):
            return Part(method=method)
        field = "alpha" if isinstance(method, WeightedSoftLabelsConfig) else "weight"
        return Part(method=method.model_copy(update={field: getattr(method, field) / share}), weight=share)

    return WeightedSumConfig(parts=tuple(part(method) for method in methods))


def _cifar_sum(name: str, *methods: SumPart) -> RunConfig:
    return cifar_kd().model_copy(update={"name": name, "method": labels_counted_once(*methods)})


def patient() -> RunConfig:
    """As folder-kd, slowly: teacher and student see the same mixed views for a very long time.

    Function matching of Beyer et al. 2022, arXiv:2106.05237: random crops of every size, mixup over its whole range, no
    labels, the Kullback-Leibler divergence at temperature 1 alone. The paper trains for up to thousands of epochs; 600
    are our choice.
    """
    views = Augment(resized_crop=RandomResizedCrop(), mixup=1.0)
    config = folder_kd()
    training = config.training.model_copy(update={"epochs": 600, "augment": views, "clip_norm": 1.0})
    method = HintonKDConfig(temperature=1.0, alpha=1.0)
    return config.model_copy(update={"name": "patient", "method": method, "training": training})


def from_scratch(config: RunConfig, name: str) -> RunConfig:
    """The same run without a teacher: the baseline of every comparison."""
    return config.model_copy(update={"name": name, "teacher": None, "method": ScratchConfig()})


def teacher_of(config: RunConfig, name: str) -> RunConfig:
    """The run that trains a recipe's teacher, by itself: many students can then take it as a checkpoint."""
    return config.teacher_run().model_copy(update={"name": name})


def demo_teacher() -> RunConfig:
    """The teacher of demo by itself."""
    return teacher_of(demo(), "demo-teacher")


def folder_teacher() -> RunConfig:
    """The teacher of folder-kd by itself: set dataset.path."""
    return teacher_of(folder_kd(), "folder-teacher")


def echo_dicom_teacher() -> RunConfig:
    """The teacher of echo-dicom by itself: set dataset.path."""
    return teacher_of(echo_dicom(), "echo-dicom-teacher")


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
    "demo-teacher": demo_teacher,
    "demo-qat": demo_qat,
    "demo-segmentation": demo_segmentation,
    "demo-depth": demo_depth,
    "folder-masks": folder_masks,
    "city-segmentation": city_segmentation,
    "indoor-depth": indoor_depth,
    "demo-quantization-friendly": demo_quantization_friendly,
    "echo-kd": echo_kd,
    "echo-scratch": echo_scratch,
    "echo-dicom": echo_dicom,
    "echo-dicom-scratch": echo_dicom_scratch,
    "echo-dicom-teacher": echo_dicom_teacher,
    "folder-kd": folder_kd,
    "folder-scratch": folder_scratch,
    "folder-teacher": folder_teacher,
    "folder-pretrained": folder_pretrained,
    "cifar-kd": cifar_kd,
    "cifar-at-kd": cifar_at_kd,
    "cifar-wsl-at": cifar_wsl_at,
    "cifar-crd-at-kd": cifar_crd_at_kd,
    "cifar-afd": cifar_afd,
    "cifar-review-kd": cifar_review_kd,
    "patient": patient,
}


def recipe(name: str) -> RunConfig:
    """A recipe's configuration; raises UsageError naming the nearest known ones."""
    if name not in RECIPES:
        raise UsageError(
            f"unknown recipe {name!r}{did_you_mean(name, RECIPES)} Known: {', '.join(RECIPES)}; "
            "a config.json or a run folder works as well."
        )
    return RECIPES[name]()
