from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import nn

from distill.config import with_overrides
from distill.errors import UsageError
from distill.methods.distpro import DistPro, DistProConfig
from distill.process.pathways import Grid, Pathway
from distill.process.settings import SearchedProcess, SearchFirst
from distill.recipes import cifar_review_kd, from_scratch
from distill.training.dry_run import DryRun
from distill.vision.models import ImageClassifier
from tests.distill.methods.toy import SIZE_PX, dry, losses_of, network, samples, teacher_for

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
GRID = Grid(pairs="lower_to_higher", transforms=("two_convolutions",))
WAYS = GRID.pathways(3, 3)
Mode = Literal["process", "last_alpha", "equally_weighted"]


def searched(raw: Sequence[Sequence[float]], ways: tuple[Pathway, ...] = WAYS) -> SearchedProcess:
    return SearchedProcess(
        sha256="0" * 64, searched="this from that", pathways=ways, raw=tuple(tuple(row) for row in raw)
    )


def built(mode: Mode, raw: Sequence[Sequence[float]] | None = None) -> tuple[DryRun, ImageClassifier, ImageClassifier]:
    torch.manual_seed(0)
    process = SearchFirst() if raw is None else searched(raw)
    student, teacher = network(3), teacher_for("", 3)
    config = DistProConfig(grid=GRID, mode=mode, process=process, weight=0.5)
    return dry(config, [student], teacher, LABELS), student, teacher


def method_of(run: DryRun) -> DistPro:
    assert isinstance(run.method, DistPro)
    return run.method


def feature(run: DryRun, *networks: ImageClassifier) -> float:
    return losses_of(run, [networks[0]], networks[1], IMAGES, samples(LABELS))["feature"].item()


def test_equally_weighted_is_one_over_their_number_and_needs_no_process() -> None:
    run, *_ = built("equally_weighted")
    method = method_of(run)
    for progress in (0.0, 0.5):
        method.start_step(progress)
        assert method.weights == {number: 1 / 6 for number in range(6)}
    assert method.scale == 3.0


def test_the_process_is_followed_and_its_end_can_be_kept() -> None:
    raw = [[1.0] * 6, [2.0, 1.0, 0.6, 0.4, 0.8, 3.0]]
    method = method_of(built("process", raw)[0])
    powers = torch.tensor(raw[1]).clamp_min(0.5).double().exp()
    at_end = (powers / (powers.sum() + torch.e)).tolist()
    expected = {number: at_end[number] for number in (0, 1, 2, 4, 5)}
    assert method.weights == pytest.approx({number: 1 / 7 for number in range(6)})
    method.start_step(1.0)
    assert method.weights == pytest.approx(expected)
    assert method.scalars() == {"pathways": 5}
    last = method_of(built("last_alpha", raw)[0])
    for progress in (0.0, 0.7):
        last.start_step(progress)
        assert last.weights == method.weights


def test_a_constant_process_gives_the_same_losses_to_the_bit_all_the_way() -> None:
    row = [1.0, 0.9, 2.0, 0.7, 0.8, 1.1]
    run, *networks = built("process", [row] * 5)
    run.method.eval()
    found = set()
    for progress in (0.0, 0.13, 0.5, 0.99):
        run.method.start_step(progress)
        found.add(feature(run, *networks))
    fixed, *networks = built("last_alpha", [row])
    fixed.method.eval()
    assert found == {feature(fixed, *networks)}


def test_transforms_of_pathways_that_are_left_out_are_never_called() -> None:
    run, *networks = built("process", [[1.0] * 6, [0.1, 1.0, 0.1, 0.1, 1.0, 0.1]])
    method = method_of(run)
    calls: list[int] = []
    for number, change in enumerate(method.distances.transforms):
        change.register_forward_hook(lambda *_, number=number: calls.append(number))
    run.method.start_step(0.0)
    feature(run, *networks)
    assert calls == [0, 1, 2, 3, 4, 5]
    calls.clear()
    run.method.start_step(1.0)
    losses = losses_of(run, [networks[0]], networks[1], IMAGES, samples(LABELS))
    assert calls == [1, 4]
    torch.stack(list(losses.values())).sum().backward()
    learnt = [all(p.grad is not None for p in change.parameters()) for change in method.distances.transforms]
    assert learnt == [False, True, False, False, True, False]


def test_where_all_are_left_out_the_labels_are_learnt_alone_and_it_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, *networks = built("process", [[1.0] * 6, [0.5] * 6])
    run.method.start_step(0.0)
    for _ in range(3):
        run.method.start_step(1.0)
    losses = losses_of(run, [networks[0]], networks[1], IMAGES, samples(LABELS))
    assert losses["feature"].item() == 0
    assert losses["label"].item() > 0
    torch.stack(list(losses.values())).sum().backward()
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("every pathway of the process is left out") == 1
    assert isinstance(networks[0].network.get_submodule("head"), nn.Linear)


def test_a_process_of_another_grid_is_refused_in_words() -> None:
    other = searched([[1.0] * 9], Grid(transforms=("rectified",)).pathways(3, 3))
    config = DistProConfig(grid=GRID, process=other)
    with pytest.raises(
        UsageError,
        match=r"searched on this from that with 9 pathways \(3 levels of the teacher, 3 of the student; rectified\); "
        r"this run has 6 pathways \(3 levels .*; two_convolutions\)",
    ):
        dry(config, [network(3)], teacher_for("", 3), LABELS)


def test_the_search_that_comes_first_is_the_same_run_in_quarters_with_a_seed_of_its_own() -> None:
    changes = ["method.kind=distpro", 'method.grid.transforms=["rectified"]', "seed=7", "method.process.epochs=20"]
    config = with_overrides(cifar_review_kd(), changes)
    search = config.search_run()
    assert search is not None
    method: Any = search.method
    schedule: Any = search.training.schedule
    assert (search.seed, search.training.epochs, schedule.epochs) == (0, 20, (5, 10, 15))
    assert (method.kind, method.grid.transforms, method.held_back) == ("distpro_search", ("rectified",), 0.2)
    assert search.teacher_run() == config.teacher_run()
    other = with_overrides(config, ["seed=8", "training.optimizer.lr=0.05"]).search_run()
    assert other is not None
    assert other.name != search.name
    same = with_overrides(config, ["seed=8"]).search_run()
    assert same == search


@pytest.mark.parametrize(
    "changes", [["method.mode=equally_weighted"], ["method.kind=review_kd"], ["method.kind=hinton_kd"]]
)
def test_what_follows_no_process_searches_none(changes: list[str]) -> None:
    assert with_overrides(cifar_review_kd(), ["method.kind=distpro", *changes]).search_run() is None
    assert from_scratch(cifar_review_kd(), "plain").search_run() is None


def test_the_search_may_be_of_another_pair() -> None:
    changes = ["method.kind=distpro", "method.process.model=resnet8", "method.process.teacher=resnet20"]
    search = with_overrides(cifar_review_kd(), changes).search_run()
    assert search is not None
    assert (search.model, search.teacher_run().model) == ("resnet8", "resnet20")
    bare = ["teacher.kind=checkpoint", "teacher.path=there"]
    with pytest.raises(UsageError, match=r"needs teacher\.kind=train"):
        with_overrides(cifar_review_kd(), [*changes, *bare]).search_run()
