"""One input run again and again: which different outputs there are, in one launch and in all of them."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from bench.record.repeated import Repeated, SeenOutput
from export.artifact.runner import Batch

MOST_OUTPUTS = 100
"""Beyond these every new one counts as the last."""


def outputs_of(call: Callable[[], Batch], count: int) -> tuple[SeenOutput, ...]:
    """The different outputs of so many calls in one process, first seen first; each difference is to the first."""
    first: Batch | None = None
    outputs: dict[str, SeenOutput] = {}
    for _ in range(count):
        output = np.array(call(), dtype="<f4")
        first = output if first is None else first
        sha256 = hashlib.sha256(output.tobytes()).hexdigest()
        if sha256 not in outputs and len(outputs) < MOST_OUTPUTS:
            apart = float(np.abs(output - first).max())
            difference = apart if np.isfinite(apart) else None
            outputs[sha256] = SeenOutput(sha256=sha256, calls=0, launches=1, max_abs_difference=difference)
        key = sha256 if sha256 in outputs else next(reversed(outputs))
        outputs[key] = outputs[key].model_copy(update={"calls": outputs[key].calls + 1})
    return tuple(outputs.values())


def of_all_launches(launches: Sequence[Iterable[SeenOutput]]) -> Repeated | None:
    """The outputs of several launches together; None if there are none."""
    outputs: dict[str, SeenOutput] = {}
    for seen in (seen for launch in launches for seen in launch):
        known = outputs.get(seen.sha256)
        if known is None:
            outputs[seen.sha256] = seen
            continue
        apart = [known.max_abs_difference, seen.max_abs_difference]
        outputs[seen.sha256] = SeenOutput(
            sha256=seen.sha256,
            calls=known.calls + seen.calls,
            launches=known.launches + seen.launches,
            max_abs_difference=None if None in apart else max(value for value in apart if value is not None),
        )
    if not outputs:
        return None
    ordered = sorted(outputs.values(), key=lambda output: -output.calls)
    return Repeated(calls=sum(output.calls for output in ordered), launches=len(launches), outputs=tuple(ordered))
