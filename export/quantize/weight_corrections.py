"""The corrections of weights that a recipe asks for, made on a copy of the network before its exporter sees it."""

import copy
import hashlib

import torch

from distill.errors import UsageError
from distill.vision.models import ImageClassifier
from export.artifact.runner import Batch
from export.graph.layers import trace
from export.quantize.bias_correction import correct_bias
from export.quantize.equalisation import equalise
from export.quantize.kept import Kept
from export.quantize.recipe import QuantizationRecipe

_corrected = Kept[ImageClassifier]()


def corrected(model: ImageClassifier, recipe: QuantizationRecipe | None, images: Batch | None) -> ImageClassifier:
    """The model with the recipe's corrections; itself if there are none.

    Args:
        model: in eval mode; not changed.
        recipe: of the quantizer.
        images: calibration images float32 [N, C, H, W] in [0, 1].

    Raises:
        UsageError: corrections without calibration images.
    """
    if recipe is None or not (recipe.equalise or recipe.correct_bias):
        return model
    if images is None:
        raise UsageError("equalise and correct_bias need a precision that is calibrated on images, e.g. int8.")
    key = (recipe.model_dump_json(exclude={"chosen_on"}), hashlib.sha256(images.tobytes()).hexdigest())
    if not recipe.correct_bias:
        key = ("equalise", "")
    return _corrected.get(model, key, lambda: _correct(model, recipe, torch.from_numpy(images)))


def _correct(model: ImageClassifier, recipe: QuantizationRecipe, images: torch.Tensor) -> ImageClassifier:
    network = copy.deepcopy(model)
    if recipe.equalise:
        equalise(network, trace(network, images))
    if recipe.correct_bias:
        correct_bias(network, trace(network, images), images, recipe)
    return network
