"""Boards: studies that compare what is taught from inside a network, and where it is read, as PURSUhInT does.

Every method has its authors' weights; the paper found its own by a search and does not print them (`python -m distill
tune` searches yours). All cells of a group share data, views, epochs and teacher.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from distill.config import (
    CheckpointTeacher,
    LibraryTeacher,
    LogitsTeacher,
    ProgramTeacher,
    RunConfig,
    Steps,
    TrainTeacher,
)
from distill.errors import UsageError
from distill.hints.options import HintSearch, Metric, Position
from distill.methods import MethodConfig
from distill.methods.activation_boundaries import ActivationBoundariesConfig
from distill.methods.attention_feature_distillation import AttentionFeatureDistillationConfig
from distill.methods.attention_transfer import AttentionTransferConfig
from distill.methods.contrastive_representation import ContrastiveRepresentationConfig
from distill.methods.correlation_congruence import CorrelationCongruenceConfig
from distill.methods.decoupled_kd import DecoupledKDConfig
from distill.methods.dist import DISTConfig
from distill.methods.factor_transfer import FactorTransferConfig
from distill.methods.fitnet import FitNetConfig
from distill.methods.flow_of_solution_procedure import FlowOfSolutionProcedureConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.logit_standardization import LogitStandardizationConfig
from distill.methods.neuron_selectivity import NeuronSelectivityConfig
from distill.methods.overhaul_feature_distillation import OverhaulFeatureDistillationConfig
from distill.methods.probabilistic_knowledge_transfer import ProbabilisticKnowledgeTransferConfig
from distill.methods.relational_kd import RelationalKDConfig
from distill.methods.review_kd import ReviewKDConfig
from distill.methods.scratch import ScratchConfig
from distill.methods.similarity_preserving import SimilarityPreservingConfig
from distill.methods.spherical_kd import SphericalKDConfig
from distill.methods.variational_information import VariationalInformationConfig
from distill.methods.weighted_soft_labels import WeightedSoftLabelsConfig
from distill.recipes import cifar_kd, labels_counted_once
from distill.study.run import Cell, Study, cell_run
from distill.taps import TapPairs
from distill.vision.datasets import ImageFolder

SUPERVISED = "scratch"
PROTOCOL_TEACHER = "resnet32x4"
PAIRS = (
    ("wrn_40_2", "wrn_16_2"),
    ("resnet110", "resnet20"),
    ("resnet110", "resnet32"),
    ("resnet32x4", "resnet8x4"),
    ("resnet32x4", "shufflenet_v1_cifar"),
    ("wrn_40_2", "shufflenet_v1_cifar"),
)
"""Teacher and student, as in the paper's tables 4 and 5."""

PAIRS_BEFORE_ACTIVATIONS = (("resnet110", "resnet8"), ("resnet110", "resnet20"), ("resnet110", "resnet32"))
"""As in its figure 3."""

STUDENTS_OF_PAIRS = tuple(dict.fromkeys(student for _, student in PAIRS))
STUDENTS_OF_HINTS = tuple(dict.fromkeys(student for _, student in (*PAIRS_BEFORE_ACTIVATIONS, *PAIRS)))

LOWER_RATE = ("shufflenet_v1_cifar", "shufflenet_v2_cifar", "mobilenet_v2_half")
"""Students that the CRD protocol trains at a fifth of the rate."""

METRICS: dict[str, Metric] = {"resnet110": "cka"}
"""By which the paper clusters a teacher after its activations; `gcd` where it is not named."""

KD = HintonKDConfig(temperature=4.0, alpha=0.9)
SOFT = HintonKDConfig(temperature=4.0, alpha=1.0)
SPHERICAL = SphericalKDConfig(alpha=1.0)
SEARCHED = "searched hints"


