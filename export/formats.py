"""Which formats exist, in which precisions, and why not in others: `FORMATS` is the one table.

Importing this module imports no toolchain, torch included; an exporter's module is imported when it is used.
"""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from distill.errors import UsageError
from export.artifact.manifest import FormatName, PrecisionName

if TYPE_CHECKING:  # the table is read by commands that should answer before torch is loaded
    from export.job import Exporter

Name = TypeVar("Name", bound=str)

Support = Literal["direct", "calibrated"]
"""`calibrated`: needs training images to find the range of activations."""


@dataclass(frozen=True)
class Format:
    """One way to write a model.

    Attributes:
        module: its exporter, a module with `export(job) -> ExportedModel`.
        packages: what must be importable.
        extra: the extra of this project that installs them.
        precisions: what it can write.
        refused: what it cannot, and why.
    """

    module: str
    packages: tuple[str, ...]
    extra: str
    precisions: Mapping[PrecisionName, Support]
    refused: Mapping[PrecisionName, str]


_TORCHSCRIPT_INT8 = (
    "libtorch's mobile int8 path needs torch.ao eager-mode quantization, which PyTorch has deprecated for removal; "
    "for int8 on Android use executorch, onnx or litert"
)

FORMATS: dict[FormatName, Format] = {
    "eager": Format(
        "export.eager",
        packages=("torch",),
        extra="train",
        precisions={"fp32": "direct"},
        refused={"int8": "it is the fp32 checkpoint itself, kept as the baseline of every comparison"},
    ),
    "torchscript": Format(
        "export.torchscript",
        packages=("torch",),
        extra="train",
        precisions={"fp32": "direct"},
        refused={"int8": _TORCHSCRIPT_INT8},
    ),
    "executorch": Format(
        "export.executorch",
        packages=("executorch", "torchao"),
        extra="executorch",
        precisions={"fp32": "direct", "int8": "calibrated"},
        refused={},
    ),
    "onnx": Format(
        "export.onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
        extra="onnx",
        precisions={"fp32": "direct", "int8": "calibrated"},
        refused={},
    ),
    "coreml": Format(
        "export.coreml",
        packages=("coremltools",),
        extra="coreml",
        precisions={"fp32": "direct", "int8": "direct"},
        refused={},
    ),
    "litert": Format(
        "export.litert",
        packages=("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
        extra="litert",
        precisions={"fp32": "direct", "int8": "calibrated"},
        refused={},
    ),
}

PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "int8")


@dataclass(frozen=True)
class Target:
    """One artifact to make."""

    format: FormatName
    precision: PrecisionName

    @property
    def name(self) -> str:
        """Name of its folder, e.g. `onnx-int8`. Nobody reads facts back from it; they are in the manifest."""
        return f"{self.format}-{self.precision}"

    @property
    def calibrated(self) -> bool:
        """Whether calibration images are needed."""
        return FORMATS[self.format].precisions[self.precision] == "calibrated"


@dataclass(frozen=True)
class Plan:
    """What will be made, and what was left out because nobody asked for it by name: pairs in words and the reason."""

    targets: tuple[Target, ...]
    skipped: tuple[tuple[str, str], ...]


def exporter(name: FormatName) -> "Exporter":
    """The exporter of a format, its toolchain imported now."""
    return cast("Exporter", importlib.import_module(FORMATS[name].module))


def plan(formats: str, precisions: str | None, *, has_data: bool) -> Plan:
    """Turn `--format` and `--precision` into the artifacts to make, before any work.

    Args:
        formats: names separated by commas, or `all`.
        precisions: names separated by commas; None = all.
        has_data: whether the checkpoint knows its training data.

    Raises:
        UsageError: an unknown name, or an explicitly named pair that cannot be made; says why and what can.
    """
    all_formats = formats.strip() == "all"
    explicit = not all_formats and precisions is not None
    chosen_formats = tuple(FORMATS) if all_formats else _parse(formats, FORMATS, "format")
    chosen_precisions = PRECISIONS if precisions is None else _parse(precisions, PRECISIONS, "precision")
    targets: list[Target] = []
    skipped: list[tuple[str, str]] = []
    for target in (Target(f, p) for f in chosen_formats for p in chosen_precisions):
        reason = why_not(target, has_data=has_data)
        if reason is None:
            targets.append(target)
        elif explicit:
            raise UsageError(_refusal(target, reason))
        else:
            skipped.append((f"{target.format} {target.precision}", reason))
    if not targets:
        raise UsageError("nothing to export: " + "; ".join(f"{pair}: {reason}" for pair, reason in skipped) + ".")
    return Plan(tuple(targets), tuple(skipped))


def why_not(target: Target, *, has_data: bool) -> str | None:
    """Why an artifact cannot be made here, or None if it can."""
    entry = FORMATS[target.format]
    if target.precision in entry.refused:
        return entry.refused[target.precision]
    missing = [package for package in entry.packages if importlib.util.find_spec(package) is None]
    if missing:
        return f"{', '.join(missing)} is not installed; install it with: pip install 'pocket-distill[{entry.extra}]'"
    if target.calibrated and not has_data:
        return "it is calibrated on training images, and this checkpoint's card names no training data"
    return None


def _refusal(target: Target, reason: str) -> str:
    possible = ", ".join(FORMATS[target.format].precisions)
    return (
        f"{target.format} cannot be exported in {target.precision}: {reason}. Nothing was started. "
        f"{target.format} has: {possible}. Without --precision, or with --format all, such pairs are left out."
    )


def _parse(text: str, known: Iterable[Name], what: str) -> tuple[Name, ...]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    choices = {str(name): name for name in known}
    if not names:
        raise UsageError(f"no {what} given. Known: {', '.join(choices)}.")
    for name in names:
        if name not in choices:
            near = difflib.get_close_matches(name, choices, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else "."
            raise UsageError(f"unknown {what} {name!r}{hint} Known: {', '.join(choices)}.")
    return tuple(dict.fromkeys(choices[name] for name in names))
