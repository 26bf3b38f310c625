"""What a batch must look like before a runtime sees it."""

import numpy as np

from distill.errors import UsageError
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch


def refuse_other_batch(manifest: Manifest, batch: Batch) -> None:
    """Check a batch against the manifest's input: shape (-1 = any), float32, contiguous.

    Raises:
        UsageError: it does not fit; runtimes would otherwise fail in their own words, or read beyond the memory.
    """
    expected = manifest.input.shape
    fits = len(expected) == batch.ndim and all(e in (-1, f) for e, f in zip(expected, batch.shape, strict=True))
    if not fits or batch.dtype != np.float32 or not batch.flags.c_contiguous:
        raise UsageError(
            f"this {manifest.format} artifact takes float32 {list(expected)} (-1 = any), found {batch.dtype} "
            f"{list(batch.shape)}{'' if batch.flags.c_contiguous else ', not contiguous'}. "
            "Use the batch size it was exported for, or export it for another one."
        )
