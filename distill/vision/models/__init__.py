"""Networks by name: `MODELS` is the one table, `build` the one way in.

A network is `forward(images) -> logits` on three-channel input; `ImageClassifier` puts normalisation in front of it, so
that everything outside this package, Java included, hands over pixels in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distill.errors import UsageError
from distill.system import did_you_mean
from distill.vision.factory import FOLDED, find_factory
from distill.vision.models import (
    cifar,
    deit,
    dense,
    edgenext,
    efficientformer_v2,
    efficientnet_lite,
    fastvit,
    ghostnet,
    mobilenet_v3,
    mobilenet_v4,
    mobileone,
    repvit,
    resnet,
    shufflenet_v2,
    shvit,
    starnet,
    tiny_vit,
)
from distill.vision.models.folding import folded
from distill.vision.models.from_timm import FromTimm, create
from distill.vision.preprocess import Interpolation, Preprocess
from distill.vision.tasks import TASKS, Task

Builder = Callable[[int], nn.Module]
"""Number of classes (of depth 1) -> a freshly initialised network."""

MODELS: dict[str, Builder] = {
    "mobilenet_v3_small": mobilenet_v3.mobilenet_v3_small,
    "mobilenet_v3_small_relu": mobilenet_v3.mobilenet_v3_small_relu,
    "mobilenet_v3_large": mobilenet_v3.mobilenet_v3_large,
    "shufflenet_v2_x1_0": shufflenet_v2.shufflenet_v2_x1_0,
    **ghostnet.NETWORKS,
    **efficientnet_lite.NETWORKS,
    **mobilenet_v4.NETWORKS,
    **repvit.NETWORKS,
    **fastvit.NETWORKS,
    **mobileone.NETWORKS,
    **efficientformer_v2.NETWORKS,
    **starnet.NETWORKS,
    **edgenext.NETWORKS,
    **shvit.NETWORKS,
    **tiny_vit.NETWORKS,
    **deit.NETWORKS,
    "resnet18": resnet.resnet18,
    "resnet50": resnet.resnet50,
    **cifar.NETWORKS,
}


FROM_TIMM = {name: make.name for name, make in MODELS.items() if isinstance(make, FromTimm)}
"""Of `MODELS` those that are timm's, and their names there."""


class ImageClassifier(nn.Module):
    """Normalisation and a network in one graph.

    One-channel images become three by broadcasting against the three-channel mean, which most exporters fold into
    the subtraction. Temperature scaling of a finished model divides the logits inside the graph.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        mean = torch.tensor(preprocess.mean, dtype=torch.float32).expand(3).reshape(1, 3, 1, 1)
        std = torch.tensor(preprocess.std, dtype=torch.float32).expand(3).reshape(1, 3, 1, 1)
        # Not in the state dict: the card's Preprocess is the only place these values are kept.
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.register_buffer("inverse_std", 1 / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1], C as in `preprocess` -> logits [B, classes].

        A network for every pixel answers [B, classes, H, W], or metres [B, 1, H, W].
        """
        logits = self.network((images - self.mean) * self.inverse_std)
        return logits if self.temperature == 1.0 else logits / self.temperature


def build(name: str, *, num_classes: int, preprocess: Preprocess) -> ImageClassifier:
    """A freshly initialised classifier; the weights follow torch's global random state.

    A network of timm's that is made for one size of images, such as a vision transformer, is made for this one.

    Args:
        name: a key of `MODELS`, `timm:NAME`, `torchvision:NAME`, `smp:ARCHITECTURE:ENCODER` or
            `python:package.module:factory`; with `folded:` before any of these it is without the branches that
            only training needs.
        num_classes: width of the output.
        preprocess: what its input looks like.

    Raises:
        UsageError: no such network, or the library cannot build it with this many classes.
    """
    make = builder(name, size_px=preprocess.size_px)
    try:
        network = make(num_classes)
    except UsageError:
        raise
    except Exception as error:  # a library's constructor may raise anything
        raise UsageError(f"{name} cannot be built for {num_classes} classes: {_words(error)}") from error
    return ImageClassifier(network, preprocess)


def try_on_two_images(name: str, preprocess: Preprocess, task: Task = TASKS["classification"]) -> None:
    """Show a freshly built network two images as training and validation will; leaves torch's random state as it was.

    Raises:
        UsageError: no such network, it fails on images of this size, or it does not answer as the task asks: with one
            row of logits for each, or with a map of each.
    """
    size = preprocess.size_px
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        outputs = task.num_outputs or 2
        model = build(name, num_classes=outputs, preprocess=preprocess)
        expected = (2, *task.output_shape(outputs, size))
        images = torch.rand(2, *preprocess.input_shape)
        for training in (True, False):
            try:
                answer: object = model.train(training)(images)
            except Exception as error:
                published = published_input(name).size_px
                hint = f" It was made for {published} px: --set image.size_px={published}." if published != size else ""
                raise UsageError(f"{name} fails on images of {size}x{size}: {_words(error)}.{hint}") from error
            fits = isinstance(answer, Tensor) and (answer.shape == expected if task.is_dense else answer.ndim == 2)
            if not isinstance(answer, Tensor) or not fits or len(answer) != 2:
                shape = f"a tensor {list(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
                remedy = (
                    f"Networks for {task.name}: {', '.join(dense.NETWORKS)}, smp:ARCHITECTURE:ENCODER."
                    if task.is_dense
                    else "It is no image classifier."
                )
                raise UsageError(f"{name} answers two images with {shape}; expected {task.answer}. {remedy}")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no message')}".rstrip(".")


