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
from distill.vision.datasets.echo_anatomy import STRUCTURES
from distill.vision.datasets.echo_phantom import EchoPhantomMasks
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS
from export.__main__ import app
from export.artifact.manifest import Manifest, read_artifact
from export.convert import convert
from export.doctor.record import DIAGNOSIS_FILE, Diagnosis
from export.doctor.sensitivity import sqnr_db
from export.doctor.words import step_line
from export.formats import Target
from export.proof.evidence import Evidence, gather
from export.proof.pixels import agreement_of
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
    training = Training(
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
