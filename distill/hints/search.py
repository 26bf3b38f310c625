"""The search: pooled features of every block, how alike the blocks are, clusters, and what there is to say of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.errors import UsageError
from distill.hints.clusters import Clustering, Matrix, in_order, kernel_k_means, near_ties, segmentation
from distill.hints.features import Blocks, blocks_of, drawn, features
from distill.hints.options import HintSearch, Metric
from distill.hints.record import Block, Cluster, HintData, Hints, Segmentation, Tie, listed
from distill.hints.similarity import MOST_IMAGES_OF_RBF, Moments, gcd_and_cca, linear_cka, rbf_cka
from distill.terminal import progress
from distill.version import toolkit_version
from distill.vision.datasets import DatasetConfig, Split
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess

SEED = 0
TIES_SAID = 3


@dataclass(frozen=True)
class Searched:
    """A teacher and the images it is asked about.

    Attributes:
        model: in eval mode.
        sha256: hash of its weights, as a run records it.
        source: names it in messages.
        dataset: where `train` is from.
        train: the training split as the teacher sees it.
    """

    model: ImageClassifier
    preprocess: Preprocess
    sha256: str
    source: str
    dataset: DatasetConfig
    train: Split


def search(searched: Searched, options: HintSearch, device: torch.device) -> Hints:
    """Find the hint points of a teacher.

    Raises:
        UsageError: a network without blocks, too few of them or of images.
        WorkFailed: a block gives the same for every image.
    """
    model = searched.model.to(device)
    blocks = enough_blocks(model, searched.preprocess, options, searched.source)
    most = min(options.images, MOST_IMAGES_OF_RBF) if options.metric == "cka-rbf" else options.images
    positions = drawn(searched.train, most, seed=SEED)
    if len(positions) < 2:
        raise UsageError(f"blocks are compared over images; found {len(positions)}, expected 2 at least.")
    batches = _shown(features(model, blocks, searched.train, positions, device), len(positions), searched.source)
    similarity, kernel = _similarities(options.metric, blocks, batches, device)
    stretches = in_order(segmentation(kernel, options.clusters).clusters, options.position)
    means = kernel_k_means(kernel, options.clusters)
    chosen = stretches if options.contiguous else in_order(means.clusters, options.position)
    ties = near_ties(kernel, chosen, contiguous=options.contiguous)
    numbers, scattered = chosen.cluster_of(), chosen.scattered()
    return Hints(
        teacher=searched.source,
        teacher_sha256=searched.sha256,
        network=type(model.network).__name__,
        preprocess=searched.preprocess,
        data=HintData(
            config=searched.dataset,
            train_sha256=searched.train.sha256(),
            num_train=len(searched.train),
            num_images=len(positions),
            seed=SEED,
        ),
        metric=options.metric,
        clustered_by="gcd" if options.metric == "cca" else options.metric,
        activation=options.activation,
        contiguous=options.contiguous,
        position=options.position,
        points=tuple(blocks.names[hint] for hint in chosen.hints),
        clusters=tuple(
            Cluster(blocks=_counted(members), hint=hint + 1, contiguous=number not in scattered)
            for number, (members, hint) in enumerate(zip(chosen.clusters, chosen.hints, strict=True))
        ),
        stage_ends=_counted(blocks.stage_ends),
        segmentation=_recorded(stretches, chosen),
        near_ties=tuple(
            Tie(
                block=tie.block + 1,
                cluster=tie.cluster + 1,
                other=tie.other + 1,
                margin=round(tie.margin, 6),
                hints=_counted(tie.hints),
            )
            for tie in ties
        ),
        blocks=tuple(
            Block(name=name, place=place, channels=width, cluster=number + 1)
            for name, place, width, number in zip(blocks.names, blocks.places, blocks.widths, numbers, strict=True)
        ),
        similarity=tuple(tuple(round(float(value), 6) for value in row) for row in similarity),
        version=toolkit_version(),
    )


def enough_blocks(model: ImageClassifier, preprocess: Preprocess, options: HintSearch, source: str) -> Blocks:
    """The blocks of a network that is or will be searched; raises UsageError if it has none, or fewer than clusters."""
    blocks = blocks_of(model, preprocess, options.activation)
    if options.clusters > len(blocks.names):
        raise UsageError(
            f"{source} has {len(blocks.names)} blocks, too few for {options.clusters} clusters. Use "
            f"--clusters {len(blocks.names)} at most (a run that searches itself: hints.clusters)."
        )
    return blocks


def remarks(hints: Hints) -> Iterator[str]:
    """What a person should know before using the hints, a sentence each."""
    chosen = listed(hints.hints)
    if hints.clustered_by != hints.metric:
        yield (
            f"{hints.metric} is no inner product between blocks of unequal rank, so a cluster has no mean by it; the "
            f"clusters are those of {hints.clustered_by}, and the matrix shows {hints.metric}"
        )
    for number, cluster in enumerate(hints.clusters, start=1):
        if not cluster.contiguous:
            yield (
                f"cluster {number} is not contiguous: its blocks are {listed(cluster.blocks)}; the best division into "
                f"stretches (--contiguous) has the hints {listed(hints.segmentation.hints)}"
            )
    for tie in hints.near_ties[:TIES_SAID]:
        yield (
            f"the choice hangs on block {tie.block}: it is nearer to cluster {tie.cluster} than to {tie.other} by "
            f"{tie.margin:.4f} only, and in the other the hints would be blocks {listed(tie.hints)}"
        )
    if len(hints.near_ties) > TIES_SAID:
        blocks = tuple(sorted({tie.block for tie in hints.near_ties}))
        yield f"{len(hints.near_ties)} near ties in all, of blocks {listed(blocks)}: the clusters are not clear"
    if not hints.stage_ends:
        yield f"a {hints.network} has no conventional hints to compare with: its stages, if any, do not end with blocks"
    elif hints.hints == hints.stage_ends:
        yield f"the hints are the conventional ones, the stage ends (blocks {chosen})"
    else:
        moved = [block for block in hints.hints if block not in hints.stage_ends]
        yield (
            f"conventional hints are the stage ends, blocks {listed(hints.stage_ends)}; these are blocks {chosen}, of "
            f"which {len(moved)} of {len(hints.hints)} are elsewhere"
        )


def _similarities(
    metric: Metric, blocks: Blocks, batches: Iterator[Tensor], device: torch.device
) -> tuple[Matrix, Matrix]:
    """What is shown, and the inner products that are clustered."""
    if metric == "cka-rbf":
        together = torch.cat([batch.cpu() for batch in batches])
        kernel = rbf_cka(together.split(blocks.widths, dim=1))
        return kernel, kernel
    moments = Moments(blocks.widths, device=device)
    for batch in batches:
        moments.add(batch)
    if metric == "cka":
        kernel = linear_cka(moments)
        return kernel, kernel
    gcd, cca = gcd_and_cca(moments)
    return (cca if metric == "cca" else gcd), gcd


def _shown(batches: Iterator[Tensor], total: int, source: str) -> Iterator[Tensor]:
    with progress(unit="images") as display:
        task = display.add_task(f"asking {source}", total=total, note="")
        for batch in batches:
            yield batch
            display.advance(task, len(batch))


def _recorded(stretches: Clustering, chosen: Clustering) -> Segmentation:
    return Segmentation(
        last_blocks=tuple(members[-1] + 1 for members in stretches.clusters),
        hints=_counted(stretches.hints),
        agreement=chosen.agreement(stretches),
    )


def _counted(blocks: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks counted from 1 instead of from 0."""
    return tuple(block + 1 for block in blocks)
