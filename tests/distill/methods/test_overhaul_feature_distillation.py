import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from distill.errors import UsageError
from distill.methods.overhaul_feature_distillation import (
    OverhaulFeatureDistillation,
    OverhaulFeatureDistillationConfig,
    margins,
    partial_loss,
)
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, Stages, dry, losses_of, network, samples, teacher_for

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_numpy_twin() -> None:
    student, teacher, margin = maps(5, 3, 2, 2, seed=0), maps(5, 3, 2, 2, seed=1), -maps(3, seed=2).abs()
    expected = 0.0
    for b, c, i, j in np.ndindex(5, 3, 2, 2):
        s, t, m = student[b, c, i, j].item(), teacher[b, c, i, j].item(), margin[c].item()
        wanted = max(t, m)
        if s > wanted or t > 0:
            expected += (s - wanted) ** 2 / 5
    assert partial_loss(student, teacher, margin).item() == pytest.approx(expected, abs=1e-10)


def test_a_margin_is_the_mean_of_the_negative_values() -> None:
    mean, scale = torch.tensor([0.0, 1.0, -2.0, 0.3, 10.0]).double(), torch.tensor([1.0, -2.0, 0.5, 1.5, 1.0]).double()
    found = margins(mean, scale).tolist()
    for value, m, s in zip(found[:4], mean.tolist(), scale.abs().tolist(), strict=False):
        share = stats.norm.cdf(-m / s)
        expected = -s * np.exp(-((m / s) ** 2) / 2) / np.sqrt(2 * np.pi) / share + m
        assert value == pytest.approx(expected, abs=1e-10)
        assert value == pytest.approx(stats.norm(m, s).expect(lambda x: x, ub=0, conditional=True), abs=1e-6)
    assert found[4] == -3.0  # hardly anything is negative there
    assert margins(torch.zeros(2), torch.zeros(2)).tolist() == [0, 0]


def test_a_student_like_its_teacher_has_nothing_to_learn_nor_one_further_below_the_margin() -> None:
    teacher, margin = maps(5, 3, 2, 2, seed=3), torch.full((3,), -0.5).double()
    assert partial_loss(teacher, teacher, torch.full((3,), -9.0).double()).item() == 0
    below = torch.where(teacher > 0, teacher, -7.0)
    assert partial_loss(below, teacher, margin).item() == 0


def test_margins_come_from_the_teachers_batch_normalisation_and_deeper_maps_count_twice_as_much() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), teacher_for("overhaul_feature_distillation", 3)
    norms = [module for module in teacher.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.weight)
    run = dry(OverhaulFeatureDistillationConfig(weight=0.5), [student], teacher, LABELS)
    method = run.method
    assert isinstance(method, OverhaulFeatureDistillation)
    for number, norm in enumerate(norms):
        assert torch.equal(method.get_buffer(f"margin_{number}"), margins(norm.bias, norm.weight))
    assert "margin_2" in method.state_dict()
    found = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    expected = 0.0
    ours, theirs = ((IMAGES - model.mean) * model.inverse_std for model in (student, teacher))
    for number in range(3):
        assert isinstance(student.network, Stages)
        assert isinstance(teacher.network, Stages)
        ours = student.network.stages[number][0](ours)  # type: ignore[index]
        theirs = teacher.network.stages[number][:2](theirs)  # type: ignore[index]
        loss = partial_loss(method.connectors[number](ours), theirs, method.get_buffer(f"margin_{number}"))
        expected += loss.item() / 2 ** (2 - number)
        ours, theirs = ours.relu(), theirs.relu()
    assert found["feature"].item() == pytest.approx(0.5 * expected, rel=1e-3)


def test_the_authors_statistics_are_asked_for() -> None:
    assert OverhaulFeatureDistillationConfig().needs.teacher_statistics == "kept"
    assert OverhaulFeatureDistillationConfig(teacher_statistics="batch").needs.teacher_statistics == "batch"


def test_other_sizes_and_a_teacher_without_batch_normalisation_are_refused() -> None:
    taps = TapPairs(student=("stage-end:1:pre",), teacher=("stage-end:2:pre",))
    with pytest.raises(UsageError, match=r"compares maps of one size; .* \(4, 8, 8\), .* \(16, 4, 4\)"):
        dry(OverhaulFeatureDistillationConfig(taps=taps), [network(3)], teacher_for("", 3), LABELS)
    with pytest.raises(UsageError, match="margins from the teacher's batch normalisation; none of 8 channels"):
        dry(OverhaulFeatureDistillationConfig(), [network(3)], network(3, width=8), LABELS)
