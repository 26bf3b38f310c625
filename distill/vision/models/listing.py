"""The networks of the table with what they cost, and what has been proven of them: `distill list --models`."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from distill.vision.macs import count_macs
from distill.vision.models import FROM_TIMM, MODELS, build, published_input
from distill.vision.models.folding import folded
from distill.vision.models.proven import Network, read_proven
from distill.vision.preprocess import Preprocess

NUM_CLASSES = 1000
"""ImageNet's, as papers count."""

_SHORT = {"torchscript": "TS", "executorch": "ET", "onnx": "ONNX", "coreml": "ML", "litert": "LRT"}
SHORT_IN_WORDS = "TS TorchScript, ET ExecuTorch, ONNX, ML Core ML, LRT LiteRT"


@dataclass(frozen=True)
class Listed:
    """One network for pictures of one size, in the form that is deployed.

    Attributes:
        parameters, macs: with `NUM_CLASSES` classes; None where it takes no pictures of this size.
        folded: whether it has branches that only training needs.
        published_px: size that its published weights see.
        licence: of those weights; empty where none is known.
        proven: what was seen of it in every format; None if it was not looked at.
    """

    name: str
    parameters: int | None
    macs: int | None
    folded: bool
    published_px: int
    licence: str
    proven: Network | None

    @property
    def proven_in_words(self) -> str:
        """Formats whose float32 was proven, and after a stroke those that were not."""
        if self.proven is None:
            return "–"
        right = {name: _is_right(self.proven, name) for name in _SHORT}
        good = " ".join(short for name, short in _SHORT.items() if right[name])
        bad = " ".join(short for name, short in _SHORT.items() if right[name] is False)
        return good + (f", not {bad}" if bad else "")


def listed(size_px: int) -> Iterator[Listed]:
    """Every network of the table, in its order."""
    known = read_proven().networks
    for name in MODELS:
        yield look_at(name, size_px, known)


def look_at(name: str, size_px: int, known: Mapping[str, Network]) -> Listed:
    """One network, built with random weights and counted without computing; it leaves torch's random state alone."""
    published = published_input(name)
    preprocess = Preprocess(size_px=size_px, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    parameters, macs, has_branches = None, None, False
    try:
        with torch.random.fork_rng(devices=[]):
            built = build(name, num_classes=NUM_CLASSES, preprocess=preprocess).eval()
        model = folded(built)
        has_branches = sum(1 for _ in model.modules()) != sum(1 for _ in built.modules())
        parameters = sum(parameter.numel() for parameter in model.parameters())
        macs = count_macs(copy.deepcopy(model).to("meta"), preprocess.input_shape)
    except Exception:  # a library's network may fail in any way on pictures of a size that it is not made for
        macs = None
    return Listed(
        name=name,
        parameters=parameters,
        macs=macs,
        folded=has_branches,
        published_px=published.size_px,
        licence=_licence(name),
        proven=known.get(name),
    )


def _is_right(network: Network, format: str) -> bool | None:
    artifact = network.artifacts.get(f"{format} fp32")
    return None if artifact is None else artifact.verdict == "pass"


def _licence(name: str) -> str:
    if name not in FROM_TIMM:
        return ""
    import timm

    published = timm.get_pretrained_cfg(FROM_TIMM[name])
    return (published.license or "") if published else ""