@dataclass(frozen=True)
class PublishedInput:
    """What the published weights of a network see.

    Attributes:
        mean, std: one value per channel, or one for all; for pixels in [0, 1].
        crop_share: side of the centre square that is cut out, as a share of the picture's shorter side; None for a
            picture of which nothing is cut.
        interpolation: how pictures are resized to it.
    """

    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_share: float | None = None
    interpolation: Interpolation = "bilinear"


IMAGENET = PublishedInput(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR100 = PublishedInput(32, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))


def published_input(name: str) -> PublishedInput:
    """Size, mean and deviation that a network's library trains it with; ImageNet's usual ones where it says none.

    Raises:
        UsageError: the library has no such network.
    """
    name = name.removeprefix(FOLDED)
    library, _, inner = name.partition(":")
    if library == "python":  # whoever brings it says what it sees
        return IMAGENET
    builder(name)
    if name in cifar.NETWORKS:
        return CIFAR100
    if library == "timm" or name in FROM_TIMM:
        import timm

        published = timm.get_pretrained_cfg(inner or FROM_TIMM[name])
        if published is not None:
            return PublishedInput(
                size_px=published.input_size[-1],
                mean=tuple(published.mean),
                std=tuple(published.std),
                # Squashed pictures lose no side, and are stretched here.
                crop_share=None if published.crop_mode == "squash" else published.crop_pct,
                interpolation=_filter(published.interpolation),
            )
    if library == "torchvision":
        from torchvision.models import get_model_weights

        transforms: Any = next(iter(get_model_weights(inner))).transforms()
        return PublishedInput(
            size_px=transforms.crop_size[0],
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            crop_share=transforms.crop_size[0] / transforms.resize_size[0],
            interpolation=_filter(transforms.interpolation.value),
        )
    return IMAGENET


def _filter(published: str) -> Interpolation:
    """The filter of that name, or the bilinear one in place of one that the app has not."""
    return "bicubic" if published == "bicubic" else "bilinear"


def builder(name: str, *, size_px: int | None = None) -> Builder:
    """The builder of a named network; raises UsageError naming the nearest known ones.

    Args:
        name: as `build` takes it.
        size_px: of the images, for networks that are made for one size; None = the published one.
    """
    if name.startswith(FOLDED):
        return partial(_folded, builder(name.removeprefix(FOLDED), size_px=size_px))
    known = MODELS | dense.NETWORKS
    if name in known:
        make = known[name]
        return partial(make, size_px=size_px) if isinstance(make, FromTimm) else make
    library, separator, inner = name.partition(":")
    if separator and library == "timm":
        return _from_timm(inner, size_px)
    if separator and library == "torchvision":
        return _from_torchvision(inner)
    if separator and library == "smp":
        return dense.library.named(inner)
    if separator and library == "python":
        return find_factory(inner)
    raise UsageError(
        f"unknown model {name!r}{did_you_mean(name, known)} Known: {', '.join(MODELS)}; "
        f"for masks and depth {', '.join(dense.NETWORKS)}; "
        "any other as timm:NAME, torchvision:NAME, smp:ARCHITECTURE:ENCODER or python:package.module:factory."
    )


def _folded(make: Builder, num_classes: int) -> nn.Module:
    return folded(make(num_classes).eval()).train().requires_grad_()


def _from_timm(name: str, size_px: int | None) -> Builder:
    import timm

    if not timm.is_model(name):
        raise UsageError(f"timm has no model {name!r}{did_you_mean(name, timm.list_models())} See timm.list_models().")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        architecture, _, tag = name.partition(".")
        known = timm.list_models(f"{architecture}.*", pretrained=True)
        tags = f"It has {', '.join(known)}" if known else "It has none"
        raise UsageError(
            f"timm has {architecture}, but not with the tag {tag!r}. {tags}; or name it without a tag."
        ) from error
    return partial(create, name, size_px=size_px)


def _from_torchvision(name: str) -> Builder:
    from torchvision import models

    # Not those for boxes, masks and video, some of which would fetch the weights of their backbone.
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"torchvision has no classifier {name!r}{did_you_mean(name, known)}")
    # GoogLeNet and Inception answer with three tensors in train mode unless their auxiliary heads are left out.
    plain = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}

    def make(num_classes: int) -> nn.Module:
        return models.get_model(name, weights=None, num_classes=num_classes, **plain)

    return make
