"""Weights that come from elsewhere, read without running anything that is in the file.

Training scripts save a network's state dict in many wrappings: inside a dictionary beside the optimizer, as one of
several (a moving average beside the last step), under names that begin with what wrapped the network. `read_weights`
finds every state dict in a file, `fill` the one that is the network's, and says what it took.
"""

import argparse
import re
import shlex
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from safetensors.torch import load_file
from torch import Tensor, nn

from distill.errors import UsageError
from distill.terminal import say

SHOWN = 3
"""So many names of each kind of mismatch are listed."""

COUNTER = "num_batches_tracked"
"""Of batch normalisation; older files lack it, and nothing is computed from it."""

TRAINING_HEADS = ("aux1.", "aux2.", "AuxLogits.")
"""Of GoogLeNet and Inception: used in training only, and not built here."""

OF_OPTIMIZERS = frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "sum"})
"""Names of what torch's optimizers keep for a parameter."""

_scalar: Any = np.float64(0).__reduce__()[0]
_reconstruct: Any = np.zeros(1).__reduce__()[0]

HARMLESS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    argparse.Namespace,
    types.SimpleNamespace,
    PosixPath,
    PurePosixPath,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "uint8", "float32", "float64")),
    # NumPy 1 and 2 write other module names.
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
"""What training scripts keep beside the weights (arguments, a best accuracy) and what cannot run anything."""


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        state_dicts: named tensors by their place in the file, as in `model.state_dict`; empty for the file itself.
    """

    state_dicts: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Fit:
    """How the tensors of one place in a file, under names that begin with `prefix`, fit a network.

    Attributes:
        tensors: those that are the network's by name, under the network's names.
        missing, unknown, other_shape: names that hinder; shapes as (file, network).
        unused: how many tensors of the place do not begin with the prefix.
    """

    place: str
    prefix: str
    tensors: Mapping[str, Tensor]
    missing: list[str]
    unknown: list[str]
    other_shape: dict[str, tuple[torch.Size, torch.Size]]
    unused: int

    @property
    def whole(self) -> bool:
        """True if the network gets every tensor it needs and the place holds no more of it."""
        return not (self.missing or self.unknown or self.other_shape)

    @property
    def quality(self) -> tuple[bool, int, int]:
        """Larger is better: whole, more tensors of the right shape, fewer that are left over."""
        return self.whole, len(self.tensors) - len(self.other_shape), -len(self.unknown) - self.unused

    @property
    def title(self) -> str:
        """Where in the file it is; empty for all of it."""
        place = [f"its {self.place!r}"] if self.place else []
        return ", ".join([*place, *([f"names that begin with {self.prefix!r}"] if self.prefix else [])])

    @property
    def averaged(self) -> bool:
        """True for a moving average of the weights, by its name."""
        return re.search(r"(^|[._])ema([._]|$)", f"{self.place}.{self.prefix}", re.IGNORECASE) is not None


def read_weights(path: Path) -> Weights:
    """The state dicts in a `.safetensors` file or in one written by `torch.save`.

    Raises:
        UsageError: a damaged file, or one that holds something else; a pickle of Python objects is not opened, and the
            message has the line that turns it into a state dict where its code is at home.
    """
    if _is_safetensors(path):
        try:
            return Weights({"": load_file(path)})
        except Exception as error:  # a damaged file may take its reader anywhere
            raise _unreadable(path, error) from error
    try:
        # Given a name, torch.load would go by its suffix.
        with torch.serialization.safe_globals(HARMLESS), path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _unreadable(path, error) from error
    places = dict(_state_dicts(content, ""))
    if any(tensor.is_meta for tensors in places.values() for tensor in tensors.values()):
        raise UsageError(f"{path} holds names and shapes only; its tensors are on the device meta, which keeps none.")
    if places and all(set(tensors) <= OF_OPTIMIZERS for tensors in places.values()):
        raise UsageError(
            f"{path} holds the state of an optimizer and no network. Where the network is at home: "
            "torch.save(model.state_dict(), 'weights.pth')."
        )
    if not places:
        raise UsageError(
            f"{path} cannot be read as weights: it holds {_kind(content)} without named tensors, expected a state "
            "dict. Where the network is at home: torch.save(model.state_dict(), 'weights.pth')."
        )
    return Weights(places)


def fill(network: nn.Module, weights: Weights, *, source: Path, name: str) -> None:
    """Put weights into a network, and say which of the file's and under which names if that was not plain.

    Of several state dicts that fit, a moving average (a place or prefix with `ema` in its name) is taken.

    Raises:
        UsageError: keys that are missing or unknown, or tensors of other shapes; names the first of each. Or several
            different state dicts fit and none is a moving average.
    """
    fit = choose(network, weights, source=source)
    if not fit.whole:
        raise UsageError(f"{source} does not fit {name}: {complaint(fit)}.")
    network.load_state_dict({**network.state_dict(), **fit.tensors})
    tell(fit, source)


def choose(network: nn.Module, weights: Weights, *, source: Path) -> Fit:
    """The part of a file that fits a network best; errors as `fill` where several fit."""
    fits = list(_fits(network.state_dict(), weights))
    whole = [fit for fit in fits if fit.whole]
    fitting = [fit for fit in whole if fit.averaged] or whole
    if any(not _equal(fitting[0].tensors, other.tensors) for other in fitting[1:]):
        raise UsageError(
            f"{source} holds several networks that fit: {', '.join(fit.title or 'the file itself' for fit in fitting)}."
            f" Write the one you mean into a file of its own: {_extraction(source, fitting[-1])}"
        )
    return max(fitting or fits, key=lambda fit: fit.quality)


def tell(fit: Fit, source: Path) -> None:
    """One line about what was taken from a file, if it was not simply all of it."""
    if not fit.title:
        return
    left = f"; {fit.unused} other tensors are not used" if fit.unused else ""
    say(escape(f"{source}: the weights are taken from {fit.title}{left}"))


def complaint(fit: Fit) -> str:
    """Why a file does not fit, and what was expected, in words."""
    shapes = [
        f"{key} is {list(ours)}, the network has {list(theirs)}" for key, (ours, theirs) in fit.other_shape.items()
    ]
    kinds = (("missing", fit.missing), ("unknown", fit.unknown), ("of another shape", shapes))
    parts = "; ".join(f"{len(keys)} {what}: {_first(keys)}" for what, keys in kinds if keys)
    where = f" ({fit.title})" if fit.title else ""
    classes = {(in_file[:1], ours[:1]) for in_file, ours in fit.other_shape.values() if in_file[1:] == ours[1:]}
    if len(classes) == 1 and not fit.missing and not fit.unknown:
        ((in_file, ours),) = classes
        return (
            f"{parts}{where}. The file is of a network for {in_file[0]} classes, here there are {ours[0]}. Give the "
            "weights of a network that was trained for these classes"
        )
    return (
        f"{parts}{where}. Expected the state_dict() of this very network, with as many classes as there are labels; a "
        "prefix that its names share (module., model., …) may stay"
    )


def _state_dicts(content: object, place: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(content, Mapping):
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield place, tensors
    for key, value in content.items():
        yield from _state_dicts(value, f"{place}.{key}" if place else str(key))


def _fits(expected: Mapping[str, Tensor], weights: Weights) -> Iterator[Fit]:
    for place, tensors in weights.state_dicts.items():
        for prefix in sorted(_prefixes(expected, tensors)):
            yield _fit(expected, tensors, place, prefix)


def _prefixes(expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> set[str]:
    """What the network's first and last names are preceded by in a file, and the empty prefix."""
    names = [key for key in expected if not key.endswith(COUNTER)]
    ends = names[:1] + names[-1:]
    return {"", *(name.removesuffix(key) for key in ends for name in stored if name.endswith(f".{key}"))}


