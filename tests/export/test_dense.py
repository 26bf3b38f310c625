"""A network that answers for every pixel goes the whole way: exported, run against eager, and its manifest says so."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill import checkpoint as checkpoints
from distill import terminal
from distill.checkpoint import Checkpoint, DataIdentity, SegmentationMetrics, Training
from distill.errors import UsageError
from distill.vision.datasets import Split
from distill.vision.datasets.echo_anatomy import STRUCTURES
from distill.vision.datasets.echo_phantom import EchoPhantomMasks
from distill.vision.models import build
from distill.vision.models.dense.small_answers import leave_small
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS
from export.__main__ import app
from export.artifact.manifest import Manifest, read_artifact
from export.artifact.runner import open_runner, run_all
from export.bundle import find_artifacts
from export.convert import convert, with_small_answers
from export.doctor.record import DIAGNOSIS_FILE, Diagnosis
from export.doctor.sensitivity import sqnr_db
from export.doctor.words import step_line
from export.formats import Target
from export.proof.evidence import Evidence, gather
from export.proof.parity import judge
from export.proof.pixels import agreement_of, enlarged
from tests.conftest import MakeOnce

NAME = "python:tests.export.test_dense:small"
PREPROCESS = Preprocess(size_px=32, channels=1, mean=(0.2,), std=(0.2,))
DATA = EchoPhantomMasks(train_patients=4, validation_patients=1, images_per_patient=10)


class Small(nn.Module):
    """Two convolutions at a half of the size, enlarged to the whole as mobile networks do."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        answers = self.head(self.inner(images))
        return F.interpolate(answers, size=images.shape[2:], mode="bilinear", align_corners=False)


def small(num_classes: int) -> nn.Module:
    return Small(num_classes)


def trained_on(train: Split, validation: Split) -> Training:
    """What a card says of a network that has learnt from these."""
    metrics = SegmentationMetrics(
        epoch=1, miou=0.3, class_iou=(0.3,) * len(STRUCTURES), dice=0.4, pixel_accuracy=0.8, loss=0.5
    )
    identity = DataIdentity(
        config=DATA,
        train_sha256=train.sha256(),
        validation_sha256=validation.sha256(),
        num_train=len(train),
        num_validation=len(validation),
    )
    return Training(
        method="scratch",
        config={},
        teacher_sha256=None,
        data=identity,
        seed=0,
        epoch=1,
        best=metrics,
        last=metrics,
        finished=True,
    )


