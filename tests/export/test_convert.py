import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from distill import checkpoint as checkpoints
from distill.checkpoint import Checkpoint
from distill.errors import UsageError, WorkFailed
from distill.vision.models import ImageClassifier
from export import convert as convert_module
from export.artifact.manifest import read_artifact
from export.artifact.runner import open_runner
from export.artifact.staging import whole_folder
from export.convert import LostTooMuch, convert, with_temperature
from export.formats import FORMATS, Target, eager
from export.proof.evidence import Evidence, gather

RUNNABLE = ("eager", "torchscript", "executorch", "onnx", "coreml", "litert")
BASIC = [(f, p) for f in RUNNABLE for p in ("fp32", "int8") if p in FORMATS[f].schemes]
QUANTIZED = ("executorch", "onnx", "litert")


@pytest.mark.parametrize("format", RUNNABLE)
def test_every_fp32_artifact_agrees_with_eager_on_every_image(artifact, evidence: Evidence, format: str) -> None:
    _, manifest = artifact(format, "fp32")
    assert manifest.parity.verdict == "pass"
    assert manifest.parity.top1_agreement == 1.0
    assert manifest.parity.num_images == len(evidence.held_out.images) == 60
    assert manifest.parity.accuracy == manifest.parity.eager_accuracy > 0.8
    assert manifest.parity.max_abs_difference < 1e-3


@pytest.mark.parametrize("format", QUANTIZED)
def test_every_int8_artifact_runs_and_says_how_it_was_calibrated(artifact, format: str) -> None:
    _, manifest = artifact(format, "int8")
    _, full = artifact(format, "fp32")
    assert manifest.parity.verdict == "open", "60 images are all there are, and too few to show a loss below 1 %"
    assert 0.9 <= manifest.parity.top1_agreement <= 1.0
    assert 0 < manifest.parity.mean_abs_difference
    assert manifest.calibration is not None
    assert manifest.calibration.num_images == 40
    assert manifest.size_bytes < full.size_bytes
    assert manifest.input.dtype == manifest.output.dtype == "float32"


@pytest.mark.parametrize(
    ("format", "other", "conversion"),
    [("onnx", "int8", "to_onnx"), ("litert", "int8", "convert"), ("coreml", "fp16", "decomposed")],
)
def test_what_precisions_share_is_converted_once_and_changes_no_file(
    artifact,
    checkpoint: Checkpoint,
    evidence: Evidence,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
    other: str,
    conversion: str,
) -> None:
    module = importlib.import_module(FORMATS[format].module)
    convert_float, calls = getattr(module, conversion), []
    monkeypatch.setattr(module, conversion, lambda job: calls.append(job) or convert_float(job))
    elsewhere = checkpoints.load(checkpoint.folder)  # a model of which nothing is kept
    for precision in ("fp32", other):
        _, alone = artifact(format, precision)
        found = convert(elsewhere, Target(format, precision), evidence, tmp_path / precision, allow_loss=True)
        assert found.files == alone.files
        assert read_artifact(tmp_path / precision) == found
    assert len(calls) == 1