def _fit(expected: Mapping[str, Tensor], stored: Mapping[str, Tensor], place: str, prefix: str) -> Fit:
    inside = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    used = {name: value for name, value in inside.items() if name in expected}
    return Fit(
        place=place,
        prefix=prefix,
        tensors=used,
        missing=[name for name in expected if name not in inside and not name.endswith(COUNTER)],
        unknown=[name for name in inside if name not in expected and not _ignored(name)],
        other_shape={
            name: (used[name].shape, value.shape)
            for name, value in expected.items()
            if name in used and used[name].shape != value.shape
        },
        unused=len(stored) - len(inside),
    )


def _ignored(name: str) -> bool:
    return name.endswith(COUNTER) or name.startswith(TRAINING_HEADS)


def _equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[key]) for key, value in left.items())


def _unreadable(path: Path, error: Exception) -> UsageError:
    words = str(error)
    unknown = re.search(r"GLOBAL (\S+) was not an allowed global", words)
    if unknown:
        return UsageError(
            f"{path} cannot be read as weights: it is a pickle of Python objects ({unknown[1]} among them), and "
            "reading one runs whatever its maker put in. Where its code is at home and you trust it, turn it into "
            f"tensors once, then name the new file here: {_conversion(path)}"
        )
    if "TorchScript archive" in words:
        return UsageError(
            f"{path} cannot be read as weights: it is a TorchScript program. As a teacher it is brought with "
            f"--set teacher.kind=program --set teacher.path={shlex.quote(str(path))}"
        )
    head = _head(path)
    if path.is_file() and not path.stat().st_size:
        return UsageError(f"{path} cannot be read as weights: the file is empty. Fetch it again.")
    if head.startswith(b"version https://git-lfs"):
        return UsageError(f"{path} is a Git LFS pointer, not the weights themselves. Fetch them with: git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return UsageError(f"{path} is a web page, not weights: the download went wrong. Fetch the file again.")
    cause = next(iter(words.splitlines()), "") or type(error).__name__
    cause = "its bytes are no such file" if "weights_only" in cause or "Weights only" in cause else cause[:200]
    return UsageError(
        f"{path} cannot be read as weights: {cause}. It may be cut off. Expected .safetensors, or a file that holds "
        "tensors only (saved with torch.save(model.state_dict(), …))."
    )


def _is_safetensors(path: Path) -> bool:
    """By the JSON behind the eight bytes of its length; by the name where the file begins with neither kind's mark."""
    head = _head(path)
    begins_as_pickle = head.startswith((b"PK\3\4", b"\x80"))
    return head[8:9] == b"{" or (path.suffix == ".safetensors" and not begins_as_pickle)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:  # what hindered the first reader is told already
        return b""


def _conversion(path: Path) -> str:
    """A line for the shell that turns a pickled module or training state into a state dict."""
    keys = "('state_dict_ema', 'ema', 'state_dict', 'model_state_dict', 'model', 'net')"
    target = path.with_name(f"{path.stem}-weights.pth")
    return "python -c " + shlex.quote(
        f"import torch; o = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
        f"o = next((o[k] for k in {keys} if o.get(k) is not None), o) if isinstance(o, dict) else o; "
        f"torch.save(o.state_dict() if hasattr(o, 'state_dict') else o, {str(target)!r})"
    )


def _extraction(path: Path, fit: Fit) -> str:
    """A line for the shell that keeps one of several state dicts."""
    inside = "".join(f"[{key!r}]" for key in fit.place.split(".")) if fit.place else ""
    chosen = f"{{k: v for k, v in torch.load({str(path)!r}, weights_only=True){inside}.items()"
    condition = f" if k.startswith({fit.prefix!r})}}" if fit.prefix else "}"
    target = path.with_name(f"{path.stem}-{(fit.place or fit.prefix).strip('.').replace('.', '-')}.pth")
    return "python -c " + shlex.quote(f"import torch; torch.save({chosen}{condition}, {str(target)!r})")


def _kind(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary of {_first([str(key) for key in content])}"
    return f"a {type(content).__name__}"


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "") if keys else "nothing"
