"""The smallest module that shows a toolchain's fault: one operation of the network, alone in a file of its own.

A converter that fails, a file that no runtime loads, numbers that are wrong: each distinct operation of the network is
exported and proven like a network, those that the error names first, until one fails as the network did. The file says
what was seen; whoever reports the fault to the toolchain's makers needs nothing else.
"""

import importlib.metadata
import importlib.util
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from distill.checkpoint import Checkpoint
from distill.errors import UsageError
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess
from export.artifact.manifest import Manifest
from export.formats import FORMATS, Target
from export.formats.causes import in_words
from export.proof.evidence import Evidence, HeldOut
from export.quantize.calibration import CalibrationSet

MOST_SECONDS = 90.0
"""After which no further operation is tried."""

MOST_OUTPUTS = 64
LARGEST_CONSTANT = 4096
"""Values of an index tensor that are written out."""

_CANNOT_SHOW = ("torchscript", "eager")
"""Formats that are PyTorch itself."""

Convert = Callable[[Checkpoint, Target, Evidence, Path], Manifest]


@dataclass(frozen=True)
class Operation:
    """One operation of an exported network.

    Attributes:
        name: e.g. `aten.square.default`.
        source: Python that computes it from a picture.
        size_px: side of that picture.
        outputs: how many numbers it answers with.
    """

    name: str
    source: str
    size_px: int
    outputs: int


@dataclass(frozen=True)
class Shown:
    """An operation that fails alone as the network did, and the file that shows it."""

    operation: str
    file: Path


def toolchain(target: Target) -> str:
    """The packages that write a format, with their versions."""
    names = [package.replace("_", "-") for package in FORMATS[target.format].packages]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def show(
    checkpoint: Checkpoint,
    target: Target,
    error: BaseException,
    file: Path,
    convert: Convert,
    *,
    seconds: float = MOST_SECONDS,
) -> Shown | None:
    """Look for one operation that fails alone as the network did, and write it to `file`.

    Args:
        checkpoint: the network, in the form that is deployed.
        target: what could not be made of it.
        error: why.
        file: a Python file to write; nothing is written if no operation is found.
        convert: makes and proves an artifact, as of a whole network.
        seconds: begin no further operation after so long.

    Returns:
        What was found; None if every operation that was tried is right by itself.
    """
    if target.format in _CANNOT_SHOW or target.batch != 1:
        return None
    begun = time.monotonic()
    for operation in suspects(checkpoint.model, checkpoint.card.preprocess.input_shape, str(error)):
        if time.monotonic() - begun > seconds:
            return None
        failure = failure_alone(checkpoint, target, operation, convert)
        if failure is not None and type(failure) is type(error):
            words = f"{toolchain(target)}\n{operation.name} in {target.name}: {in_words(failure)}"
            file.write_text(_FILE.format(words=words.replace('"""', "'''"), target=target, **vars(operation)))
            return Shown(operation.name, file)
    return None


def failure_alone(
    checkpoint: Checkpoint, target: Target, operation: Operation, convert: Convert
) -> BaseException | None:
    """How an operation by itself fails; None if it is right, or cannot be tried."""
    preprocess = Preprocess(size_px=operation.size_px, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    with tempfile.TemporaryDirectory(prefix="smallest-") as scratch:
        path = Path(scratch, "smallest.py")
        path.write_text(_FILE.format(words=operation.name, target=target, **vars(operation)))
        model = ImageClassifier(_load(path)(operation.outputs), preprocess).eval()
        pixels = np.random.default_rng(0).integers(0, 256, (8, operation.size_px, operation.size_px, 3), np.uint8)
        try:
            with torch.no_grad():
                inputs = torch.from_numpy(preprocess.to_input(pixels))
                logits = np.concatenate([model(image[None]).numpy() for image in inputs])
        except Exception:  # what is left of the network is no network: an operation that needs another beside it
            return None
        if not np.isfinite(logits).all():
            return None
        names = tuple(f"value {number}" for number in range(operation.outputs))
        changes = {"class_names": names, "preprocess": preprocess, "training": None}
        alone = Checkpoint(checkpoint.card.model_copy(update=changes), model, checkpoint.folder)
        calibration = CalibrationSet(pixels, 0, "", "folder")
        evidence = Evidence(HeldOut(pixels, None, logits, "synthetic"), calibration)
        try:
            convert(alone, target, evidence, Path(scratch, "artifact"))
        except UsageError:
            return None
        except Exception as error:
            return error
    return None


def suspects(model: torch.nn.Module, input_shape: tuple[int, int, int], error: str) -> Iterator[Operation]:
    """Each distinct operation of a network once: those that an error names first, then the rarest."""
    with torch.no_grad():
        program = torch.export.export(model, (torch.full((1, *input_shape), 0.5),))
    signature = program.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    nodes = [node for node in program.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    counts = Counter(node.target for node in nodes)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), **program.constants}
    seen: set[str] = set()
    order = sorted(nodes, key=lambda node: (not _is_named(node, error), counts[node.target]))
    for node in order:
        constants = {name: tensors[path] for name, path in held.items() if path in tensors}
        operation = _alone(node, constants)
        if operation is not None and operation.source not in seen:
            seen.add(operation.source)
            yield operation


