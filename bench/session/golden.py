"""The input a model is timed on, and the check that what was timed computes what it should."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from distill.errors import WorkFailed
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch

TOLERANCE = {"fp32": 1e-3, "tf32": 2e-2, "fp16": 2e-2, "bf16": 5e-2}
QUANTIZED_TOLERANCE = 5e-2
"""How far logits may lie from the golden ones, as a share of the largest golden logit. Integer and half-precision
kernels round differently from one processor to the next; a wrong model is off by far more. TF32 has the mantissa of
fp16, bf16 one that is three bits shorter."""

SEED = 0
"""Of random input, for artifacts without a golden one."""


def model_input(folder: Path, manifest: Manifest, *, batch: int) -> tuple[Batch, Batch | None]:
    """(input, golden output): the golden ones repeated to fill the batch, or seeded random values and None."""
    roles = {file.role for file in manifest.files}
    if not {"golden-input", "golden-output"} <= roles:
        values = np.random.default_rng(SEED).random((batch, *manifest.input.shape[1:]), dtype=np.float32)
        return values, None
    images, logits = (
        np.load(folder / manifest.file(role), allow_pickle=False) for role in ("golden-input", "golden-output")
    )
    return _fill(images, batch), _fill(logits, batch)


def check_output(
    call: Callable[[], Batch], golden: Batch | None, manifest: Manifest, *, precision: str | None = None
) -> None:
    """Call once more and compare with the golden output.

    Args:
        call: gives the logits.
        golden: what they should be; None to check nothing.
        manifest: of the artifact.
        precision: that it was computed in; None for the manifest's.

    Raises:
        WorkFailed: another shape, values that are not finite, or further off than its precision's tolerance.
    """
    if golden is None:
        return
    output = np.asarray(call())
    if output.shape != golden.shape or not np.isfinite(output).all():
        raise WorkFailed(
            f"the output is wrong: expected {golden.shape} finite logits, found {output.shape} with "
            f"{np.count_nonzero(~np.isfinite(output))} that are not finite. Export the artifact again."
        )
    precision = precision or manifest.precision
    allowed = TOLERANCE.get(precision, QUANTIZED_TOLERANCE) * max(1.0, float(np.abs(golden).max()))
    difference = float(np.abs(output - golden).max())
    if difference > allowed:
        raise WorkFailed(
            f"the output is wrong: logits differ from the golden ones by up to {difference:.3g}, allowed is "
            f"{allowed:.3g} for {precision}. Its speed means nothing; export the artifact again."
        )


def _fill(values: Batch, batch: int) -> Batch:
    return np.ascontiguousarray(np.resize(values, (batch, *values.shape[1:])))