def write(run: Path) -> None:
    """A checkpoint that has learnt for a few steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(NAME, num_classes=len(STRUCTURES), preprocess=PREPROCESS).train()
    train, validation = (DATA.load(name, PREPROCESS) for name in ("train", "validation"))
    images = torch.from_numpy(PREPROCESS.to_input(np.asarray(train.images)))
    masks = torch.from_numpy(np.asarray(train.truth)).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    rare_counts_more = torch.tensor([0.1, *[1.0] * (len(STRUCTURES) - 1)])
    for _ in range(40):
        loss = F.cross_entropy(model(images), masks, weight=rare_counts_more, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    training = trained_on(train, validation)
    checkpoints.save(
        run / "best",
        model.eval(),
        name=NAME,
        class_names=STRUCTURES,
        preprocess=PREPROCESS,
        training=training,
        task="segmentation",
    )


@pytest.fixture(scope="module")
def checkpoint(make_once: MakeOnce) -> Checkpoint:
    return checkpoints.load(make_once("dense-checkpoint", write))


@pytest.fixture(scope="module")
def evidence(checkpoint: Checkpoint) -> Evidence:
    return gather(checkpoint, num_parity=10, num_calibration=10, seed=0)


@pytest.mark.parametrize("format", ["torchscript", "onnx", "executorch", "coreml", "litert"])
def test_every_format_agrees_with_eager_on_every_pixel(
    format: str, checkpoint: Checkpoint, evidence: Evidence, tmp_path: Path
) -> None:
    convert(checkpoint, Target(format, "fp32"), evidence, tmp_path / "artifact")  # type: ignore[arg-type]
    manifest = read_artifact(tmp_path / "artifact")
    assert manifest.task == "segmentation"
    assert manifest.output.layout == "NCHW"
    assert manifest.output.shape[1:] == (len(STRUCTURES), 32, 32)
    assert manifest.parity.verdict == "pass"
    assert manifest.parity.top1_agreement == 1.0
    assert manifest.parity.quality == manifest.parity.eager_quality == manifest.share_right
    assert np.load(tmp_path / "artifact" / manifest.file("golden-output")).shape == (1, len(STRUCTURES), 32, 32)


@pytest.mark.parametrize("format", ["onnx", "executorch", "litert"])
def test_answers_are_enlarged_in_float(format: str, checkpoint: Checkpoint, evidence: Evidence, tmp_path: Path) -> None:
    convert(checkpoint, Target(format, "int8"), evidence, tmp_path / "artifact", allow_loss=True)  # type: ignore[arg-type]
    manifest = read_artifact(tmp_path / "artifact")
    runner = open_runner(tmp_path / "artifact", manifest, threads=1)
    answers = run_all(runner, PREPROCESS.to_input(evidence.held_out.images[:1]))
    assert len(np.unique(answers)) > 2**8, "integers have as many values at most"


def test_int8_is_judged_by_the_miou_it_keeps(checkpoint: Checkpoint, evidence: Evidence, tmp_path: Path) -> None:
    manifest: Manifest = convert(checkpoint, Target("onnx", "int8"), evidence, tmp_path / "artifact", allow_loss=True)
    assert manifest.parity.judged_by == "quality"
    assert manifest.parity.quality is not None
    assert manifest.parity.quality > 0.1
    assert manifest.parity.class_correct is not None
    assert sum(count > 0 for count in manifest.parity.class_correct) > 2
    assert manifest.parity.top1_agreement is not None
    assert 0.9 < manifest.parity.top1_agreement < 1


def test_evidence_of_masks_survives_a_file(evidence: Evidence, tmp_path: Path) -> None:
    evidence.save(tmp_path / "evidence.npz")
    loaded = Evidence.load(tmp_path / "evidence.npz").held_out
    assert loaded.task == "segmentation"
    assert loaded.labels is not None
    assert evidence.held_out.labels is not None
    assert np.array_equal(loaded.labels, evidence.held_out.labels)


def test_the_doctor_finds_where_int8_hurts_a_mask_by_the_miou(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["doctor", checkpoint.folder, "--format", "onnx", "--all", "--images", 20, "--calibration-images", 10]
    monkeypatch.setattr(sys, "argv", ["export", *map(str, words), "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        terminal.run(app)
    found = Diagnosis.read(tmp_path / DIAGNOSIS_FILE)
    assert (found.task, found.min_quality_kept, found.min_agreement) == ("segmentation", 0.99, 0.0)
    assert {layer.layer for layer in found.layers} == {"network.inner", "network.head"}
    assert all(layer.top1_agreement < 1 for layer in found.layers)
    (onnx,) = found.formats
    assert [step.name for step in onnx.steps] == ["per-channel", "calibrators", "float-layers", "weight-corrections"]
    for trial in (trial for step in onnx.steps for trial in step.trials):
        assert trial.quality is not None
        assert trial.eager_quality is not None
        assert trial.quality_kept == pytest.approx(trial.quality / trial.eager_quality)
        assert trial.meets_limits == (trial.quality_kept >= 0.99)
        assert trial.kept_interval is not None
        assert trial.accuracy_interval is None
    assert "of the mIoU (" in step_line("onnx", onnx.steps[0], None, TASKS["segmentation"].measure)
    if onnx.chosen is not None:
        assert onnx.reported is not None
        assert onnx.reported.judged_by == "quality"
        assert (tmp_path / "onnx.recipe.json").is_file()


def test_of_depth_a_layers_noise_is_that_of_its_metres() -> None:
    """There are no classes whose mean would leave nothing of a single output."""
    metres = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)) + 1
    assert sqnr_db(metres, 1.1 * metres) == pytest.approx(20.0, abs=1e-3)
    assert agreement_of("depth", (1.1 * metres).numpy(), metres.numpy()) == 0.0
    assert agreement_of("depth", (1.001 * metres).numpy(), metres.numpy()) == 1.0


MOBILE = "lraspp_mobilenet_v3_small"
LARGER = PREPROCESS.model_copy(update={"size_px": 64})


def untaught(run: Path) -> None:
    """A mobile network that knows nothing yet, and data to judge it on."""
    torch.manual_seed(0)
    model = build(MOBILE, num_classes=len(STRUCTURES), preprocess=LARGER).eval()
    splits = {name: DATA.load(name, LARGER) for name in ("train", "validation")}
    training = trained_on(splits["train"], splits["validation"])
    checkpoints.save(
        run / "best",
        model,
        name=MOBILE,
        class_names=STRUCTURES,
        preprocess=LARGER,
        training=training,
        task="segmentation",
    )


@pytest.fixture(scope="module")
def mobile(make_once: MakeOnce) -> Path:
    return make_once("dense-untaught", untaught)


@pytest.mark.parametrize("format", ["eager", "onnx", "torchscript"])
def test_answers_may_stay_small_and_are_judged_at_the_pictures_size(format: str, mobile: Path, tmp_path: Path) -> None:
    """The very quality of the whole network: torchvision enlarges as whoever reads the small answers is told to."""
    whole, small = (checkpoints.load(mobile) for _ in range(2))
    small = with_small_answers(small)
    usual = gather(whole, num_parity=6, num_calibration=0, seed=0)
    evidence = gather(small, num_parity=6, num_calibration=0, seed=0)
    assert evidence.held_out.eager_logits.shape == (6, len(STRUCTURES), 8, 8)
    assert np.allclose(enlarged(evidence.held_out.eager_logits, (64, 64)), usual.held_out.eager_logits, atol=1e-5)
    manifest = convert(small, Target(format, "fp32"), evidence, tmp_path / "artifact")  # type: ignore[arg-type]
    assert manifest.output.shape[1:] == (len(STRUCTURES), 8, 8)
    assert manifest.answers_small
    assert manifest.parity.verdict == "pass"
    expected = judge(usual.held_out.eager_logits, usual.held_out, "fp32", proven_by="test 1").quality
    assert manifest.parity.quality == pytest.approx(expected, abs=1e-6)
    assert any("answers are of 8 x 8: enlarge them to the picture" in note for note in manifest.notes)
    assert np.load(tmp_path / "artifact" / manifest.file("golden-output")).shape == (1, len(STRUCTURES), 8, 8)
    with pytest.raises(UsageError, match=r"answers in 8 x 8, which the app does not enlarge|is eager; the app runs"):
        find_artifacts([tmp_path / "artifact"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (NAME, "only networks of distill.vision.models.dense know how to leave out the enlarging"),
        ("unet_mobilenet_v2", "reads its answers from a map of the picture's size, 64 x 64"),
    ],
)
def test_a_network_without_an_enlarging_to_leave_out_is_refused(name: str, message: str) -> None:
    model = build(name, num_classes=3, preprocess=LARGER).eval()
    with pytest.raises(UsageError, match=message):
        leave_small(model, LARGER.input_shape)


def test_the_librarys_networks_leave_their_head_small_with_the_same_weights() -> None:
    torch.manual_seed(0)
    model = build("deeplabv3plus_mobilenet_v2", num_classes=3, preprocess=LARGER).eval()
    names = list(model.state_dict())
    leave_small(model, LARGER.input_shape)
    assert list(model.state_dict()) == names
    with torch.no_grad():
        assert model(torch.rand(1, *LARGER.input_shape)).shape == (1, 3, 16, 16)


def test_small_answers_are_for_networks_of_pixels_alone(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["export", str(checkpoint_folder), "--low-resolution"])
    with pytest.raises(SystemExit) as ended:
        terminal.run(app)
    assert ended.value.code == 2
    assert "--low-resolution is for networks that answer for every pixel" in " ".join(capsys.readouterr().err.split())
