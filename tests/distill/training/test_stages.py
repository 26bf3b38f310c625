"""What a method may ask of the loop: stages, rates, a stepper of its own, images held back; killed and resumed."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from distill import checkpoint
from distill import train as training
from distill.config import RunConfig, with_overrides
from distill.contract import sha256_of_file
from distill.data import load_data
from distill.errors import UsageError
from distill.methods import Method, Needs, Outputs, Samples, Stage, Stepper
from distill.methods.scratch import Scratch, ScratchConfig
from distill.recipes import from_scratch
from distill.run_folder import RunData, RunFolder, State
from distill.studies import short_demo
from distill.train import train
from distill.training.batches import Batch, Batches, EndlessBatches
from distill.training.dry_run import DryRun
from distill.training.processes import Processes
from distill.training.stages import spans, start
from distill.training.step import Objective, Step, make_optimizer
from distill.vision.datasets import Split
from distill.vision.models import build
from tests.distill.conftest import TeacherIn
from tests.distill.methods.toy import network

TINY = [
    "model=torchvision:shufflenet_v2_x0_5",
    "image.size_px=32",
    "dataset.train_patients=8",
    "dataset.validation_patients=3",
    "training.epochs=4",
    "training.batch_size=40",
    "device=cpu",
]


def tiny(*more: str) -> RunConfig:
    return with_overrides(from_scratch(short_demo(), "demo-scratch"), [*TINY, *more])


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path, which: str = "last") -> dict[str, Tensor]:
    return checkpoint.load(run / which).model.state_dict()


class Heads(Scratch):
    """Two epochs of the head alone on a loss of its own, unjudged and slower; then everything."""

    def stages(self) -> tuple[Stage, ...]:
        head = Stage("head", 2, self.doubled, trains=lambda name: ".fc." in name, lr_factor=0.5, judged=False)
        return (head, Stage("all"))

    def doubled(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        return {"doubled": 2 * self(students, teacher, samples)["label"]}


@pytest.fixture
def scratch_as(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that lets `scratch` build another method, with other needs."""

    def use(method: type[Method], needs: Needs | None = None) -> None:
        monkeypatch.setattr(ScratchConfig, "build", lambda self, _setting: method(self))
        monkeypatch.setattr(ScratchConfig, "needs", needs or Needs(teacher="none"))

    return use


def stop_after(epoch: int) -> Any:
    """In place of `RunFolder.save_state`: as if the run had been killed after an epoch."""
    save = RunFolder.save_state

    def save_and_stop(folder: RunFolder, state: State) -> None:
        save(folder, state)
        if state.epoch == epoch:
            raise KeyboardInterrupt

    return save_and_stop


