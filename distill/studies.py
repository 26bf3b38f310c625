"""Named studies: which cells a paper's grid has, built on a base run that can be changed like any other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from distill.config import (
    AdamW,
    RandomResizedCrop,
    RunConfig,
    TrainingSettings,
    TrainTeacher,
    TrivialAugment,
    WeightAveraging,
)
from distill.errors import UsageError
from distill.methods import MethodConfig
from distill.methods.conditional_teacher_student import ConditionalTeacherStudentConfig
from distill.methods.cross_quality_kd import CrossQualityKDConfig
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig
from distill.methods.deep_mutual_learning import DeepMutualLearningConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.scratch import ScratchConfig
from distill.recipes import (
    cifar_kd,
    cifar_review_kd,
    city_segmentation,
    demo,
    demo_depth,
    demo_segmentation,
    echo_kd,
    folder_pretrained,
    folder_scratch,
    indoor_depth,
)
from distill.study.boards import (
    STUDENTS_OF_HINTS,
    STUDENTS_OF_PAIRS,
    feature_grid,
    hint_grid,
    small_cifar,
    small_feature_grid,
    small_hint_grid,
)
from distill.study.dense import depth_grid, segmentation_grid
from distill.study.distpro import REVIEW_PAIRS, distpro_grid, short_review, small_distpro_grid
from distill.study.run import Cell, Study, cell_run
from distill.system import did_you_mean
from distill.vision.datasets import EchoPhantom
from distill.vision.datasets.echo_phantom import EchoPhantomMasks
from distill.vision.datasets.indoor_phantom import IndoorPhantom

ECHO_STUDENTS = ("mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "ghostnet_100")
CROSS_QUALITY_SIZES_PX = (224, 168, 112, 56, 42, 28)
SUPERVISED = "scratch"


@dataclass(frozen=True)
class StudyRecipe:
    """How a study is made.

    Attributes:
        base: the run that every cell starts from; `--set` changes it.
        grid: the cells for a base, some students and a number of seeds.
        students: the networks it is meant for.
    """

    base: Callable[[], RunConfig]
    grid: Callable[[str, RunConfig, Sequence[str], int], Study]
    students: tuple[str, ...]


def echo_grid(
    name: str, base: RunConfig, students: Sequence[str], seeds: int, *, alphas: Sequence[float] = (0.5, 0.9)
) -> Study:
    """The echo-view paper's grid: students x techniques x seeds."""
    cells = [
        Cell(technique, cell_run(base, model=student, method=method, seed=seed))
        for student, (technique, method), seed in product(students, echo_techniques(alphas), range(seeds))
    ]
    return Study(name, SUPERVISED, tuple(cells))


def small_echo_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """The echo-view paper's grid at alpha 0.5 alone: every technique, on two cores."""
    return echo_grid(name, base, students, seeds, alphas=(0.5,))


def echo_techniques(alphas: Sequence[float]) -> list[tuple[str, MethodConfig]]:
    """Scratch, conditional, and at each alpha KD at T = 1, 2, 4, 8 and both curricula of temperature."""
    techniques: list[tuple[str, MethodConfig]] = [(SUPERVISED, ScratchConfig())]
    for alpha in alphas:
        techniques += [
            (f"KD T={temperature:g} α={alpha:g}", HintonKDConfig(temperature=temperature, alpha=alpha))
            for temperature in (1.0, 2.0, 4.0, 8.0)
        ]
        techniques += [
            (f"CTKD linear α={alpha:g}", CurriculumTemperatureConfig(schedule="linear", alpha=alpha)),
            (f"CTKD cosine α={alpha:g}", CurriculumTemperatureConfig(schedule="cosine", alpha=alpha)),
        ]
    techniques.append(("conditional T=4", ConditionalTeacherStudentConfig(temperature=4.0)))
    return techniques


def cross_quality_grid(
    name: str,
    base: RunConfig,
    students: Sequence[str],
    seeds: int,
    *,
    smaller_px: Sequence[int] = CROSS_QUALITY_SIZES_PX,
) -> Study:
    """The cross-quality paper's grid: image sizes x {supervised, CQKD tau = 10 and 20, mutual learning} x seeds.

    The teacher sees the base's own size; students see that size and the paper's smaller ones, and are compared with
    supervised training at their size. At the teacher's own size CQKD is plain KD.
    """
    full = base.image.size_px
    sizes = [size for size in smaller_px if size < full]
    cells: list[Cell] = []
    for student, size, seed in product(students, [full, *sizes], range(seeds)):
        image = base.image.model_copy(update={"size_px": size})
        methods: list[tuple[str, MethodConfig]] = [(SUPERVISED, ScratchConfig())]
        for tau in (10.0, 20.0):
            config = HintonKDConfig if size == full else CrossQualityKDConfig
            methods.append((f"CQKD τ={tau:g}", config(temperature=tau, alpha=0.5)))
        methods.append(("mutual learning m=3", DeepMutualLearningConfig(cohort=3)))
        for technique, method in methods:
            run = cell_run(base, model=student, method=method, seed=seed)
            teacher = run.teacher
            if isinstance(teacher, TrainTeacher):
                teacher = teacher.model_copy(update={"image": base.image})
            changed = run.model_copy(update={"image": image, "teacher": teacher})
            cells.append(Cell(f"{technique} at {size} px", changed, baseline=f"{SUPERVISED} at {size} px"))
    return Study(name, f"{SUPERVISED} at {full} px", tuple(cells))


def small_cross_quality_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """The cross-quality paper's grid at the base's size and two smaller ones: every technique, on two cores."""
    return cross_quality_grid(name, base, students, seeds, smaller_px=(42, 28))


