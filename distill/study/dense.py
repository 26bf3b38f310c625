"""The DistPro paper's tables 5 and 6: what helps a student that answers for every pixel."""

from collections.abc import Sequence
from itertools import product

from distill.config import RunConfig
from distill.methods import MethodConfig
from distill.methods.distpro import DistProConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.intra_class_feature_variation import IntraClassFeatureVariationConfig
from distill.methods.review_kd import ReviewKDConfig
from distill.methods.scratch import ScratchConfig
from distill.methods.weighted_sum import Part, WeightedSumConfig
from distill.process.pathways import Grid
from distill.process.settings import SearchFirst
from distill.study.run import Cell, Study, cell_run

SUPERVISED = "scratch"

GRID = Grid(transforms=("two_convolutions",))
"""All pairs of levels, so that the last map of the teacher may teach the first ones of the student."""

FEATURE_WEIGHT = 1.0
"""Of ReviewKD, and of the pathways: maps of pixels differ by more than those of classifiers."""


def segmentation_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """Table 5: {baseline, KD, IFVD, IFVD + ReviewKD, IFVD + all pathways alike, DistPro} x seeds.

    Deviation: DistPro follows its process beside the labels alone; in the paper IFVD's losses are there, too.
    """
    variation = IntraClassFeatureVariationConfig()
    review, alike = _review(base), DistProConfig(grid=GRID, weight=FEATURE_WEIGHT, mode="equally_weighted")
    techniques: list[tuple[str, MethodConfig]] = [
        (SUPERVISED, ScratchConfig()),
        ("KD", HintonKDConfig(temperature=1.0, alpha=0.5)),
        ("IFVD", variation),
        ("IFVD + ReviewKD", _beside(variation, review)),
        ("IFVD + pathways alike", _beside(variation, alike)),
        ("DistPro", _searched(base)),
    ]
    return _grid(name, base, students, seeds, techniques)


def depth_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """Table 6: {baseline, KD, ReviewKD, all pathways alike, DistPro} x seeds."""
    techniques: list[tuple[str, MethodConfig]] = [
        (SUPERVISED, ScratchConfig()),
        ("KD", HintonKDConfig(alpha=0.3)),
        ("ReviewKD", _review(base)),
        ("pathways alike", DistProConfig(grid=GRID, weight=FEATURE_WEIGHT, mode="equally_weighted")),
        ("DistPro", _searched(base)),
    ]
    return _grid(name, base, students, seeds, techniques)


def _grid(
    name: str, base: RunConfig, students: Sequence[str], seeds: int, techniques: Sequence[tuple[str, MethodConfig]]
) -> Study:
    cells = [
        Cell(technique, cell_run(base, model=student, method=method, seed=seed))
        for student, (technique, method), seed in product(students, techniques, range(seeds))
    ]
    return Study(name, SUPERVISED, tuple(cells))


def _review(base: RunConfig) -> ReviewKDConfig:
    return ReviewKDConfig(weight=FEATURE_WEIGHT, warmup_epochs=max(base.training.epochs / 12, 1.0), first_epoch=1)


def _searched(base: RunConfig) -> DistProConfig:
    search = SearchFirst(epochs=max(base.training.epochs // 4, 1))
    return DistProConfig(grid=GRID, weight=FEATURE_WEIGHT, process=search)


def _beside(variation: IntraClassFeatureVariationConfig, other: ReviewKDConfig | DistProConfig) -> WeightedSumConfig:
    """Both with their own losses, labels counted once."""
    twice = {"weight": 2 * variation.weight, "soft_weight": 2 * variation.soft_weight}
    return WeightedSumConfig(
        parts=(
            Part(method=variation.model_copy(update=twice), weight=0.5),
            Part(method=other.model_copy(update={"weight": 2 * other.weight}), weight=0.5),
        )
    )
