"""How often the gate calls simulated models kept, open and lost; `python -m tests.export.proof.gate` shows it."""

import numpy as np

from export.artifact.paired import FIRST_ERROR, Paired, exceeded_with, share_score
from export.proof.limits import QUANTIZED_MIN_ACCURACY_KEPT

LOSSES = (0.0, 0.005, 0.015, 0.03)
SIZES = (300, 1000, 5000)
FIRST = 1000
"""Images of the first look, where there are so many; the default of `python -m export`."""

EAGER_ACCURACY = 0.9
CHURN = 0.01
"""Share of the images that the artifact answers rightly and eager does not; as many more the other way round."""

MODELS = 20_000


def simulate(
    loss: float, size: int, *, first: int = FIRST, churn: float = CHURN, models: int = MODELS, seed: int = 0
) -> dict[str, float]:
    """Shares of the models that the gate calls kept, open and lost.

    Args:
        loss: share of eager's accuracy that each of them truly loses.
        size: held-out images there are.
        first: of them, that are judged on at first.
        churn: see `CHURN`.
        models: how many.
        seed: of the images.
    """
    only_theirs = churn + loss * EAGER_ACCURACY
    cells = (EAGER_ACCURACY - only_theirs, churn, only_theirs, 1 - EAGER_ACCURACY - churn)
    rng = np.random.default_rng(seed)
    answer = np.full(models, "open")
    seen, look, error = np.zeros((models, 4), dtype=np.int64), min(first, size), FIRST_ERROR
    while True:
        seen += rng.multinomial(look - int(seen[0].sum()), cells, size=models)
        score = share_score(Paired(*seen.T), QUANTIZED_MIN_ACCURACY_KEPT)
        undecided = answer == "open"
        answer[undecided & (score >= exceeded_with(error))] = "kept"
        answer[undecided & (score < -exceeded_with(error))] = "lost"
        if look == size:
            return {name: float((answer == name).mean()) for name in ("kept", "open", "lost")}
        look, error = min(2 * look, size), error / 2


def table() -> str:
    """The shares for every loss and size, as Markdown."""
    lines = [
        "| true loss | " + " | ".join(f"{size:,} images" for size in SIZES) + " |",
        "| --- |" + " --- |" * len(SIZES),
    ]
    for loss in LOSSES:
        cells = [" / ".join(f"{100 * share:.1f}" for share in simulate(loss, size).values()) for size in SIZES]
        lines.append(f"| {100 * loss:g} % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
