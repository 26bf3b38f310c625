"""What has been proven of networks in every format: kept beside the networks, told by `distill list --models`.

Written by `python -m tests.performance.students --write`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from distill.contract import Contract, Strict

FILE = Path(__file__).with_name("proven.json")


class Artifact(Strict):
    """One network in one format and precision.

    Attributes:
        verdict: of its proof (`export.artifact.manifest.Verdict`); `failed` if there is no artifact.
        agreement: share of answers that are eager's, in [0, 1].
        max_abs_difference: of a logit.
        size_bytes: of the model.
        pieces: of the graph that the accelerated backend takes; None where the format has no such notion.
        outside: operations that it leaves.
        seconds: to export and prove it, on a machine that others used too.
        cause: why it was refused or failed.
        versions: of the packages that wrote it.
    """

    verdict: Literal["pass", "open", "fail", "not-run", "failed"]
    agreement: float | None
    max_abs_difference: float | None
    size_bytes: int | None
    pieces: int | None
    outside: int | None
    seconds: float
    cause: str | None
    versions: Mapping[str, str]


class Network(Strict):
    """One network as it is deployed, with `num_classes` classes for pictures of `size_px`.

    Attributes:
        size_px: of the pictures.
        num_classes: that it answers.
        parameters, macs: of the deployed form; None if no artifact exists.
        artifacts: by "format precision".
    """

    size_px: int
    num_classes: int
    parameters: int | None
    macs: int | None
    artifacts: Mapping[str, Artifact]


class Proven(Contract):
    """All that is known, by name of the network."""

    SCHEMA_VERSION: ClassVar[int] = 2

    schema_version: Literal[2] = 2
    weights: Literal["random"]
    networks: Mapping[str, Network]


def read_proven() -> Proven:
    """What is kept with this version of the toolkit."""
    return Proven.read(FILE)
