"""A network with random weights becomes a checkpoint: to time it, and to prove its formats, before anybody trains it.

As a library initialises them, most networks hardly look at their picture: statistics of normalisations fit no
activation, layer scales of 1e-6 silence every block, and all pictures get one answer. A toolchain's mistake would not
show. So what is constant is drawn, too, and statistics and logits are fitted to pictures that are made.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from distill import checkpoint
from distill.errors import UsageError
from distill.vision.models import ImageClassifier, build, dense
from distill.vision.models.dense.network import DenseNetwork
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import DEPTH_CLASSES, TASKS, Task
from export.networks.brought import full_name
from export.proof.made_images import synthetic_images

SEED = 0
"""Of the weights, so that the same network is the same checkpoint and its artifacts are not made twice."""

LOGIT_SPREAD = 2.0
"""Standard deviation of a logit from picture to picture, as of a trained network."""

_DRAWN = 0.1
_SCALE_OF_A_LAYER = 0.05
"""A constant factor below this is a layer scale: it is made 1."""

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def make_untrained(model: str, num_classes: int, preprocess: Preprocess, folder: Path) -> None:
    """Write a freshly initialised network, exercised on made pictures, as a checkpoint without training data.

    Its accuracy is unknown, and stays so in the manifests and measurements of its artifacts.

    Args:
        model: as `build` takes it.
        num_classes: that it tells apart, of every pixel if the network is made for that; 1 for depth in metres.
        preprocess: what its input looks like.
        folder: of the checkpoint.

    Raises:
        UsageError: an unknown network, or one that does not answer an image of this size with finite logits.
        WorkFailed: full disk or unwritable folder.
    """
    name = full_name(model)
    torch.manual_seed(SEED)
    network = build(name, num_classes=num_classes, preprocess=preprocess).eval()
    task = _task_of(network, num_classes)
    try:
        with torch.inference_mode():
            logits = network(torch.full((1, *preprocess.input_shape), 0.5))
    except Exception as error:
        size = preprocess.size_px
        raise UsageError(f"{model} fails on a 3x{size}x{size} image: {type(error).__name__}: {error}") from error
    expected = [1, *task.output_shape(num_classes, preprocess.size_px)]
    if list(logits.shape) != expected or not logits.isfinite().all():
        raise UsageError(f"{model} answers one image with {list(logits.shape)}; expected {expected}, finite.")
    exercise(network, torch.from_numpy(preprocess.to_input(synthetic_images(preprocess, SEED))))
    numbered = tuple(f"class {number}" for number in range(num_classes))
    class_names = DEPTH_CLASSES if task.name == "depth" else numbered
    checkpoint.save(
        folder, network, name=name, class_names=class_names, preprocess=preprocess, training=None, task=task.name
    )


def _task_of(model: ImageClassifier, num_classes: int) -> Task:
    """What a network is made for; raises UsageError for a classifier of a single class."""
    if isinstance(model.network, DenseNetwork):
        return TASKS["segmentation" if num_classes > 1 else "depth"]
    if num_classes < 2:
        raise UsageError(
            "a classifier tells two classes or more apart, and 1 was asked for: that is for networks of depth, such as "
            f"{', '.join(dense.NETWORKS)}."
        )
    return TASKS["classification"]


def exercise(model: ImageClassifier, images: Tensor) -> None:
    """Let a fresh model in eval mode answer images [N, C, H, W] in [0, 1] as differently as a trained one.

    In place: constant weights are drawn, statistics of batch normalisations become those of the images, and each logit
    gets mean 0 and a spread of `LOGIT_SPREAD` over them. Draws from torch's global random state.
    """
    with torch.no_grad():
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                _draw_if_constant(module, parameter)
        _fit_statistics(model, images)
        _fit_logits(model, images)


def _draw_if_constant(module: nn.Module, parameter: Tensor) -> None:
    if parameter.numel() < 2 or not bool((parameter == parameter.flatten()[0]).all()):
        return
    value = float(parameter.flatten()[0])
    is_factor = 0 < abs(value) < _SCALE_OF_A_LAYER or (isinstance(module, _NORMS) and parameter is module.weight)
    parameter.copy_((1.0 if is_factor else value) + _DRAWN * torch.randn(parameter.shape))


def _fit_statistics(model: nn.Module, images: Tensor) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches, of which there is one
        norm.train()
    if norms:
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _fit_logits(model: nn.Module, images: Tensor) -> None:
    """Each class is one of the images, all of them far from one another: the nearest in features is the answer.

    Of the last layers that run, with one output per class; heads may be averaged. Random ones would nearly agree on all
    classes: their margins are a hundredth of their spread.
    """
    calls: list[tuple[nn.Linear | nn.Conv2d, Tensor, Tensor]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        calls.append((layer, given[0], output))

    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        num_classes = model(images).shape[1]
    finally:
        for handle in handles:
            handle.remove()
    chosen: Tensor | None = None
    while calls:
        layer, given, output = calls.pop()
        if output.shape[1:].numel() != num_classes or given.shape[1:].numel() != layer.weight[0].numel():
            return
        features = given.flatten(1)
        chosen = _far_apart(features, num_classes) if chosen is None else chosen
        count = len(chosen)
        centres = features[chosen] - features.mean(0)
        weight = layer.weight.flatten(1)
        weight[:count] = centres
        bias = -(centres.square().sum(1) / 2 + centres @ features.mean(0))
        spread = (features @ weight.T).std(0)[:count].mean().clamp_min(1e-6)
        weight *= LOGIT_SPREAD / spread
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias[:count] = bias * LOGIT_SPREAD / spread
            layer.bias[count:] = layer.bias[:count].min()


def _far_apart(features: Tensor, count: int) -> Tensor:
    """Indices of at most `count` rows of [N, F]: each the furthest from all before it."""
    distances = torch.cdist(features, features)
    chosen = [int(distances.sum(1).argmax())]
    while len(chosen) < min(count, len(features)):
        chosen.append(int(distances[chosen].amin(0).argmax()))
    return torch.tensor(chosen)
