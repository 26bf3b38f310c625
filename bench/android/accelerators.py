"""What may run a model on a phone beside its processor, and what did, as the runtime's log tells."""

import re
from collections.abc import Mapping

from bench.protocol import DeviceFormat
from distill.errors import UsageError

CPU = "cpu"
"""Asks for nothing: each runtime runs as it comes."""

ACCELERATORS: Mapping[str, frozenset[DeviceFormat]] = {
    "gpu": frozenset({"litert"}),
}
"""By name, the formats whose runtime in the app has it; off unless asked for. ExecuTorch decides at export what runs
its files (there is no Vulkan recipe yet), ONNX Runtime's package for Android has the processor only."""

REPLACING = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((.*?)\)")
"""How LiteRT (2.3.0) and TensorFlow Lite log that a delegate takes operations over."""

OF_A_GPU = re.compile(r"gpu|opencl|opengl|vulkan", re.IGNORECASE)


def accelerators(text: str) -> list[str]:
    """The accelerators that a comma-separated list names, in its order.

    Raises:
        UsageError: there is no such accelerator.
    """
    names = [word.strip() for word in text.split(",")]
    unknown = [name for name in names if name not in (CPU, *ACCELERATORS)]
    known = ", ".join((CPU, *ACCELERATORS))
    if unknown:
        raise UsageError(f"--accelerator {text!r}: there is no {unknown[0]!r} on a phone. Choose from {known}.")
    return list(dict.fromkeys(names))


def active_by_log(asked: str, log: str) -> str | None:
    """What ran, by how many operations delegates took over: the accelerator, a part of it, or another delegate.

    Args:
        asked: the accelerator that was asked for.
        log: of the process that ran the model.

    Returns:
        The accelerator if it took all operations, `ACCELERATOR+cpu` if some, the other delegate or `cpu` if none; None
        if the log does not tell.
    """
    taken: dict[bool, tuple[int, int]] = {}
    for match in REPLACING.finditer(log):
        count, total, is_gpu = int(match[1]), int(match[2]), OF_A_GPU.search(match[3]) is not None
        known = taken.get(is_gpu, (0, 0))
        taken[is_gpu] = (known[0] + count, max(known[1], total))
    if not taken:
        return None
    count, total = taken.get(True, (0, 0))
    if count:
        return asked if count >= total and False not in taken else f"{asked}+{CPU}"
    return "xnnpack" if taken.get(False, (0, 0))[0] else CPU
