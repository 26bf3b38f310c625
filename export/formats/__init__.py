"""Which formats exist, in which precisions and batch sizes, and why not in others: `FORMATS` is the one table.

Importing this module imports no toolchain, torch included; an exporter's module is imported when it is used.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast, get_args

from export.artifact.manifest import ANY_BATCH, FormatName, PrecisionName

if TYPE_CHECKING:  # the table is read by commands that should answer before torch is loaded
    from export.formats.job import Exporter

BatchKind = Literal["static", "dynamic"]
"""`static`: some number of images other than 1, fixed at export; `dynamic`: any number."""

PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)


@dataclass(frozen=True)
class Scheme:
    """How a format reaches a precision.

    Attributes:
        words: for the table, e.g. "int8 weights per channel, uint8 activations".
        calibrated: needs images to find the range of activations.
    """

    words: str
    calibrated: bool = False


@dataclass(frozen=True)
class Format:
    """One way to write a model.

    Attributes:
        module: its exporter, a module with `export(job) -> ExportedModel`.
        packages: what must be importable.
        extra: the extra of this project that installs them.
        schemes: what it can write.
        refused: what it cannot, and why; a precision in neither table is one that nobody has written an exporter for.
        refused_batches: batch sizes other than 1 that it cannot take, and why.
        usual: made when no precision is named.
        variant: made only when named, or with `--format all`.
    """

    module: str
    packages: tuple[str, ...]
    extra: str
    schemes: Mapping[PrecisionName, Scheme]
    refused: Mapping[PrecisionName, str] = field(default_factory=dict)
    refused_batches: Mapping[BatchKind, str] = field(default_factory=dict)
    usual: tuple[PrecisionName, ...] = ("fp32", "int8")
    variant: bool = False

    def why_not(self, precision: PrecisionName) -> str | None:
        """Why the format has no such precision, on any machine; None if it has."""
        if precision in self.schemes:
            return None
        return self.refused.get(precision, "its exporter does not write it")


_FLOAT = Scheme("float32")
_EAGER = "it is the fp32 checkpoint itself, kept as the baseline of every comparison"
_TORCHSCRIPT_INT8 = (
    "libtorch's mobile int8 path needs torch.ao eager-mode quantization, which PyTorch has deprecated for removal; "
    "for int8 on Android use executorch, onnx or litert"
)

_EXECUTORCH_DYNAMIC = "executorch 1.5.1 caps a dynamic batch at 15 images, whatever bound is declared"
_PORTABLE = "it is the fall-back that runs everywhere; quantized or half-size models belong to a backend"
_COREML_DELEGATE = "compressed weights are made from the whole model by the format coreml"
_VULKAN = "its exporter writes float weights; XNNPACK (executorch) has int8"
_ONNX_DYNAMIC = "ONNX Runtime's ConvInteger is slow: such a MobileNetV3-Small took three times as long as float32"

FORMATS: dict[FormatName, Format] = {
    "eager": Format(
        "export.formats.eager",
        packages=("torch",),
        extra="train",
        schemes={"fp32": _FLOAT},
        refused={precision: _EAGER for precision in PRECISIONS if precision != "fp32"},
    ),
    "torchscript": Format(
        "export.formats.torchscript",
        packages=("torch",),
        extra="train",
        schemes={"fp32": _FLOAT},
        refused={
            "fp16": "the legacy Android runtime (1.13) has no float16 convolution on the CPU",
            "int8": _TORCHSCRIPT_INT8,
            "int8-dynamic": "libtorch quantizes linear layers only at run time; convolutions would stay in float",
            "int8-weights": "libtorch has no weight-only convolutions",
            "int16x8": "libtorch has no 16-bit integer activations",
        },
    ),
    "executorch": Format(
        "export.formats.executorch.xnnpack",
        packages=("executorch", "torchao"),
        extra="executorch",
        schemes={
            "fp32": _FLOAT,
            "fp16": Scheme("float16 between float32 input and output"),
            "int8": Scheme("int8 weights per channel, int8 activations, static (PT2E, XNNPACK)", calibrated=True),
        },
        refused={
            "int8-dynamic": "executorch 1.5.1 leaves much in float32 where ranges are found at run time: a ResNet-18 "
            "takes 26 MB, 12 MB as int8",
            "int8-weights": "XNNPACK has no convolutions with integer weights alone",
            "int16x8": "XNNPACK has no 16-bit integer activations",
        },
        refused_batches={"dynamic": _EXECUTORCH_DYNAMIC},
    ),
    "executorch-portable": Format(
        "export.formats.executorch.portable",
        packages=("executorch",),
        extra="executorch",
        schemes={"fp32": Scheme("float32, portable kernels")},
        refused={precision: _PORTABLE for precision in PRECISIONS if precision != "fp32"},
        refused_batches={"dynamic": _EXECUTORCH_DYNAMIC},
        variant=True,
    ),
    "executorch-coreml": Format(
        "export.formats.executorch.coreml",
        packages=("executorch", "coremltools"),
        extra="executorch",
        schemes={"fp32": _FLOAT, "fp16": Scheme("float16")},
        refused={precision: _COREML_DELEGATE for precision in PRECISIONS if precision not in ("fp32", "fp16")},
        refused_batches={"dynamic": _EXECUTORCH_DYNAMIC},
        variant=True,
    ),
    "executorch-vulkan": Format(
        "export.formats.executorch.vulkan",
        packages=("executorch",),
        extra="executorch",
        schemes={"fp32": _FLOAT, "fp16": Scheme("float32 in the file, float16 on the GPU")},
        refused={precision: _VULKAN for precision in PRECISIONS if precision not in ("fp32", "fp16")},
        refused_batches={"dynamic": _EXECUTORCH_DYNAMIC},
        variant=True,
    ),
    "onnx": Format(
        "export.formats.onnx.exporter",
        packages=("onnx", "onnxscript", "onnxruntime"),
        extra="onnx",
        schemes={
            "fp32": _FLOAT,
            "fp16": Scheme("float16 between float32 input and output"),
            "int8": Scheme("int8 weights per channel, uint8 activations, static (QDQ)", calibrated=True),
        },
        refused={
            "int8-dynamic": _ONNX_DYNAMIC,
            "int8-weights": "onnxruntime.quantization writes weight-only matrix products, and no convolutions",
            "int16x8": "ONNX Runtime has no 16-bit kernels on the CPU: such models took four times as long as float32",
        },
    ),
    "coreml": Format(
        "export.formats.coreml.exporter",
        packages=("coremltools",),
        extra="coreml",
        schemes={
            "fp32": _FLOAT,
            "fp16": Scheme("float16"),
            "int8-weights": Scheme("int8 weights per channel, float16 activations"),
            "int8": Scheme("int8 weights, int8 activations around weighted sums, static (iOS 17)", calibrated=True),
            "palette8": Scheme("8-bit indices into a table per weight, float16 activations"),
            "palette6": Scheme("6-bit indices into a table per weight, float16 activations"),
            "palette4": Scheme("4-bit indices into a table per weight, float16 activations"),
        },
        refused={
            "int8-dynamic": "Core ML finds no ranges of activations at run time",
            "int16x8": "Core ML has no 16-bit integer activations",
        },
        refused_batches={"dynamic": "the interpreter that proves it knows fixed shapes only"},
        usual=("fp32", "fp16", "int8-weights"),
    ),
    "litert": Format(
        "export.formats.litert.exporter",
        packages=("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
        extra="litert",
        schemes={
            "fp32": _FLOAT,
            "fp16": Scheme("float16 weights, float32 activations"),
            "int8": Scheme("int8 weights per channel, int8 activations, static (ai-edge-quantizer)", calibrated=True),
            "int8-dynamic": Scheme("int8 weights per channel, activations quantized at run time"),
            "int8-weights": Scheme("int8 weights per channel, float32 activations"),
            "int16x8": Scheme("int8 weights per channel, int16 activations, static", calibrated=True),
        },
        refused_batches={"dynamic": "litert-torch 0.10 converts fixed shapes only"},
    ),
}


@dataclass(frozen=True)
class Target:
    """One artifact to make; `batch` -1 = any number of images."""

    format: FormatName
    precision: PrecisionName
    batch: int = 1

    @property
    def name(self) -> str:
        """Name of its folder, e.g. `onnx-int8`. Nobody reads facts back from it; they are in the manifest."""
        suffix = "" if self.batch == 1 else f"-{self.batch_words}"
        return f"{self.format}-{self.precision}{suffix}"

    @property
    def batch_words(self) -> str:
        """`dynamic`, or e.g. `batch4`."""
        return "dynamic" if self.batch == ANY_BATCH else f"batch{self.batch}"

    @property
    def calibrated(self) -> bool:
        """Whether calibration images are needed."""
        return FORMATS[self.format].schemes[self.precision].calibrated


def exporter(name: FormatName) -> "Exporter":
    """The exporter of a format, its toolchain imported now."""
    return cast("Exporter", importlib.import_module(FORMATS[name].module))


def missing_packages(name: FormatName) -> list[str]:
    """Packages that a format's exporter needs and that are not installed here."""
    return [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]


def why_not(target: Target, *, has_data: bool) -> str | None:
    """Why an artifact cannot be made here, or None if it can."""
    entry = FORMATS[target.format]
    reason = entry.why_not(target.precision)
    if reason is not None:
        return reason
    kind: BatchKind = "dynamic" if target.batch == ANY_BATCH else "static"
    if target.batch != 1 and kind in entry.refused_batches:
        return f"no {kind} batch: {entry.refused_batches[kind]}"
    missing = missing_packages(target.format)
    if missing:
        return f"{', '.join(missing)} is not installed; install it with: pip install 'pocket-distill[{entry.extra}]'"
    if target.calibrated and not has_data:
        return (
            "it is calibrated on images, and this checkpoint's card names no training data; "
            "name a folder of your own with --calibration-folder"
        )
    return None
