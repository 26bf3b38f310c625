"""How hint points are searched: the options of `python -m distill hints`, and of a run that searches them itself."""

from typing import Annotated, Literal

from pydantic import Field

from distill.contract import Strict

Metric = Literal["cka", "cca", "gcd", "cka-rbf"]
Activation = Literal["pre", "post"]
Position = Literal["centre", "last"]


class HintSearch(Strict):
    """A search of the teacher's blocks for hint points (PURSUhInT).

    Attributes:
        metric: how alike two blocks are.
        clusters: how many, each of which gives a hint.
        images: of the training split, at most.
        activation: before (`pre`) or after (`post`) the activation at each block's end.
        contiguous: demand clusters without gaps: the best division into stretches, instead of k-means.
        position: of a hint in its cluster; the paper compares its `centre` with its `last` block.
    """

    metric: Metric = "cka"
    clusters: Annotated[int, Field(ge=1)] = 3
    images: Annotated[int, Field(ge=2)] = 10_000
    activation: Activation = "post"
    contiguous: bool = False
    position: Position = "centre"