def killed(config: RunConfig, path: Path, epoch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save_state", stop_after(epoch))
        with pytest.raises(KeyboardInterrupt):
            train(config, path)


def killed_and_resumed(config: RunConfig, path: Path, epoch: int) -> None:
    killed(config, path, epoch)
    train(config, path, resume=True)


def test_each_stage_trains_what_it_says_by_its_own_losses_and_unjudged_epochs_are_never_best(
    tmp_path: Path, scratch_as: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_as(Heads)
    states: list[dict[str, Tensor]] = []
    save = RunFolder.save_state
    monkeypatch.setattr(RunFolder, "save_state", lambda *them: (states.append(them[1].model), save(*them)))
    card = train(tiny(), tmp_path / "run")
    assert [(row["stage"], row["judged"], set(row["losses"])) for row in rows(tmp_path / "run")] == [
        ("head", False, {"doubled"}),
        ("head", False, {"doubled"}),
        ("all", True, {"label"}),
        ("all", True, {"label"}),
    ]
    assert card.training is not None
    assert card.training.best.epoch in (3, 4)
    learnt = [
        {key for key in before if "running" not in key and not torch.equal(before[key], after[key])}
        for before, after in itertools.pairwise(states[:3])
    ]
    assert {key for key in learnt[0] if "num_batches" not in key} == {"0.network.fc.weight", "0.network.fc.bias"}
    assert "0.network.conv1.0.weight" in learnt[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `Heads` that nothing has stopped. Do not write into it."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScratchConfig, "build", lambda self, _setting: Heads(self))
        train(tiny(), path)
    return path


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_killed_in_a_stage_or_between_two_resumes_to_the_same_bits(
    tmp_path: Path, whole: Path, scratch_as: Any, epoch: int
) -> None:
    scratch_as(Heads)
    killed_and_resumed(tiny(), tmp_path / "killed", epoch)
    for which in ("best", "last"):
        files = (run / which / checkpoint.WEIGHTS_FILE for run in (whole, tmp_path / "killed"))
        assert len({sha256_of_file(file) for file in files}) == 1


def test_the_state_of_a_stage_that_is_no_more_is_refused(tmp_path: Path, scratch_as: Any) -> None:
    scratch_as(Heads)
    killed(tiny(), tmp_path / "run", 1)
    scratch_as(Scratch)
    with pytest.raises(UsageError, match="is of stage 'head', but method scratch is in 'whole' by then"):
        train(tiny(), tmp_path / "run", resume=True)


def test_a_state_from_before_there_were_stages_is_of_the_whole_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, tiny())
    folder.data = RunData.of(load_data(tiny()))
    folder.save_state(State(epoch=1))
    raw = torch.load(tmp_path / "resume.pt", weights_only=True)
    torch.save({key: value for key, value in raw.items() if key not in ("stage", "stepper")}, tmp_path / "resume.pt")
    state, data, _ = folder._read_state() or (None, None, None)
    assert (state, data) == (State(epoch=1), folder.data)


def test_epochs_are_divided_among_stages_and_the_rest_is_the_open_ended_ones() -> None:
    found = spans((Stage("a", 3), Stage("b"), Stage("c", 2)), 10, kind="toy")
    assert [(span.stage.name, span.first, span.end) for span in found] == [("a", 0, 3), ("b", 3, 8), ("c", 8, 10)]


@pytest.mark.parametrize(
    ("stages", "epochs", "message"),
    [
        ((Stage("hints", 4), Stage("kd")), 4, r"\(hints: 4, kd: the rest\), which take at least 5 epochs; .* is 4"),
        ((Stage("a", 4), Stage("b", 2)), 8, "which take 6 epochs; training.epochs is 8. Set training.epochs=6"),
    ],
)
def test_stages_that_do_not_fill_the_run_are_refused(stages: tuple[Stage, ...], epochs: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spans(stages, epochs, kind="toy")


def test_stages_are_counted_before_a_teacher_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill.methods.hinton_kd import HintonKD, HintonKDConfig

    class Long(HintonKD):
        def stages(self) -> tuple[Stage, ...]:
            return (Stage("long", 50), Stage("rest"))

    monkeypatch.setattr(HintonKDConfig, "build", lambda self, _setting: Long(self))
    with pytest.raises(UsageError, match="take at least 51 epochs"):
        train(with_overrides(short_demo(), TINY), tmp_path / "run")
    assert not list(tmp_path.glob("teacher*"))


def test_rates_follow_the_stage_and_the_groups_factor_anew_in_every_epoch() -> None:
    class Slower(Scratch):
        """A parameter whose rate falls with the epoch, and is not decayed."""

        def __init__(self, config: ScratchConfig) -> None:
            super().__init__(config)
            self.extra = nn.Parameter(torch.ones(()))
            self.epoch = 1

        def start_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def start_step(self, progress: float) -> None:
            seen.append(progress)

        def parameter_groups(self) -> list[dict[str, Any]]:
            return [{"params": [self.extra], "weight_decay": 0.0, "lr_factor": 1 / self.epoch}]

    seen: list[float] = []
    config = tiny("training.epochs=8", "training.schedule.kind=steps", "training.schedule.epochs=[3]")
    objective = Objective(nn.ModuleList([network(4)]), Slower(ScratchConfig()))
    _, span = spans((Stage("first", 2), Stage("second", lr_factor=0.5)), 8, kind="toy")
    fabric = Fabric(accelerator="cpu", devices=1)
    stage = start(span, objective, lambda _: None, None, config, State(epoch=2), fabric)
    assert [group["weight_decay"] for group in stage.optimizer.param_groups] == [0.01, 0.0]
    for epoch, scheduled in ((2, 1.0), (4, 1.0), (5, 0.1)):  # the stage begins after epoch 2, the rate falls 3 later
        stage.start_epoch(epoch)
        stage.start_step(epoch + 0.5, config.training)
        rates = [group["lr"] for group in stage.optimizer.param_groups]
        full = config.training.optimizer.lr * 0.5 * scheduled
        assert rates == pytest.approx([full, full / (epoch + 1)])
    assert seen == pytest.approx([0.5 / 6, 2.5 / 6, 3.5 / 6])
    assert "lr_factor" not in make_optimizer(config.training, objective).param_groups[1]


def test_a_resumed_optimizer_is_where_fabric_has_moved_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fabric moves to float64 when it sets up, as it moves to a GPU: a state put back before that stays behind."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    monkeypatch.setattr(training, "start_processes", lambda config: Processes(fabric))
    killed_and_resumed(tiny(), tmp_path / "run", 2)
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1, 2, 3, 4]


class Searching(Scratch):
    """A stepper with an optimizer of its own: it learns a factor of the loss from the images held back."""

    def __init__(self, config: ScratchConfig) -> None:
        super().__init__(config)
        self.factor = nn.Parameter(torch.ones(()))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return []

    def scalars(self) -> dict[str, float]:
        return {"factor": self.factor.item()}

    def stepper(self, plain: Step, held_back: Iterator[Batch] | None) -> Stepper:
        assert held_back is not None
        return Search(self, plain, held_back)


class Search:
    """Both halves of the plain step, and a step of Adam between them."""

    def __init__(self, method: Searching, plain: Step, held_back: Iterator[Batch]) -> None:
        self.method, self.plain, self.held_back = method, plain, held_back
        self.optimizer = torch.optim.Adam([method.factor], lr=0.01)
        self.seen: set[int] = set()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        outside = next(self.held_back)
        self.seen |= set(outside.indices.tolist())
        assert not self.seen & set(batch.indices.tolist())
        with torch.no_grad():
            error = self.plain.losses(outside)["label"]
        self.optimizer.zero_grad()
        (self.method.factor * error).backward()
        self.optimizer.step()
        losses = {name: self.method.factor.detach() * loss for name, loss in self.plain.losses(batch).items()}
        return self.plain.descend(losses)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])