@pytest.mark.parametrize("format", RUNNABLE)
def test_pixels_in_0_to_1_go_in_because_normalisation_is_in_the_graph(
    artifact, checkpoint: Checkpoint, format: str
) -> None:
    folder, manifest = artifact(format, "fp32")
    pixels = np.random.default_rng(3).random((1, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = checkpoint.model(torch.from_numpy(pixels)).numpy()
        unnormalised = checkpoint.model.network(torch.from_numpy(pixels)).numpy()
    found = open_runner(folder, manifest, threads=1).bind(pixels).logits()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.abs(found - unnormalised).max() > 1e-2


@pytest.mark.parametrize(
    ("format", "precision"),
    BASIC,
)
def test_golden_output_is_what_the_artifact_gives_for_the_golden_input(artifact, format: str, precision: str) -> None:
    folder, manifest = artifact(format, precision)
    image, logits = (np.load(folder / manifest.file(role)) for role in ("golden-input", "golden-output"))
    assert (image.shape, logits.shape) == ((1, 3, 32, 32), (1, 4))
    assert image.dtype == logits.dtype == np.float32
    if format in RUNNABLE:
        np.testing.assert_allclose(open_runner(folder, manifest, threads=1).bind(image).logits(), logits, atol=1e-4)


def test_delegation_is_counted(artifact) -> None:
    for format, precision in (("executorch", "fp32"), ("executorch", "int8"), ("litert", "fp32")):
        delegation = artifact(format, precision)[1].delegation
        assert delegation is not None
        assert delegation.backend == "xnnpack"
        assert delegation.pieces == 1, f"{format} {precision} fell apart: {delegation}"


def test_a_one_channel_model_stays_in_one_piece(tmp_path: Path, grey_checkpoint_folder: Path) -> None:
    grey = checkpoints.load(grey_checkpoint_folder)
    evidence = gather(grey, num_parity=20, num_calibration=0, seed=0)
    for format in ("executorch", "litert"):
        manifest = convert(grey, Target(format, "fp32"), evidence, tmp_path / format)
        assert manifest.input.shape == (1, 1, 32, 32)
        assert manifest.parity.top1_agreement == 1.0
        assert manifest.delegation.pieces == 1, f"{format} fell apart: {manifest.delegation}"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnx_needs_only_the_conservative_opset_and_tells_nothing_of_the_machine(artifact, precision: str) -> None:
    folder, manifest = artifact("onnx", precision)
    model = onnx.load(folder / manifest.file("model"), load_external_data=False)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    text = model.SerializeToString()
    assert b"site-packages" not in text
    assert str(Path(__file__).parent.parent.parent).encode() not in text
    assert [file.path for file in manifest.files if file.role == "model"] == ["model.onnx"]


def test_a_model_without_data_is_compared_on_synthetic_images_and_has_no_accuracy(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    card = checkpoints.save(
        tmp_path / "brought",
        checkpoint.model,
        name=checkpoint.card.model,
        class_names=checkpoint.card.class_names,
        preprocess=checkpoint.card.preprocess,
        training=None,
    )
    brought = checkpoints.load(tmp_path / "brought")
    evidence = gather(brought, num_parity=100, num_calibration=0, seed=0)
    manifest = convert(brought, Target("torchscript", "fp32"), evidence, tmp_path / "artifact")
    assert manifest.parity.accuracy is None
    assert manifest.parity.verdict == "pass"
    assert "synthetic" in manifest.parity.reason
    assert manifest.dataset is None
    assert manifest.checkpoint_sha256 == card.weights_sha256
    with pytest.raises(UsageError, match="names no training data"):
        convert(brought, Target("onnx", "int8"), evidence, tmp_path / "int8")


def test_a_loss_is_refused_unless_it_is_allowed_and_then_marked(
    tmp_path: Path, checkpoint: Checkpoint, evidence: Evidence
) -> None:
    held_out = evidence.held_out
    other = replace(held_out, eager_logits=np.roll(held_out.eager_logits, 1, axis=1))
    with pytest.raises(LostTooMuch, match=r"top-1 agreement .* fp32 needs 1.*--allow-loss") as refused:
        convert(checkpoint, Target("eager", "fp32"), Evidence(other, None), tmp_path / "artifact")
    assert refused.value.manifest.parity.verdict == "fail"
    assert not list(tmp_path.iterdir())
    manifest = convert(
        checkpoint, Target("eager", "fp32"), Evidence(other, None), tmp_path / "artifact", allow_loss=True
    )
    assert (manifest.parity.verdict, manifest.allowed_loss) == ("fail", True)
    assert read_artifact(tmp_path / "artifact").parity.verdict == "fail"


def test_a_failing_exporter_leaves_the_old_artifact_and_no_rubbish(
    tmp_path: Path, checkpoint: Checkpoint, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target("eager", "fp32")
    old = convert(checkpoint, target, evidence, tmp_path / "artifact")

    class Broken:
        def export(self, job):
            (job.folder / "half.bin").write_bytes(b"half")
            raise RuntimeError("no kernel for aten::made_up")

    monkeypatch.setattr(convert_module, "exporter", lambda name: Broken())
    with pytest.raises(RuntimeError, match="made_up"):
        convert(checkpoint, target, evidence, tmp_path / "artifact")
    assert read_artifact(tmp_path / "artifact") == old
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_a_newer_export_replaces_the_older_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "stale.bin").write_bytes(b"old")
    with whole_folder(folder) as staging:
        (staging / "new.bin").write_bytes(b"new")
        assert (folder / "stale.bin").exists()
    assert [path.name for path in folder.iterdir()] == ["new.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")
def test_a_full_disk_is_said_in_words_and_changes_nothing(
    tmp_path: Path, checkpoint: Checkpoint, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def export(self, job):
            (job.folder / "model.bin").symlink_to("/dev/full")
            (job.folder / "model.bin").write_bytes(b"x" * 10_000)

    monkeypatch.setattr(convert_module, "exporter", lambda name: Full())
    with pytest.raises(WorkFailed, match=r"No space left on device.*What was there before is unchanged"):
        convert(checkpoint, Target("eager", "fp32"), evidence, tmp_path / "artifact")
    assert not list(tmp_path.iterdir())


def test_a_batch_runs_in_that_size_and_its_golden_output_is_of_one_image(
    tmp_path: Path, checkpoint: Checkpoint, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = ImageClassifier.forward

    def spy(self, images):
        seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(ImageClassifier, "forward", spy)
    # One image by itself counts the multiply-accumulates.
    for batch, sizes in ((7, {1, 7}), (1, {1, 3, 8}), (-1, {1, 3, 8})):
        seen.clear()
        manifest = convert(checkpoint, Target("eager", "fp32", batch), evidence, tmp_path / str(batch))
        assert manifest.parity.verdict == "pass"
        assert manifest.parity.num_images == 60
        assert set(seen) == sizes
        assert np.load(tmp_path / str(batch) / manifest.file("golden-output")).shape == (1, 4)
    assert (Target("eager", "fp32", 7).name, Target("eager", "fp32", -1).name) == (
        "eager-fp32-batch7",
        "eager-fp32-dynamic",
    )


def test_an_exporter_that_ignores_the_batch_is_found_out(
    tmp_path: Path, checkpoint: Checkpoint, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ignores:
        def export(self, job):
            return replace(eager.export(job), batch=1)

    monkeypatch.setattr(convert_module, "exporter", lambda name: Ignores())
    with pytest.raises(WorkFailed, match=r"asked for batch 4 .* and wrote 1"):
        convert(checkpoint, Target("eager", "fp32", 4), evidence, tmp_path / "artifact")


@pytest.mark.parametrize("format", ["eager", "torchscript"])
def test_the_temperature_asked_for_is_in_the_graph(
    tmp_path: Path, checkpoint_folder: Path, evidence: Evidence, format: str
) -> None:
    warm = with_temperature(checkpoints.load(checkpoint_folder), 2.0)
    halved = replace(evidence.held_out, eager_logits=evidence.held_out.eager_logits / 2)
    manifest = convert(warm, Target(format, "fp32"), Evidence(halved, None), tmp_path / "artifact")
    assert manifest.temperature == 2.0
    assert manifest.parity.max_abs_difference < 1e-3
    assert np.abs(evidence.held_out.eager_logits).max() > 1, "the comparison above proves something"
