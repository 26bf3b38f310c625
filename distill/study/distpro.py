"""The DistPro paper's studies: a searched process against ReviewKD, and how many epochs it saves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from distill.config import SGD, Augment, Cosine, RunConfig, Steps, TrainingSettings, TrainTeacher
from distill.errors import UsageError
from distill.methods import MethodConfig
from distill.methods.distpro import DistProConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.learning_what_and_where import LearningWhatAndWhereConfig
from distill.methods.review_kd import ReviewKDConfig
from distill.methods.scratch import ScratchConfig
from distill.process.normalisation import Normalisation
from distill.process.pathways import Grid
from distill.process.settings import SearchFirst
from distill.recipes import cifar_review_kd, demo
from distill.study.run import Cell, Study, cell_run

SUPERVISED = "scratch"
REVIEW = "ReviewKD"


@dataclass(frozen=True)
class ReviewPair:
    """A teacher for a student of the DistPro study.

    Attributes:
        weight: ReviewKD's, by its authors for this pair.
        lr: of the student.
    """

    teacher: str
    weight: float
    lr: float = 0.1


REVIEW_PAIRS: dict[str, tuple[ReviewPair, ...]] = {
    "wrn_16_2": (ReviewPair("wrn_40_2", 5.0),),
    "shufflenet_v1_cifar": (ReviewPair("wrn_40_2", 5.0, lr=0.02), ReviewPair("resnet32x4", 5.0, lr=0.02)),
    "shufflenet_v2_cifar": (ReviewPair("resnet32x4", 8.0, lr=0.02),),
    "resnet20": (ReviewPair("resnet56", 0.6),),
    "resnet32": (ReviewPair("resnet110", 1.0),),
}
"""Of Table 1 of the DistPro paper."""

REVIEW_WARMUP = 20 / 240
"""Share of the epochs in which ReviewKD's weight grows, as its authors have it."""

DEMO_SEARCH_STUDENT = "resnet14"
"""Whose process is followed by the student of the small study."""

DEMO_PATHWAY_WEIGHT = 0.01
"""Of the pathways of the small study: of 0.002, 0.01, 0.05 and 0.15, all pathways alike, the best with a seed that the
study does not have."""

OTHER_NORMALISATIONS: tuple[Normalisation, ...] = ("softmax", "biased_l1", "l1", "sigmoid")