def test_a_stepper_of_its_own_draws_on_images_held_back_and_resumes_with_its_state(
    tmp_path: Path, scratch_as: Any
) -> None:
    scratch_as(Searching, Needs(teacher="none", held_back=0.25))
    train(tiny(), tmp_path / "whole")
    assert rows(tmp_path / "whole")[-1]["factor"] < 1
    killed_and_resumed(tiny(), tmp_path / "killed", 2)
    left, right = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert rows(tmp_path / "whole")[-1]["factor"] == rows(tmp_path / "killed")[-1]["factor"]


def test_a_share_that_leaves_no_patient_is_refused(tmp_path: Path, scratch_as: Any) -> None:
    scratch_as(Searching, Needs(teacher="none", held_back=0.01))
    with pytest.raises(UsageError, match="holds 1 % of the training images back, but there are too few patients"):
        train(tiny(), tmp_path / "run")


def split_of(groups: np.ndarray | None, count: int = 60) -> Split:
    labels = np.arange(count, dtype=np.int64) % 3
    images = np.zeros((count, 4, 4, 1), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return Split(images, labels, ("a", "b", "c"), groups)


def test_no_patient_is_in_both_parts_of_a_divided_split() -> None:
    split = split_of(np.repeat(np.arange(20), 3))
    part, rest = split.divided(0.2, seed=3)
    assert sorted([*part, *rest]) == list(range(60))
    assert len(part) == 12
    assert split.groups is not None
    assert not set(split.groups[part]) & set(split.groups[rest])
    assert [list(positions) for positions in split.divided(0.2, seed=3)] == [list(part), list(rest)]
    assert list(split.divided(0.2, seed=4)[0]) != list(part)
    assert len(split_of(None).divided(0.2, seed=0)[0]) == 12


def test_batches_of_a_part_keep_positions_of_the_whole_and_an_endless_stream_begins_anew_every_epoch() -> None:
    batches = Batches(split_of(None), batch_size=8, device=torch.device("cpu"), seed=1)
    positions = torch.arange(0, 60, 4)
    part = batches.part(positions)
    assert part.images is batches.images
    assert len(part) == 1
    for batch in part.epoch(0):
        assert set(batch.indices.tolist()) <= set(positions.tolist())
        assert torch.equal((batch.images[:, 0, 0, 0] * 255).round().long(), batch.indices)
    assert [len(batch.labels) for batch in part.in_order()] == [8, 7]
    endless = EndlessBatches(part)
    endless.start_epoch(2)
    first = [next(endless).indices.tolist() for _ in range(5)]
    assert len({tuple(indices) for indices in first}) == 5
    endless.start_epoch(3)
    assert next(endless).indices.tolist() not in first
    endless.start_epoch(2)
    assert [next(endless).indices.tolist() for _ in range(5)] == first


def test_a_method_for_one_process_is_not_shared(scratch_as: Any) -> None:
    scratch_as(Scratch, Needs(teacher="none", one_process=True))
    with pytest.raises(UsageError, match="cannot share a batch with other processes"):
        training.check(tiny(), training.Share(0, 2))


TEACHER = ["teacher.model=torchvision:shufflenet_v2_x0_5", "teacher.training.epochs=1", "teacher.image.size_px=64"]


THIN = ["model=resnet8", "teacher.model=resnet8", "teacher.image.size_px=32", "dataset.train_patients=4"]
SUMMED = [
    {"kind": "variational_information"},
    {"kind": "overhaul_feature_distillation", "teacher_statistics": "batch"},
    {"kind": "attention_feature_distillation", "dimensions": 16},
    {"kind": "flow_of_solution_procedure", "first_epochs": None},
    {"kind": "neuron_selectivity"},
    {"kind": "correlation_congruence"},
    {"kind": "relational_kd"},
    {"kind": "probabilistic_knowledge_transfer"},
    {"kind": "contrastive_representation", "negatives": 64},
    {"kind": "dist"},
    {"kind": "logit_standardization"},
]
EVERYTHING = [
    "method.kind=weighted_sum",
    f"method.parts={json.dumps([{'method': method, 'weight': 0.1} for method in SUMMED])}",
]


def tiny_kd(*more: str) -> RunConfig:
    return with_overrides(short_demo(), [*TINY, *TEACHER, "training.epochs=3", *more])


@pytest.mark.parametrize(
    "changes",
    [
        ["method.kind=similarity_preserving"],
        ["method.kind=fitnet", 'method.hints_first={"hint_epochs": 1}'],
        ["method.kind=fitnet", "training.augment.crop_padding_px=2"],
        [*THIN, *EVERYTHING],
        [*THIN, "method.kind=activation_boundaries", "method.first_epochs=1"],
        [*THIN, "method.kind=factor_transfer", "method.paraphraser_epochs=1"],
    ],
)
def test_a_run_with_taps_asks_a_teacher_with_larger_pictures_resumes_and_leaves_no_trace(
    tmp_path: Path, changes: list[str], monkeypatch: pytest.MonkeyPatch, teacher_in: TeacherIn
) -> None:
    teacher_in(tmp_path, tiny_kd(*changes))
    built: list[DryRun] = []
    dry_run = training.dry_run
    monkeypatch.setattr(training, "dry_run", lambda *a, **k: built.append(dry_run(*a, **k)) or built[-1])
    card = train(tiny_kd(*changes), tmp_path / "whole")
    networks = [taps.network for run in built for taps in (*run.students, run.teacher) if taps is not None]
    assert not any(module._forward_hooks for network in networks for module in network.modules())
    teacher = built[-1].teacher
    assert teacher is not None
    kept = checkpoint.load(tmp_path / "whole" / "teacher").model.network.state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in teacher.network.state_dict().items())
    plain = build(tiny_kd(*changes).model, num_classes=10, preprocess=card.preprocess)
    assert weights(tmp_path / "whole").keys() == plain.state_dict().keys()
    assert card.num_parameters == sum(parameter.numel() for parameter in plain.parameters())
    killed_and_resumed(tiny_kd(*changes), tmp_path / "killed", 2)
    left, right = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (['method.taps.student=["stage5"]'], "has no module 'stage5' to tap. Did you mean stage"),
        (["model=timm:test_vit", "image.size_px=160"], "has no stage ends"),
        (
            ["method.kind=fitnet", 'method.taps={"student": ["fc"], "teacher": ["stage4"]}'],
            r"compares maps \[C, H, W\]; fc gives \(10,\)",
        ),
        (["method.kind=fitnet", "method.steps.first=3"], "there is no group 'method.steps'"),
        (["method.kind=fitnet", "teacher.image.size_px=48"], "no adapter"),
        (["teacher.kind=logits", "teacher.path=nowhere.npy"], "a teacher of kind logits does not show"),
    ],
)
def test_what_cannot_be_tapped_is_refused_before_a_teacher_is_trained(
    tmp_path: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(with_overrides(tiny_kd("method.kind=similarity_preserving"), changes), tmp_path / "run")
    assert not list(tmp_path.glob("teacher*"))


def test_a_quantization_aware_run_is_tapped_where_it_rounds(tmp_path: Path) -> None:
    model = "model=mobilenet_v3_small_relu"
    train(tiny(model, "training.epochs=1"), tmp_path / "start")
    start_here = f"quantization_aware.from_run={tmp_path / 'start'}"
    changes = [model, start_here, "method.kind=fitnet", 'method.taps.student=["stage-end:-1"]']
    card = train(tiny_kd(*changes, 'method.taps.teacher=["stage-end:-1"]', "training.epochs=1"), tmp_path / "run")
    assert card.training is not None
    assert set(rows(tmp_path / "run")[0]["losses"]) == {"hint", "label"}
