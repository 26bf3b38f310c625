"""`hints.json`: where to take hints from a certain teacher, and how that was found."""

import hashlib
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from distill.contract import Contract, Strict
from distill.hints.options import Activation, Metric, Position
from distill.vision.datasets import DatasetConfig
from distill.vision.preprocess import Preprocess

Similarity = Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]
BlockNumber = Annotated[int, Field(ge=1)]


class HintData(Strict):
    """Which images the blocks were compared over.

    Attributes:
        train_sha256: of the whole training split as the teacher sees it.
        num_train: its images.
        num_images: how many of them were shown, drawn by `seed`.
    """

    config: DatasetConfig
    train_sha256: str
    num_train: int
    num_images: int
    seed: int


class Block(Strict):
    """One block of the teacher, in the order of the forward pass.

    Attributes:
        name: as `distill.taps` reads it, e.g. `block:7` or `block:7:pre`.
        place: what that is in this network.
        channels: of its pooled features.
        cluster: counted from 1.
    """

    name: str
    place: str
    channels: int
    cluster: BlockNumber


class Cluster(Strict):
    """Blocks that compute what is alike.

    Attributes:
        blocks: counted from 1.
        hint: the one that stands for them.
        contiguous: no block of another cluster lies between them.
    """

    blocks: tuple[BlockNumber, ...]
    hint: BlockNumber
    contiguous: bool


class Segmentation(Strict):
    """The best division into stretches, whether it was chosen or not.

    Attributes:
        last_blocks: of each stretch.
        hints: the block that would stand for each.
        agreement: share of the blocks that the chosen clusters put into the cluster of the same number, in [0, 1].
    """

    last_blocks: tuple[BlockNumber, ...]
    hints: tuple[BlockNumber, ...]
    agreement: Annotated[float, Field(ge=0, le=1)]


class Tie(Strict):
    """A block that might as well be in another cluster, with which the hints would be others.

    Attributes:
        margin: by how much its distance from its own cluster is less, in similarity.
        hints: if it were in the other.
    """

    block: BlockNumber
    cluster: BlockNumber
    other: BlockNumber
    margin: float
    hints: tuple[BlockNumber, ...]


class Hints(Contract):
    """What a search for hint points has found.

    Attributes:
        teacher: names it in messages.
        teacher_sha256: hash of its weights; other weights have other hints.
        network: its class.
        preprocess: what it saw.
        metric: of `similarity`.
        clustered_by: the metric that the clusters are of; `cca` is no inner product, so `gcd` stands in for it.
        contiguous: clusters were demanded to be stretches.
        position: of a hint in its cluster; `centre` in version 1.
        points: the hints as names of places, the first cluster's first.
        stage_ends: blocks that are the conventional hints; empty where stages do not end with a block.
        similarity: of every two blocks, six digits.
        near_ties: the closest first.
        version: of this toolkit.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    schema_version: Literal[3] = 3
    teacher: str
    teacher_sha256: str
    network: str
    preprocess: Preprocess
    data: HintData
    metric: Metric
    clustered_by: Literal["cka", "gcd", "cka-rbf"]
    activation: Activation
    contiguous: bool
    position: Position
    points: Annotated[tuple[str, ...], Field(min_length=1)]
    clusters: tuple[Cluster, ...]
    stage_ends: tuple[BlockNumber, ...]
    segmentation: Segmentation
    near_ties: tuple[Tie, ...]
    blocks: tuple[Block, ...]
    similarity: tuple[tuple[Similarity, ...], ...]
    version: str

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """The hints of version 1 are the centres of their clusters; before 3 pictures were resized bilinearly."""
        if raw.get("schema_version") not in (1, 2):
            return raw
        return {"position": "centre"} | raw | {"schema_version": 3}

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.blocks)
        if [len(row) for row in self.similarity] != [count] * count:
            raise ValueError(f"similarity must be {count} x {count}, one row for each block")
        if sorted(block for cluster in self.clusters for block in cluster.blocks) != list(range(1, count + 1)):
            raise ValueError(f"every block of 1 to {count} must be in one cluster")
        hints = tuple(self.blocks[cluster.hint - 1].name for cluster in self.clusters)
        if hints != self.points:
            raise ValueError(f"points must be the clusters' hints, {', '.join(hints)}")
        return self

    @property
    def file_sha256(self) -> str:
        """Hex SHA-256 of the file that `write` makes of it."""
        return hashlib.sha256((self.to_json() + "\n").encode()).hexdigest()

    @property
    def hints(self) -> tuple[int, ...]:
        """The chosen blocks, counted from 1."""
        return tuple(cluster.hint for cluster in self.clusters)


def listed(blocks: tuple[int, ...]) -> str:
    """Blocks in words: `1, 4-7, 9`."""
    parts: list[list[int]] = []
    for block in blocks:
        if parts and block == parts[-1][-1] + 1:
            parts[-1].append(block)
        else:
            parts.append([block])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