def distpro_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """The DistPro paper's grid: pairs x {scratch, KD, ReviewKD, L2T-ww, three ways to weigh pathways} x seeds.

    Everything is compared with ReviewKD: at the base's length, and what it and a process give after a quarter and half
    of it (Fig. 5, Table 2). The first pair's process is followed by the others (Table 3), and the first pair has the
    other normalisations, each with a search (Table 7). One search serves all seeds and lengths of a pair.
    """
    cells: list[Cell] = []
    search = SearchFirst(epochs=max(base.training.epochs // 6, 1))
    first: tuple[str, str | None] | None = None
    for student in students:
        if student not in REVIEW_PAIRS:
            known = ", ".join(REVIEW_PAIRS)
            raise UsageError(f"{name} has no teacher for {student}; its students are {known}.")
        pairs = REVIEW_PAIRS[student]
        for pair in pairs:
            where = "" if pair is pairs[0] else f" from {pair.teacher}"
            run = _with_pair(base, student, pair)
            process = DistProConfig(weight=_weight_like(pair.weight, Grid()), process=search)
            cells += _distpro_cells(run, pair.weight, process, where, seeds, source=first)
            if first is None:
                cells += _normalisation_cells(run, process, seeds)
                first = student, pair.teacher
    # A student without a teacher is the same beside each of its teachers.
    return Study(name, REVIEW, tuple({cell.config.identity(): cell for cell in cells}.values()))


def small_distpro_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """The DistPro paper's questions on two cores: one pair, one transform, half as long a search, every technique.

    A second process is searched on another student of the same teacher, and followed here.
    """
    grid = Grid(transforms=("two_convolutions",))
    search = SearchFirst(epochs=max(base.training.epochs // 2, 1))
    process = DistProConfig(grid=grid, weight=DEMO_PATHWAY_WEIGHT, process=search)
    cells = [
        cell
        for student in students
        for cell in _distpro_cells(
            base.model_copy(update={"model": student}), 1.0, process, "", seeds, source=(DEMO_SEARCH_STUDENT, None)
        )
    ]
    return Study(name, REVIEW, tuple(cells))


def _distpro_cells(
    run: RunConfig,
    review_weight: float,
    process: DistProConfig,
    where: str,
    seeds: int,
    *,
    source: tuple[str, str | None] | None,
) -> list[Cell]:
    """All techniques of one pair.

    Args:
        run: of the pair.
        review_weight: of ReviewKD.
        process: DistPro with the search of the pair's process.
        where: is added to the techniques' names.
        seeds: how many.
        source: student and teacher of a search whose process is followed, too; the teacher None for the run's.
    """
    epochs = run.training.epochs
    assert isinstance(process.process, SearchFirst)
    review = ReviewKDConfig(weight=review_weight, warmup_epochs=epochs * REVIEW_WARMUP)
    techniques: list[tuple[str, MethodConfig]] = [
        (f"KD{where}", HintonKDConfig(temperature=4.0, alpha=0.9)),
        (f"{REVIEW}{where}", review),
        (f"L2T-ww{where}", LearningWhatAndWhereConfig()),
        (f"equally weighted{where}", process.model_copy(update={"mode": "equally_weighted"})),
        (f"last alpha{where}", process.model_copy(update={"mode": "last_alpha"})),
        (f"process{where}", process),
    ]
    if source is not None:
        model, teacher = source
        other = process.process.model_copy(update={"model": model, "teacher": teacher})
        techniques.append((f"process of {model}{where}", process.model_copy(update={"process": other})))
    cells = [
        Cell(SUPERVISED, cell_run(run, model=run.model, method=ScratchConfig(), seed=seed)) for seed in range(seeds)
    ]
    cells += [
        Cell(technique, cell_run(run, model=run.model, method=method, seed=seed), baseline=f"{REVIEW}{where}")
        for (technique, method), seed in product(techniques, range(seeds))
    ]
    for length in (epochs // 4, epochs // 2):
        shorter = run.model_copy(update={"training": _of_length(run.training, length)})
        short = review.model_copy(update={"warmup_epochs": length * REVIEW_WARMUP})
        for (technique, method), seed in product(((REVIEW, short), ("process", process)), range(seeds)):
            config = cell_run(shorter, model=run.model, method=method, seed=seed)
            after = f"{where} after {length} epochs"
            cells.append(Cell(f"{technique}{after}", config, baseline=f"{REVIEW}{after}"))
    return cells


def _normalisation_cells(run: RunConfig, plain: DistProConfig, seeds: int) -> list[Cell]:
    return [
        Cell(
            f"process, {how.replace('_', ' ')}",
            cell_run(run, model=run.model, method=plain.model_copy(update={"normalisation": how}), seed=seed),
        )
        for how, seed in product(OTHER_NORMALISATIONS, range(seeds))
    ]


def _with_pair(base: RunConfig, student: str, pair: ReviewPair) -> RunConfig:
    teacher = base.teacher
    if isinstance(teacher, TrainTeacher):
        teacher = teacher.model_copy(update={"model": pair.teacher})
    optimizer = base.training.optimizer.model_copy(update={"lr": pair.lr})
    training = base.training.model_copy(update={"optimizer": optimizer})
    return base.model_copy(update={"model": student, "teacher": teacher, "training": training})


def _weight_like(review_weight: float, grid: Grid) -> float:
    """With which all pathways of three levels together begin with about as much as ReviewKD's four levels have."""
    return 4 * review_weight / len(grid.pathways(3, 3))


def _of_length(training: TrainingSettings, epochs: int) -> TrainingSettings:
    """The same training in fewer epochs; where the rate falls in steps, these move along."""
    schedule = training.schedule
    if isinstance(schedule, Steps):
        moved = tuple(round(at * epochs / training.epochs) for at in schedule.epochs)
        schedule = schedule.model_copy(update={"epochs": moved})
    return training.model_copy(update={"epochs": epochs, "schedule": schedule})


def short_review() -> RunConfig:
    """ResNet-8 from ResNet-20 at 32 px on the embedded data, or on CIFAR-10's pictures as a folder, for studies."""
    run = cifar_review_kd()
    schedule = Cosine()
    optimizer, augment = SGD(lr=0.05, nesterov=True), Augment(crop_padding_px=4)
    training = TrainingSettings(epochs=12, batch_size=64, optimizer=optimizer, schedule=schedule, augment=augment)
    return run.model_copy(
        update={
            "name": "short-review",
            "dataset": demo().dataset.model_copy(update={"train_patients": 100}),
            "image": demo().image.model_copy(update={"size_px": 32}),
            "model": "resnet8",
            "teacher": TrainTeacher(model="resnet20", training=training.model_copy(update={"epochs": 24})),
            "training": training,
        }
    )
