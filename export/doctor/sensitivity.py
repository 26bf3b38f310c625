"""Which layers suffer most from quantization, found on the torch network by imitating integers in one layer a time."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from distill.vision.tasks import TaskName
from export.artifact.runner import Batch
from export.doctor.record import LayerSensitivity
from export.graph.layers import float_units, trace
from export.proof.pixels import agreement_of
from export.quantize.fake_quantization import OneLayerQuantized, find_ranges
from export.quantize.recipe import QuantizationRecipe

IMAGES = 200
"""Images of the hold-out that layers are ranked on: each layer runs all of them."""

CEILING_DB = 120.0
"""Where the logits hardly move at all: what float32 itself could tell apart."""


def measure_layers(
    model: nn.Module,
    calibration: Batch,
    hold_out: Batch,
    recipe: QuantizationRecipe,
    task: TaskName = "classification",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[LayerSensitivity, ...]:
    """Every weighted layer of a network by what quantizing it alone does to its answers, the most sensitive first.

    Quantized are its weights, its input and its result with all that is fused into it; everything else stays in float.

    Args:
        model: in eval mode on the CPU.
        calibration: images [N, C, H, W] in [0, 1] that ranges are found with.
        hold_out: other images, at most `IMAGES` of which are used.
        recipe: calibrator, and whether weights have a scale per channel.
        task: what is answered.
        on_progress: called with layers done and their total.
    """
    images = torch.from_numpy(hold_out[:IMAGES])
    traced = trace(model, images)
    ranges = find_ranges(traced, torch.from_numpy(calibration), recipe)
    units = float_units(model)
    batches = list(traced.batches(images))
    sensitivities: dict[str, LayerSensitivity] = {}
    with torch.inference_mode():
        float_logits = torch.cat([model(part) for part in batches])
        for done, layer in enumerate(traced.layers, start=1):
            run = OneLayerQuantized(traced, layer, ranges, per_channel=recipe.per_channel)
            logits = torch.cat([run.run(part) for part in batches])
            name = units[layer.name]
            measured = LayerSensitivity(
                layer=name,
                sqnr_db=sqnr_db(float_logits, logits),
                top1_agreement=agreement_of(task, logits.numpy(), float_logits.numpy()),
                num_weights=model.get_submodule(layer.name).get_parameter("weight").numel(),
            )
            # A layer may be called several times.
            if name not in sensitivities or measured.sqnr_db < sensitivities[name].sqnr_db:
                sensitivities[name] = measured
            on_progress(done, len(traced.layers))
    return tuple(sorted(sensitivities.values(), key=lambda each: each.sqnr_db))


def sqnr_db(signal: Tensor, noisy: Tensor) -> float:
    """Signal to noise of answers [N, outputs, ...] in decibel; what moves all classes alike is no noise.

    It changes no answer. A single output, as of depth, is an answer by itself: of it all counts.

    Returns:
        10 log10 (power of the signal / power of the difference), at most `CEILING_DB`.
    """
    clean, noise = _deciding(signal), _deciding(noisy) - _deciding(signal)
    power = float(noise.square().sum())
    ratio = float(clean.square().sum()) / power if power > 0 else np.inf
    return float(min(CEILING_DB, 10 * np.log10(max(ratio, 1e-12))))


def _deciding(answers: Tensor) -> Tensor:
    answers = answers.double()
    return answers - answers.mean(1, keepdim=True) if answers.shape[1] > 1 else answers
