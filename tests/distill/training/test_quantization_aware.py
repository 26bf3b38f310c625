"""Quantization-aware fine-tuning: the rounding is that of int8, and the checkpoint is an ordinary one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill import checkpoint
from distill.config import QuantizationAware, RunConfig, parse, with_overrides
from distill.errors import UsageError
from distill.evaluation import calibration
from distill.recipes import RECIPES, demo, from_scratch, recipe
from distill.run_folder import RunFolder, State
from distill.studies import short_demo
from distill.train import check, score, train
from distill.training.batches import Share
from distill.training.quantization_aware import FakeQuantized, operations, rounded_weights
from distill.vision.deployment import deployed
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess
from tests.conftest import MakeOnce
from tests.distill.vision.one_of_each import LARGE, ONE_OF_EACH

PREPROCESS = Preprocess(size_px=32, resize="stretch", channels=1, mean=(0.2,), std=(0.25,))
SETTINGS = QuantizationAware(from_run="unused")
TINY = [
    "model=mobilenet_v3_small_relu",
    "image.size_px=32",
    "dataset.train_patients=16",
    "dataset.validation_patients=3",
    "training.batch_size=40",
    "training.optimizer.lr=0.001",
    "device=cpu",
]


class Small(nn.Module):
    """One convolution with batch normalisation, a clamp, a residual sum, a mean, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3, eps=1e-3)
        self.clamp = nn.ReLU6(inplace=True)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        result = self.clamp(self.norm(self.convolution(x)))
        result += x
        return self.head(result.mean([2, 3]))


def small() -> ImageClassifier:
    torch.manual_seed(0)
    network = Small()
    nn.init.uniform_(network.norm.weight, 0.5, 2)
    nn.init.uniform_(network.norm.running_var, 0.001, 0.5)  # type: ignore[arg-type]
    return ImageClassifier(network, PREPROCESS)


def images(count: int = 8) -> Tensor:
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def observed(student: ImageClassifier) -> FakeQuantized:
    """The student with ranges of one batch, batch normalisation frozen, in eval mode."""
    example = torch.zeros(2, 1, 32, 32)
    model = FakeQuantized(student, example, SETTINGS.model_copy(update={"freeze_batch_norm_after": 0}))
    model.train()
    with torch.no_grad():
        model(images())
    return model.eval()