def _is_named(node: Node, error: str) -> bool:
    assert isinstance(node.target, torch._ops.OpOverload)
    name = node.target._schema.name.partition("::")[2].strip("_")
    return re.search(rf"(?<![a-z]){re.escape(name)}(?![a-z])", error.lower()) is not None


def _alone(node: Node, constants: dict[str, torch.Tensor]) -> Operation | None:
    """One operation as Python that computes it from a picture; None if it takes or gives no float numbers."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return None
    lines: list[str] = []
    names: dict[Node, str] = {}
    taken = 0
    for argument in node.all_input_nodes:
        given = argument.meta.get("val")
        if not isinstance(given, torch.Tensor):
            return None
        name = names[argument] = f"x{len(names)}"
        shape = tuple(int(side) for side in given.shape)
        if not given.is_floating_point():
            constant = constants.get(argument.name)
            if constant is None or constant.numel() > LARGEST_CONSTANT:
                return None
            lines.append(f"{name} = torch.tensor({constant.tolist()}, dtype={constant.dtype})")
        elif argument.name in constants:
            lines.append(f"{name} = torch.rand({shape}, generator=torch.Generator().manual_seed(0)) + 0.5")
        else:
            lines.append(f"{name} = numbers[{taken} : {taken + prod(shape)}].reshape({shape})")
            taken += prod(shape)
    if not taken:
        return None
    try:
        arguments = [_python(each, names) for each in node.args]
        arguments += [
            f"{key}={_python(each, names)}" for key, each in node.kwargs.items() if key not in ("device", "pin_memory")
        ]
    except TypeError:
        return None
    outputs = max(2, min(MOST_OUTPUTS, value.numel()))
    lines.append(f"y = torch.ops.{node.target}({', '.join(arguments)})")
    size_px = max(8, isqrt(-(-taken // 3) - 1) + 1)
    return Operation(str(node.target), "\n        ".join(lines), size_px, outputs)


def _python(argument: Any, names: dict[Node, str]) -> str:
    if isinstance(argument, Node):
        return names[argument]
    if isinstance(argument, (list, tuple)):
        return f"[{', '.join(_python(each, names) for each in argument)}]"
    if argument is None or isinstance(argument, (bool, int, float, str, torch.dtype, torch.memory_format)):
        return repr(argument)
    raise TypeError(f"no literal for a {type(argument).__name__}")


def _load(path: Path) -> Callable[[int], torch.nn.Module]:
    spec = importlib.util.spec_from_file_location("smallest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make


_FILE = '''"""{words}

Again: PYTHONPATH=FOLDER_OF_THIS_FILE python -m export --model NAME_OF_THIS_FILE:make --untrained {outputs} \\\\
    --size {size_px} --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --format {target.format} --precision {target.precision}
"""

import torch


class Smallest(torch.nn.Module):
    """{name} of numbers in [-2, 2]: a picture [1, 3, {size_px}, {size_px}] -> [1, {outputs}]."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        numbers = picture.flatten()
        {source}
        values = y.flatten()
        return torch.cat([values, values])[:{outputs}].reshape(1, {outputs})


def make(num_classes: int) -> torch.nn.Module:
    return Smallest()
'''
