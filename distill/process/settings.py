"""Settings that a search and what follows its process share."""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from distill.contract import Strict
from distill.process.pathways import Pathway


class AdamFactors(Strict):
    """Adam on the raw factors, as the authors' release has it. It divides by a gradient's own scale.

    Attributes:
        lr: the paper's; a factor moves by about so much in every step.
    """

    kind: Literal["adam"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 0.05
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)

    def optimizer(self, factors: Tensor) -> torch.optim.Optimizer:
        """Over these factors, [L]."""
        return torch.optim.Adam([factors], lr=self.lr, betas=self.betas)


class SGDFactors(Strict):
    """Plain descent on the raw factors, as the paper's Eq. 4 reads."""

    kind: Literal["sgd"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.05

    def optimizer(self, factors: Tensor) -> torch.optim.Optimizer:
        """Over these factors, [L]."""
        return torch.optim.SGD([factors], lr=self.lr)


FactorOptimizer = Annotated[AdamFactors | SGDFactors, Field(discriminator="kind")]

HeldBack = Annotated[float, Field(ge=0.01, le=0.9)]


class SearchFirst(Strict):
    """The process is searched when the run begins, unless it already was: a run of `distpro_search` beside this one.

    It has this run's grid, data, networks and training, but for what is said here.

    Attributes:
        epochs: of the search, in quarters of which a stepwise rate falls, as in the paper.
        seed: of the search; several runs may share one.
        factors: how the raw factors learn.
        held_back: share of the training images that the search judges by.
        model: the student of the search; None = this run's.
        teacher: the network of the search's teacher, trained as this run's; None = this run's teacher.
    """

    kind: Literal["search"] = "search"
    epochs: Annotated[int, Field(ge=1)] = 40
    seed: int = 0
    factors: FactorOptimizer = AdamFactors()
    held_back: HeldBack = 0.2
    model: str | None = None
    teacher: str | None = None


class SearchedProcess(Strict):
    """A process that was searched before; `method.process=FILE` puts one here.

    Attributes:
        sha256: hash of its `process.json`.
        searched: names the pair that it was searched on, in messages.
        pathways: what a row's factors are of.
        raw: raw factors, one row for each epoch of the search.
    """

    kind: Literal["searched"] = "searched"
    sha256: str
    searched: str
    pathways: Annotated[tuple[Pathway, ...], Field(min_length=1)]
    raw: Annotated[tuple[tuple[float, ...], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "SearchedProcess":
        if {len(row) for row in self.raw} != {len(self.pathways)}:
            raise ValueError(f"every row of raw must have {len(self.pathways)} factors, one for each pathway")
        return self


ProcessSource = Annotated[SearchedProcess | SearchFirst, Field(discriminator="kind")]