def small_cifar() -> RunConfig:
    """The CRD protocol in small: set dataset.path to CIFAR-10 as pictures, `<split>/<class>/`; for two cores.

    ResNet-8 from ResNet-20 on 4,000 images, 10 epochs after the teacher's 20; the rate falls after the same shares.
    """
    config = cifar_kd()
    student, teacher = (
        config.training.model_copy(
            update={"epochs": epochs, "schedule": Steps(epochs=tuple(epochs * part // 8 for part in (5, 6, 7)))}
        )
        for epochs in (10, 20)
    )
    return config.model_copy(
        update={
            "name": "small-cifar",
            "dataset": ImageFolder(path="data", max_train_images=4000, max_validation_images=2000),
            "model": "resnet8",
            "teacher": TrainTeacher(model="resnet20", training=teacher),
            "training": student,
        }
    )


def feature_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int, *, negatives: int = 16384) -> Study:
    """Training from scratch and every method that looks inside networks, beside soft targets and the paper's sums.

    For each student the teachers of PURSUhInT's table 5 (`pairs`). The sums read the teacher at hints that are searched
    in it. Methods that do not fit a pair are left out. `negatives` are those of contrastive representation for each
    image.
    """
    cells: list[Cell] = []
    for (run, teacher, student), seed in product(pairs(base, students, PAIRS), range(seeds)):
        group = f"{student} from {teacher}"
        for technique, method in alone(teacher, student, run.training.epochs, negatives):
            if fits(method, teacher, student):
                cells.append(_cell(run, group, technique, method, seed))
        search = HintSearch(metric=METRICS.get(teacher, "gcd"))
        cells += [
            _cell(run, group, f"{technique}, {SEARCHED}", method, seed, search=search)
            for technique, method in sums(negatives)
        ]
    return Study(name, SUPERVISED, tuple(cells))


def small_feature_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """The board of all methods with 1,024 negatives instead of 16,384, for two cores."""
    return feature_grid(name, base, students, seeds, negatives=1024)


def alone(teacher: str, student: str, epochs: int, negatives: int) -> list[tuple[str, MethodConfig]]:
    """Each method by itself, by family.

    Those with a stage of their own have an eighth of the epochs for it, and DKD and ReviewKD warm up over a twelfth, as
    over 30 and 20 of 240. Methods that hold training images back for a search are not compared with these.
    """
    first, warmup = max(1, round(epochs / 8)), round(epochs / 12)
    other_weight = {"resnet": 2.0, "wrn__2": 6.0}.get(_but_for_depth(teacher), 8.0)
    review_weight = 1.0 if _but_for_depth(teacher) == "resnet" else 5.0
    decoupled = DecoupledKDConfig(other_weight=8.0 if student in LOWER_RATE else other_weight, warmup_epochs=warmup)
    return [
        (SUPERVISED, ScratchConfig()),
        ("KD", KD),
        ("WSL", WeightedSoftLabelsConfig()),
        ("SKD", SphericalKDConfig()),
        ("DKD", decoupled),
        ("KD, standardized logits", LogitStandardizationConfig()),
        ("DIST", DISTConfig()),
        ("FitNet", FitNetConfig()),
        ("AT", AttentionTransferConfig()),
        ("VID", VariationalInformationConfig()),
        ("AB", ActivationBoundariesConfig(first_epochs=first)),
        ("FT", FactorTransferConfig(paraphraser_epochs=first)),
        ("FSP", FlowOfSolutionProcedureConfig(first_epochs=first)),
        ("NST", NeuronSelectivityConfig()),
        ("AFD", AttentionFeatureDistillationConfig()),
        ("OFD", OverhaulFeatureDistillationConfig()),
        ("ReviewKD", ReviewKDConfig(weight=review_weight, warmup_epochs=warmup)),
        ("SP", SimilarityPreservingConfig()),
        ("CC", CorrelationCongruenceConfig()),
        ("RKD", RelationalKDConfig()),
        ("PKT", ProbabilisticKnowledgeTransferConfig()),
        ("CRD", ContrastiveRepresentationConfig(negatives=negatives)),
    ]


def sums(negatives: int) -> list[tuple[str, MethodConfig]]:
    """The paper's own systems, to be read at searched hints."""
    crd = ContrastiveRepresentationConfig(negatives=negatives)
    return [
        ("AT + KD", labels_counted_once(AttentionTransferConfig(), SOFT)),
        ("WSL + AT", labels_counted_once(WeightedSoftLabelsConfig(), AttentionTransferConfig())),
        ("AFD", AttentionFeatureDistillationConfig()),
        ("CRD + AT + KD", labels_counted_once(crd, AttentionTransferConfig(), SOFT)),
    ]


def fits(method: MethodConfig, teacher: str, student: str) -> bool:
    """False for methods that compare maps of equal width or size, where the protocol's networks have none."""
    if isinstance(method, FlowOfSolutionProcedureConfig):
        return _but_for_depth(teacher) == _but_for_depth(student)
    if isinstance(method, OverhaulFeatureDistillationConfig):
        return student not in LOWER_RATE
    return True


def _but_for_depth(network: str) -> str:
    """`resnet32x4` -> `resnetx4`: networks of one family and width."""
    return re.sub(r"^([a-z]+_?)\d+", r"\1", network)


def hint_grid(
    name: str,
    base: RunConfig,
    students: Sequence[str],
    seeds: int,
    *,
    epochs_before: int | None = 350,
    images: int = 10_000,
    with_positions: Sequence[str] = ("resnet20",),
) -> Study:
    """Where to read the teacher: conventional places or searched hints, for each of the PURSUhInT paper's systems.

    Before activations {FitNet, AT, VID} x {KD, SKD}, and AT alone at the positions of table 2; after them AT + KD,
    WSL + AT and AFD. A system at searched hints is compared with itself at the conventional places, and all these tests
    of a student are corrected together. Teachers as in `feature-study`. `epochs_before` are those of the runs that read
    before activations (None: the base's), `images` those that a teacher is searched over, `with_positions` the students
    that show table 2.
    """
    cells: list[Cell] = []
    for (run, teacher, student), seed in product(pairs(base, students, PAIRS_BEFORE_ACTIVATIONS), range(seeds)):
        longer = run if epochs_before is None else _longer(run, epochs_before)
        cells += _before_activations(longer, teacher, student, seed, images)
        cells += _positions(longer, teacher, student, seed, images) if student in with_positions else ()
    for (run, teacher, student), seed in product(pairs(base, students, PAIRS), range(seeds)):
        cells += _after_activations(run, teacher, student, seed, images)
    return Study(name, SUPERVISED, tuple(cells))


def small_hint_grid(name: str, base: RunConfig, students: Sequence[str], seeds: int) -> Study:
    """The board of hints with the base's epochs, searched over 2,000 images, for two cores."""
    return hint_grid(name, base, students, seeds, epochs_before=None, images=2000, with_positions=students)


def _before_activations(run: RunConfig, teacher: str, student: str, seed: int, images: int) -> Iterator[Cell]:
    group = f"{student} from {teacher}, before activations"
    ends = TapPairs(student="stage-ends:pre", teacher="stage-ends:pre")
    for technique, method in ((SUPERVISED, ScratchConfig()), ("KD", KD), ("SKD", SphericalKDConfig())):
        yield _cell(run, group, technique, method, seed)
    inner: tuple[tuple[str, FitNetConfig | AttentionTransferConfig | VariationalInformationConfig, Metric], ...] = (
        ("FitNet", FitNetConfig(taps=ends, rectified=False), "cka"),
        ("AT", AttentionTransferConfig(taps=ends), "gcd"),
        ("VID", VariationalInformationConfig(taps=ends), "cka"),
    )
    for (of_hints, hinted, metric), (of_logits, soft) in product(inner, (("KD", SOFT), ("SKD", SPHERICAL))):
        method = labels_counted_once(hinted, soft)
        search = HintSearch(metric=metric, images=images, activation="pre")
        yield from _at_both(run, group, f"{of_hints} + {of_logits}", method, seed, search)


def _positions(run: RunConfig, teacher: str, student: str, seed: int, images: int) -> Iterator[Cell]:
    """AT alone at the places of table 2."""
    group = f"{student} from {teacher}, before activations"
    ends = TapPairs(student="stage-ends:pre", teacher="stage-ends:pre")
    method, at_ends = AttentionTransferConfig(taps=ends), "AT, last of stages"
    yield _cell(run, group, at_ends, method, seed)
    question = "positions"
    if (centres := stage_centres(teacher)) is not None:
        there = AttentionTransferConfig(taps=TapPairs(student="stage-ends:pre", teacher=centres))
        yield _cell(run, group, "AT, centre of stages", there, seed, baseline=at_ends, question=question)
    metrics: tuple[tuple[Metric, str], ...] = (("gcd", "GCD"), ("cka", "CKA"))
    positions: tuple[Position, ...] = ("last", "centre")
    for (metric, plain), position in product(metrics, positions):
        search = HintSearch(metric=metric, images=images, activation="pre", position=position)
        technique = f"AT, {position} of clusters by {plain}"
        yield _cell(run, group, technique, method, seed, search=search, baseline=at_ends, question=question)


def stage_centres(teacher: str) -> tuple[str, ...] | None:
    """The middle block, before its activation, of each stage of a ResNet of the protocol; None for other networks."""
    depth = re.fullmatch(r"resnet(\d+)(x4)?", teacher)
    if depth is None:
        return None
    blocks = (int(depth[1]) - 2) // 6
    return tuple(f"block:{blocks * stage + 1 + (blocks - 1) // 2}:pre" for stage in range(3))


def _after_activations(run: RunConfig, teacher: str, student: str, seed: int, images: int) -> Iterator[Cell]:
    group = f"{student} from {teacher}, after activations"
    yield _cell(run, group, SUPERVISED, ScratchConfig(), seed)
    yield _cell(run, group, "WSL", WeightedSoftLabelsConfig(), seed)
    attention = AttentionTransferConfig()
    sums = (
        ("AT + KD", labels_counted_once(attention, SOFT)),
        ("WSL + AT", labels_counted_once(WeightedSoftLabelsConfig(), attention)),
    )
    search = HintSearch(metric=METRICS.get(teacher, "gcd"), images=images)
    for technique, method in sums:
        yield from _at_both(run, group, technique, method, seed, search)
    # The authors' candidates are all blocks; the paper leaves three of the teacher's.
    method = AttentionFeatureDistillationConfig()
    yield from _at_both(run, group, "AFD", method, seed, search, conventional="all blocks")


def _at_both(
    run: RunConfig,
    group: str,
    technique: str,
    method: MethodConfig,
    seed: int,
    search: HintSearch,
    conventional: str = "stage ends",
) -> Iterator[Cell]:
    """A system at its conventional places, and at searched hints, which is compared with the former."""
    plain = f"{technique}, {conventional}"
    yield _cell(run, group, plain, method, seed)
    yield _cell(run, group, f"{technique}, {SEARCHED}", method, seed, search=search, baseline=plain)


def pairs(
    base: RunConfig, students: Sequence[str], of_paper: Sequence[tuple[str, str]]
) -> Iterator[tuple[RunConfig, str, str]]:
    """A run, the teacher's name and the student for each pair.

    The base's teacher is everybody's, unless it is that of `cifar-kd`: then a student has the teachers that the paper
    gives it, and the base's if it gives none.
    """
    own = _name(base)
    for student in students:
        named = [teacher for teacher, its in of_paper if its == student] if own == PROTOCOL_TEACHER else []
        for teacher in named or [own]:
            yield _of_pair(base, teacher, student), teacher, student


def _name(base: RunConfig) -> str:
    match base.teacher:
        case TrainTeacher(model=model) | LibraryTeacher(model=model):
            return model
        case CheckpointTeacher(path=path) | ProgramTeacher(path=path) | LogitsTeacher(path=path):
            return Path(path).name
        case None:
            raise UsageError("a board compares what teachers teach, and this base has none; leave teacher=null out.")


def _of_pair(base: RunConfig, teacher: str, student: str) -> RunConfig:
    """The base with this teacher, the student at the protocol's rate."""
    run = base.model_copy(update={"model": student})
    if isinstance(base.teacher, TrainTeacher):
        run = run.model_copy(update={"teacher": base.teacher.model_copy(update={"model": teacher})})
    if student not in LOWER_RATE:
        return run
    optimizer = run.training.optimizer
    slower = optimizer.model_copy(update={"lr": optimizer.lr / 5})
    return run.model_copy(update={"training": run.training.model_copy(update={"optimizer": slower})})


def _longer(run: RunConfig, epochs: int) -> RunConfig:
    """The student's training before activations: the rate falls at four, five and six sevenths of these epochs."""
    steps = Steps(epochs=tuple(epochs * part // 7 for part in (4, 5, 6)))
    return run.model_copy(update={"training": run.training.model_copy(update={"epochs": epochs, "schedule": steps})})


def _cell(
    run: RunConfig,
    group: str,
    technique: str,
    method: MethodConfig,
    seed: int,
    *,
    search: HintSearch | None = None,
    baseline: str | None = None,
    question: str = "hints",
) -> Cell:
    config = cell_run(run, model=run.model, method=method, seed=seed).model_copy(update={"hints": search})
    return Cell(technique, config, baseline, group, question=None if baseline is None else question)
