"""Weights that come from elsewhere, read without running anything that is in the file."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from distill.errors import UsageError

SHOWN = 3
"""So many names of each kind of mismatch are listed."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from `.safetensors`, or from a `.pth` of tensors only (plain, or under `state_dict` or `model`).

    Raises:
        UsageError: a damaged file, or one that holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may take its reader anywhere
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"{path} cannot be read as weights: {cause} "
            "Expected .safetensors, or a .pth that holds tensors only (saved with torch.save(model.state_dict(), …))."
        ) from error
    nested = found.get("state_dict", found.get("model", found)) if isinstance(found, dict) else found
    if not isinstance(nested, dict) or not all(isinstance(value, Tensor) for value in nested.values()):
        raise UsageError(f"{path} holds {type(nested).__name__}, not a state dict. Save model.state_dict() instead.")
    return nested


def fill(network: nn.Module, weights: dict[str, Tensor], *, source: Path, name: str) -> None:
    """Put weights into a network.

    Raises:
        UsageError: keys that are missing or unknown, or tensors of other shapes; names the first of each.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in weights]
    unknown = [key for key in weights if key not in expected]
    other = [
        f"{key} is {list(weights[key].shape)}, the network has {list(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    kinds = (("missing", missing), ("unknown", unknown), ("of another shape", other))
    found = [f"{len(keys)} {what}: {_first(keys)}" for what, keys in kinds if keys]
    if found:
        raise UsageError(
            f"{source} does not fit {name}: {'; '.join(found)}. Expected the state_dict() of this very network, with "
            "as many classes as there are labels."
        )
    network.load_state_dict(weights)


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
