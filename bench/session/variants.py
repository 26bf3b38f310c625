"""The ways one artifact can run on a GPU; each is a row of its own, named by `Measurement.accelerator_requested`."""

from typing import Literal

from distill.contract import Strict

Engine = Literal["eager", "compile", "graphs", "torchscript", "onnxruntime"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]

ENGINES: dict[str, tuple[Engine, ...]] = {
    "eager": ("eager", "compile", "graphs"),
    "torchscript": ("torchscript",),
    "onnx": ("onnxruntime",),
}
"""What runs the artifacts of a format."""

PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "eager": ("fp32", "tf32", "bf16", "fp16"),
    "torchscript": ("fp32", "tf32"),
    "onnx": ("fp32", "tf32"),
}
"""What an artifact of a format can be computed in: a frozen graph keeps the type of its weights."""


class Variant(Strict):
    """One way to run an artifact on a GPU.

    Attributes:
        engine: PyTorch as it is, `torch.compile`, one CUDA graph of the whole network, libtorch, or ONNX Runtime.
        precision: fp32 (TF32 off); tf32 (fp32 tensors, TF32 in convolutions and matrix products); or weights,
            activations and input in bf16 or fp16.
        cold_l2: whether a buffer larger than the L2 cache is written before every call, outside the timed region.
        copied_input: whether the call copies its input from pinned host memory; otherwise it lies on the GPU.
    """

    engine: Engine
    precision: Precision
    cold_l2: bool = False
    copied_input: bool = False

    def __str__(self) -> str:
        words = ["cuda", self.engine, self.precision]
        words += ["cold-l2"] * self.cold_l2 + ["copied-input"] * self.copied_input
        return " ".join(words)


def base_accelerator(accelerator: str | None) -> str | None:
    """The accelerator of the eager row that a row is held against.

    On a GPU it is PyTorch in fp32 under the same circumstances, elsewhere None: eager rows have no accelerator there.
    """
    words = (accelerator or "").split(" ")
    if words[0] != "cuda":
        return None
    return " ".join(["cuda", "eager", "fp32", *words[3:]])