def grid(low: float, high: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values on the affine int8 grid of a range that contains zero, by the definition."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero_point = round(-128 - low / scale)
    return (np.clip(np.round(values / scale) + zero_point, -128, 127) - zero_point) * scale


def symmetric(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1).reshape(-1, *[1] * (weight.ndim - 1)) / 127
    return np.round(weight / scale) * scale


def test_a_pass_is_that_of_a_slow_twin_that_folds_batch_normalisation_first() -> None:
    student = small().eval()
    network = student.network
    assert isinstance(network, Small)
    model = observed(student)
    with torch.no_grad():
        found = model(images()).numpy()

    arrays = {key: value.double().numpy() for key, value in network.state_dict().items()}
    factor = arrays["norm.weight"] / np.sqrt(arrays["norm.running_var"] + 1e-3)
    folded = symmetric(arrays["convolution.weight"] * factor.reshape(-1, 1, 1, 1))
    bias = arrays["norm.bias"] - arrays["norm.running_mean"] * factor
    ranges = list(zip(model.low.tolist(), model.high.tolist(), strict=True))
    assert len(ranges) == 5  # normalised input, clamp, sum, mean, logits; convolution and normalisation are absorbed

    x = grid(*ranges[0], ((images() - student.mean) * student.inverse_std).double().numpy())
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    convolved = np.einsum("bchwij,ocij->bohw", windows, folded) + bias.reshape(1, -1, 1, 1)
    summed = grid(*ranges[2], grid(*ranges[1], np.clip(convolved, 0, 6)) + x)
    pooled = grid(*ranges[3], summed.mean(axis=(2, 3)))
    expected = grid(*ranges[4], pooled @ symmetric(arrays["head.weight"]).T + arrays["head.bias"])
    step = float(model.scale[4])
    assert np.abs(found - expected).max() < 2.5 * step  # a value between two steps may fall to either side
    assert np.mean(np.abs(found - expected) < 0.01 * step) > 0.8


def test_rounding_weights_commutes_with_folding_batch_normalisation() -> None:
    weight = torch.randn(16, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    factor = torch.linspace(-3, 40, 16).reshape(-1, 1, 1, 1)
    assert torch.allclose(rounded_weights(weight * factor), rounded_weights(weight) * factor, rtol=1e-5, atol=1e-7)
    assert all(len(channel.unique()) <= 255 for channel in rounded_weights(weight))


def test_a_channel_of_zeros_stays_zero() -> None:
    assert rounded_weights(torch.zeros(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_gradient_passes_the_rounding_within_the_range_and_not_beyond() -> None:
    weight = torch.randn(4, 5, requires_grad=True)
    rounded_weights(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == torch.ones(4, 5).tolist()
    model = observed(small())
    values = torch.tensor([float(model.high[0]) * 2, 0.0, float(model.low[0]) * 2], requires_grad=True)
    model.rounded(values, 0).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 0]


def test_the_network_keeps_its_names_and_its_float_output() -> None:
    student, untouched = small(), small().eval()
    model = observed(student)
    assert student.network.state_dict().keys() == untouched.network.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(model.student(images()), untouched(images()))
        assert not torch.equal(model(images()), untouched(images()))


def test_the_precision_of_the_run_does_not_coarsen_the_grid() -> None:
    model = observed(small())
    with torch.no_grad():
        plain = model(images())
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(images()), plain)


@pytest.mark.parametrize("name", [name for name in ONE_OF_EACH if name not in LARGE])
def test_every_network_is_rounded_in_both_modes_for_any_number_of_images(name: str) -> None:
    model = FakeQuantized(build(name, num_classes=4, preprocess=PREPROCESS), torch.zeros(2, 1, 32, 32), SETTINGS)
    model.train()(images(6)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.low.isfinite().all()
    model.eval()
    with torch.inference_mode():
        assert [len(model(images(count))) for count in (1, 5)] == [1, 5]


def test_a_network_whose_operations_change_is_refused() -> None:
    class Fickle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.conv2d(x, torch.ones(4, 1, 1, 1))
            return (x * 2 if self.training else x).mean([2, 3])

    with pytest.raises(UsageError, match="other operations in training than in evaluation"):
        operations(Fickle(), images(2))
    with pytest.raises(UsageError, match="nothing to quantize"):
        operations(nn.Flatten(), images(2))


# Whole runs.


def start_config(*more: str) -> RunConfig:
    return with_overrides(
        from_scratch(short_demo(), "scratch"), [*TINY, "training.epochs=12", "training.optimizer.lr=0.005", *more]
    )


@pytest.fixture(scope="module")
def start(make_once: MakeOnce) -> Path:
    """A finished run to start from. Do not write into it."""
    return make_once("quantization-aware-start", lambda path: train(start_config(), path))


def aware(start: Path, *more: str) -> RunConfig:
    changes = [*TINY, "training.epochs=3", f"quantization_aware.from_run={start}", *more]
    return with_overrides(from_scratch(short_demo(), "scratch"), changes)


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_starts_from_the_student_and_saves_an_ordinary_checkpoint(start: Path, tmp_path: Path) -> None:
    card = train(aware(start, "training.optimizer.lr=1e-9"), tmp_path / "run")
    before, after = checkpoint.load(start), checkpoint.load(tmp_path / "run")
    assert after.model.state_dict().keys() == before.model.state_dict().keys()
    for name, parameter in before.model.named_parameters():  # at such a rate nothing is learnt
        assert torch.allclose(parameter, after.model.get_parameter(name), atol=1e-6)
    assert card.training is not None
    config = parse(json.dumps(card.training.config), source="card")
    assert config.quantization_aware is not None
    assert config.quantization_aware.weights_sha256 == before.card.weights_sha256


def test_training_under_rounding_brings_the_rounded_network_on(start: Path, tmp_path: Path) -> None:
    card = train(aware(start, "training.optimizer.lr=3e-4", "training.epochs=4"), tmp_path / "run")
    found = rows(tmp_path / "run")
    assert found[-1]["losses"]["label"] < found[0]["losses"]["label"]  # type: ignore[index]
    assert card.training is not None
    best = max(found, key=score)
    assert card.training.best.epoch == best["epoch"]
    assert card.training.best.accuracy == best["accuracy"]
    assert checkpoint.load(tmp_path / "run").card.training == card.training


def test_statistics_and_ranges_stand_still_after_their_epochs(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Tensor]] = []
    save = RunFolder.save_state

    def keep(folder: RunFolder, state: State) -> None:
        states.append(dict(state.model))
        save(folder, state)

    monkeypatch.setattr(RunFolder, "save_state", keep)
    train(aware(start, "quantization_aware.freeze_batch_norm_after=1"), tmp_path / "run")  # ranges: after two

    def moved(part: str, earlier: int, later: int) -> bool:
        return any(not torch.equal(states[earlier][key], states[later][key]) for key in states[0] if part in key)

    norm = "network.features.0.1.running_mean"
    before = checkpoint.load(start).model.get_buffer(norm)
    assert not torch.equal(states[0][f"0.student.{norm}"], before)
    assert not moved("running_mean", 0, 1)
    assert not moved("running_mean", 1, 2)
    assert moved("low", 0, 1)
    assert not moved("low", 1, 2)
    assert not moved("scale", 1, 2)
    assert moved("weight", 1, 2)


def test_a_resumed_run_ends_with_the_same_bits(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(aware(start), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", _stop_after_first_epoch(RunFolder.save_state))
        with pytest.raises(KeyboardInterrupt):
            train(aware(start), tmp_path / "half")
    half = train(aware(start), tmp_path / "half", resume=True)
    assert half.weights_sha256 == whole.weights_sha256
    last = [checkpoint.load(tmp_path / name / "last").card.weights_sha256 for name in ("whole", "half")]
    assert last[0] == last[1]
    assert [score(row) for row in rows(tmp_path / "half")] == [score(row) for row in rows(tmp_path / "whole")]


def _stop_after_first_epoch(save: Callable[[RunFolder, State], None]) -> Callable[[RunFolder, State], None]:
    def save_and_stop(folder: RunFolder, state: State) -> None:
        save(folder, state)
        if state.epoch == 1:
            raise KeyboardInterrupt

    return save_and_stop


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("quantization_aware.from_run=nowhere", "quantization_aware.from_run: nowhere is not a checkpoint: no such"),
        ("model=mobilenet_v3_small", "is a mobilenet_v3_small_relu, this run is for mobilenet_v3_small"),
        ("image.size_px=48", "Make image the same"),
        ("quantization_aware.weights_sha256=0123", "holds other weights than this run started from"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_before_anything_is_written(
    start: Path, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        train(aware(start, change), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_cohort_an_unfinished_and_a_calibrated_start_are_refused(start: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trains 3 students"):
        train(aware(start, "method.kind=deep_mutual_learning"), tmp_path / "run")
    unfinished = shutil.copytree(start, tmp_path / "unfinished")
    card = (unfinished / "best" / "card.json").read_text().replace('"finished": true', '"finished": false')
    (unfinished / "best" / "card.json").write_text(card)
    with pytest.raises(UsageError, match="is not finished"):
        train(aware(unfinished), tmp_path / "run")
    copied = shutil.copytree(start, tmp_path / "copied")
    calibrated, _ = calibration.calibrate(copied)
    with pytest.raises(UsageError, match="is calibrated"):
        train(aware(calibrated), tmp_path / "run")


def test_several_processes_are_refused(start: Path) -> None:
    with pytest.raises(UsageError, match="start it without torchrun"):
        check(aware(start), Share(0, 2))


def test_a_start_that_was_trained_again_is_another_run(start: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(start, tmp_path / "start")
    train(aware(copied, "training.epochs=1"), tmp_path / "run")
    shutil.rmtree(copied)
    train(start_config("seed=3", "training.epochs=1"), copied)
    with pytest.raises(UsageError, match=r"quantization_aware\.weights_sha256"):
        train(aware(copied, "training.epochs=1"), tmp_path / "run")


PLAIN = with_overrides(short_demo(), ["training.epochs=16", "name=demo"])

IDENTITIES = [
    (PLAIN, "7bd91f8adc809f561b86957531a93ec69ae7f408e99aa97ecd71c54d8ce3a45a"),
    (from_scratch(PLAIN, "demo-scratch"), "f82ff54ce7630bd3ecd49e0d5538dc024d7d60be28ef1d186beac8b2db5d6c9f"),
    (recipe("folder-kd"), "ea858ac76a06e2d7597dc6f6dd6ee773471bc336b4452ff3dd4cc562627692b7"),
]
"""Of finished runs that lie around: one that changes makes them strangers."""


@pytest.mark.parametrize(("config", "identity"), IDENTITIES, ids=lambda value: getattr(value, "name", ""))
def test_the_identity_of_a_run_without_rounding_is_what_it_always_was(config: RunConfig, identity: str) -> None:
    assert config.identity() == identity


def test_the_recipes_change_what_they_say_and_keep_the_teacher() -> None:
    aware, friendly = RECIPES["demo-qat"](), RECIPES["demo-quantization-friendly"]()
    assert aware.teacher_run() == friendly.teacher_run() == demo().teacher_run()
    assert aware.model == demo().model
    assert len({config.identity() for config in (aware, friendly, demo())}) == 3
    assert with_overrides(aware, ["quantization_aware=null"]).quantization_aware is None


def test_the_quantization_friendly_network_has_nothing_that_stays_in_float() -> None:
    network = build("mobilenet_v3_small_relu", num_classes=10, preprocess=PREPROCESS).network
    kinds = {type(module) for module in network.modules() if not list(module.children())}
    assert kinds == {nn.Conv2d, nn.BatchNorm2d, nn.ReLU6, nn.AdaptiveAvgPool2d, nn.Linear, nn.Dropout}
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_066_466


BRANCHED = "python:tests.distill.training.branched:branched"


def weighted(model: nn.Module) -> list[str]:
    """Convolutions, matrix products and sums of a network, in order."""
    return [
        each.name for each in operations(model, torch.rand(2, 1, 32, 32)) if each.name in ("conv2d", "linear", "add")
    ]


def test_a_network_is_built_as_it_is_deployed_by_its_name() -> None:
    whole, plain = (build(name, num_classes=4, preprocess=PREPROCESS) for name in (BRANCHED, f"folded:{BRANCHED}"))
    assert weighted(whole) == ["conv2d", "conv2d", "add"] * 2 + ["linear"]
    assert weighted(plain) == ["conv2d", "conv2d", "linear"]
    assert all(parameter.requires_grad for parameter in plain.parameters())
    assert not [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    without = build("folded:mobilenet_v3_small_relu", num_classes=4, preprocess=PREPROCESS)
    ordinary = build("mobilenet_v3_small_relu", num_classes=4, preprocess=PREPROCESS)
    assert without.state_dict().keys() == ordinary.state_dict().keys()


def test_a_network_with_branches_learns_without_them_and_is_saved_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(start_config(f"model={BRANCHED}", "training.epochs=1"), tmp_path / "start")
    config = aware(tmp_path / "start", f"model={BRANCHED}", "training.optimizer.lr=1e-9", "training.epochs=1")
    card = train(config, tmp_path / "run")
    assert card.model == f"folded:{BRANCHED}"
    assert "learns with its branches folded, as it is deployed" in " ".join(capsys.readouterr().err.split())
    before, after = checkpoint.load(tmp_path / "start").model, checkpoint.load(tmp_path / "run").model
    assert weighted(after) == ["conv2d", "conv2d", "linear"]
    images = torch.rand(4, 1, 32, 32)
    with torch.no_grad():  # at such a rate nothing is learnt
        torch.testing.assert_close(after(images), before(images), rtol=1e-3, atol=1e-4)
    assert deployed(after, PREPROCESS.input_shape).model is after
    again = aware(tmp_path / "run", f"model={BRANCHED}", "training.epochs=1")
    assert train(again, tmp_path / "again").model == card.model
    assert train(config, tmp_path / "run") == card, "it is the finished run of this very config"
