"""What PyTorch and ONNX Runtime see of the GPU, asked in a process of its own: `python -m bench.cuda.probe`.

The bench itself imports no torch and holds no GPU memory while workers measure.
"""

import os
import subprocess
import sys
from typing import Any

from pydantic import ValidationError

from bench.cuda.state import COMMAND, query
from distill.contract import Strict
from distill.errors import UsageError
from distill.system import child_environment

TIMEOUT_S = 300
GPU_PROVIDER = "CUDAExecutionProvider"
INSTEAD = "Use --device cpu to measure on this machine's processor."


class Gpu(Strict):
    """The GPU that torch calls `cuda:0`.

    Attributes:
        uuid: as nvidia-smi names it.
        memory_bytes: all of its memory.
        bf16: whether it computes in bfloat16 itself.
        tf32: whether it has TF32 (compute capability 8.0 or newer).
    """

    name: str
    uuid: str
    memory_bytes: int
    bf16: bool
    tf32: bool


class Seen(Strict):
    """What the packages see.

    Attributes:
        torch: its version; None if it is not installed.
        built_for: the CUDA version torch was built for; None if for none.
        problem: what CUDA said when torch asked for the GPU; empty if nothing went wrong.
        gpu: None if torch sees none.
        onnxruntime: whether it is installed with its CUDA provider.
    """

    torch: str | None = None
    built_for: str | None = None
    problem: str = ""
    gpu: Gpu | None = None
    onnxruntime: bool = False


def find_gpu() -> tuple[Gpu, Seen]:
    """The GPU, and what else is there.

    Raises:
        UsageError: torch sees no GPU; says why and what to do.
    """
    seen = probe()
    if seen.gpu is None:
        raise UsageError(why_none(seen, driver=driver_version()))
    return seen.gpu, seen


def probe() -> Seen:
    """Ask torch in a process of its own.

    Raises:
        UsageError: that process failed.
    """
    words = [sys.executable, "-m", "bench.cuda.probe"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=TIMEOUT_S, env=child_environment(), check=True
        )
        return Seen.model_validate_json(done.stdout.strip().splitlines()[-1])
    except subprocess.CalledProcessError as error:
        tail = " | ".join(error.stderr.strip().splitlines()[-3:])
        raise UsageError(f"asking torch for the GPU failed: {tail or error}. {INSTEAD}") from error
    except (subprocess.TimeoutExpired, ValidationError, IndexError) as error:
        raise UsageError(f"asking torch for the GPU gave no answer: {error}. {INSTEAD}") from error


def why_none(seen: Seen, *, driver: str | None) -> str:
    """Why there is no GPU to measure on, and what to do about it."""
    if seen.torch is None:
        return f"--device cuda needs torch, which is not installed. {INSTEAD}"
    if seen.built_for is None:
        return (
            f"torch {seen.torch} is built without CUDA. Install a build with it (https://pytorch.org/get-started). "
            f"{INSTEAD}"
        )
    here = f"torch {seen.torch} (built for CUDA {seen.built_for}) sees no GPU"
    said = f"; CUDA says: {seen.problem}" if seen.problem else ""
    if driver is None:
        return f"{here}, and {COMMAND} finds no NVIDIA driver{said}. Run this on a machine with one. {INSTEAD}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = "" if hidden is None else f", CUDA_VISIBLE_DEVICES is {hidden!r}"
    return (
        f"{here}, though there is the NVIDIA driver {driver}{shown}{said}. Make the GPU visible, or update the driver "
        f"to one for CUDA {seen.built_for}. {INSTEAD}"
    )


def driver_version(uuid: str = "0") -> str | None:
    """Version of the NVIDIA driver; None if nvidia-smi finds none."""
    values = query(uuid, ["driver_version"])
    return values[0] if values else None


def look() -> Seen:
    """What this process sees; imports torch, and ONNX Runtime if it is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return Seen()
    seen: dict[str, Any] = {"torch": torch.__version__, "built_for": torch.version.cuda}
    if torch.version.cuda is None:
        return Seen(**seen)
    try:
        torch.cuda.init()
        properties = torch.cuda.get_device_properties(0)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    except RuntimeError as error:  # CUDA's own words, e.g. that there is no GPU or the driver is too old
        return Seen(**seen, problem=str(error).strip().splitlines()[0])
    uuid = str(properties.uuid)
    gpu = Gpu(
        name=properties.name,
        uuid=uuid if uuid.startswith("GPU-") else f"GPU-{uuid}",
        memory_bytes=properties.total_memory,
        bf16=bf16,
        tf32=properties.major >= 8,
    )
    return Seen(**seen, gpu=gpu, onnxruntime=_has_gpu_provider())


def _has_gpu_provider() -> bool:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return False
    return GPU_PROVIDER in onnxruntime.get_available_providers()


if __name__ == "__main__":
    print(look().model_dump_json())
