"""Which operations enlarge the answers: in integers they round away what tells two classes apart.

Between the middle of one class and that of the next the logits cross, and the pixels there are decided by differences
smaller than a step of eight bits. So answers that are enlarged at the end are enlarged in float, with what comes after.
ExecuTorch needs no such rule: XNNPACK's quantizer leaves every enlarging in float.
"""

from collections.abc import Sequence

from export.quantize.steps import Step, Tensor


def stay_float(steps: Sequence[Step[Tensor]]) -> set[int]:
    """Numbers of the last operations of a model, from the first that enlarges after all weights; empty without any.

    Args:
        steps: all operations, in the order of execution.
    """
    producers = {tensor: step for step in steps for tensor in step.outputs}
    used = {tensor for step in steps for tensor in step.inputs}
    found: set[int] = set()
    for answer in (tensor for step in steps for tensor in step.outputs if tensor not in used):
        tail: list[int] = []
        producer = producers.get(answer)
        while producer is not None and producer.kind != "weighted":
            tail.append(producer.number)
            if producer.kind == "resize":
                found.update(tail)
            before = [producers[tensor] for tensor in producer.inputs if tensor in producers]
            producer = before[0] if len(before) == 1 else None
    return found