def pretrained_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """Where to begin and how to look: {scratch, pretrained, pretrained + KD} x {the base's views, today's} x seeds.

    Today's views and what goes with them: random crops of every size, TrivialAugment, mixup, label smoothing,
    stochastic depth, and an average of the weights. The teacher is the base's in every cell.
    """
    plain = base.training
    today = plain.model_copy(
        update={
            "augment": plain.augment.model_copy(
                update={"resized_crop": RandomResizedCrop(min_area=0.35), "policy": TrivialAugment(), "mixup": 0.2}
            ),
            "label_smoothing": 0.1,
            "stochastic_depth": 0.1,
            "weight_averaging": WeightAveraging(decay=0.99),
        }
    )
    alone = {"weights": None, "backbone_lr_factor": 1.0, "freeze_batch_norm": False}
    cells: list[Cell] = []
    for student, (views, training), seed in product(students, (("", plain), (", today's views", today)), range(seeds)):
        for start, method, change in (
            (SUPERVISED, ScratchConfig(), alone),
            ("pretrained", ScratchConfig(), {}),
            ("pretrained + KD", base.method, {}),
        ):
            run = cell_run(base, model=student, method=method, seed=seed)
            cells.append(
                Cell(f"{start}{views}", run.model_copy(update={"training": training.model_copy(update=change)}))
            )
    return Study(name, SUPERVISED, tuple(cells))


def imbalance_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """What helps rare classes: {all images alike, class weights, balanced sampling} x seeds, judged by macro F1."""
    changes: list[tuple[str, dict[str, str]]] = [
        (SUPERVISED, {}),
        ("class weights", {"class_weights": "balanced"}),
        ("balanced sampling", {"sampling": "balanced"}),
    ]
    cells = [
        Cell(
            technique,
            cell_run(base, model=student, method=base.method, seed=seed).model_copy(
                update={"training": base.training.model_copy(update={"judged_by": "macro_f1", **change})}
            ),
        )
        for student, (technique, change), seed in product(students, changes, range(seeds))
    ]
    return Study(name, SUPERVISED, tuple(cells))


def short_segmentation() -> RunConfig:
    """The segmentation demo with fewer pictures and epochs, for studies."""
    return _shorter(demo_segmentation(), EchoPhantomMasks(train_patients=30, validation_patients=12))


def short_depth() -> RunConfig:
    """The depth demo with fewer pictures and epochs, for studies."""
    return _shorter(demo_depth(), IndoorPhantom(train_rooms=150, validation_rooms=40))


def _shorter(run: RunConfig, dataset: EchoPhantomMasks | IndoorPhantom) -> RunConfig:
    training = run.training.model_copy(update={"epochs": 12})
    return run.model_copy(update={"dataset": dataset, "training": training})


def short_demo() -> RunConfig:
    """The demo's networks on the phantom as it comes, with a short training of nothing but the method, for studies."""
    run = demo()
    teacher = TrainTeacher(model="resnet18", training=TrainingSettings(epochs=8, batch_size=64))
    training = TrainingSettings(epochs=8, batch_size=64, optimizer=AdamW(lr=4e-3))
    return run.model_copy(update={"dataset": EchoPhantom(), "teacher": teacher, "training": training})


STUDIES: dict[str, StudyRecipe] = {
    "echo-study": StudyRecipe(echo_kd, echo_grid, ECHO_STUDENTS),
    "demo-study": StudyRecipe(short_demo, small_echo_grid, ("mobilenet_v3_small", "shufflenet_v2_x1_0")),
    "cross-quality-study": StudyRecipe(echo_kd, cross_quality_grid, ("resnet18",)),
    "demo-cross-quality-study": StudyRecipe(short_demo, small_cross_quality_grid, ("mobilenet_v3_small",)),
    "imbalance-study": StudyRecipe(folder_scratch, imbalance_grid, ("mobilenet_v3_small",)),
    "distpro-study": StudyRecipe(cifar_review_kd, distpro_grid, tuple(REVIEW_PAIRS)),
    "demo-distpro-study": StudyRecipe(short_review, small_distpro_grid, ("resnet8",)),
    "segmentation-study": StudyRecipe(city_segmentation, segmentation_grid, ("pspnet_resnet18", "pspnet_mobilenet_v2")),
    "demo-segmentation-study": StudyRecipe(short_segmentation, segmentation_grid, ("lraspp_mobilenet_v3_small",)),
    "depth-study": StudyRecipe(indoor_depth, depth_grid, ("pspnet_resnet18",)),
    "demo-depth-study": StudyRecipe(short_depth, depth_grid, ("lraspp_mobilenet_v3_small",)),
    "pretrained-study": StudyRecipe(folder_pretrained, pretrained_grid, ("efficientnet_lite0",)),
    "feature-study": StudyRecipe(cifar_kd, feature_grid, STUDENTS_OF_PAIRS),
    "demo-feature-study": StudyRecipe(small_cifar, small_feature_grid, ("resnet8",)),
    "hint-study": StudyRecipe(cifar_kd, hint_grid, STUDENTS_OF_HINTS),
    "demo-hint-study": StudyRecipe(small_cifar, small_hint_grid, ("resnet8",)),
}


def study_recipe(name: str) -> StudyRecipe:
    """A study by name; raises UsageError naming the nearest known ones."""
    if name not in STUDIES:
        raise UsageError(f"unknown study {name!r}{did_you_mean(name, STUDIES)} Known: {', '.join(STUDIES)}.")
    return STUDIES[name]
