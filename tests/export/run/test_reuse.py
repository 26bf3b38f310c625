from pathlib import Path

import pytest

from distill.checkpoint import Card, Checkpoint
from distill.contract import sha256_of_file
from export.artifact.manifest import MANIFEST_FILE
from export.formats import Target
from export.run import reuse, sources
from export.run.reuse import Settings, inputs_sha256, refused_before, unchanged

SETTINGS = Settings(parity_images=1000, calibration_images=200, seed=0, folder_sha256=None, recipe=None)
FP32, INT8 = Target("onnx", "fp32"), Target("onnx", "int8")


def settings(**changes: object) -> Settings:
    return Settings(**{**SETTINGS.__dict__, **changes})  # type: ignore[arg-type]


@pytest.fixture
def card(checkpoint: Checkpoint) -> Card:
    return checkpoint.card


def test_whatever_decides_an_artifact_changes_its_identity(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "as it is": inputs_sha256(card, INT8, SETTINGS),
        "weights": inputs_sha256(card.model_copy(update={"weights_sha256": "0" * 64}), INT8, SETTINGS),
        "temperature": inputs_sha256(card.model_copy(update={"temperature": 2.0}), INT8, SETTINGS),
        "labels": inputs_sha256(card.model_copy(update={"class_names": ("a", "b", "c", "d")}), INT8, SETTINGS),
        "data": inputs_sha256(card.model_copy(update={"training": None}), INT8, SETTINGS),
        "precision": inputs_sha256(card, FP32, SETTINGS),
        "format": inputs_sha256(card, Target("litert", "int8"), SETTINGS),
        "batch": inputs_sha256(card, Target("onnx", "int8", 4), SETTINGS),
        "seed": inputs_sha256(card, INT8, settings(seed=1)),
        "parity images": inputs_sha256(card, INT8, settings(parity_images=10)),
        "calibration images": inputs_sha256(card, INT8, settings(calibration_images=10)),
        "calibration folder": inputs_sha256(card, INT8, settings(folder_sha256="f" * 64)),
        "recipe": inputs_sha256(card, INT8, settings(recipe={"calibrator": "mse"})),
    }
    monkeypatch.setattr(reuse, "version", lambda name: "0" if name == "onnxruntime" else "1")
    found["package"] = inputs_sha256(card, INT8, SETTINGS)
    monkeypatch.setattr(reuse, "_code_sha256", lambda name: "other code")
    found["code"] = inputs_sha256(card, INT8, SETTINGS)
    assert len(set(found.values())) == len(found)


def test_what_does_not_decide_an_artifact_does_not(card: Card) -> None:
    fp32 = inputs_sha256(card, FP32, SETTINGS)
    assert inputs_sha256(card, FP32, SETTINGS) == fp32
    assert inputs_sha256(card, FP32, settings(calibration_images=10)) == fp32
    assert inputs_sha256(card, FP32, settings(folder_sha256="f" * 64)) == fp32
    assert inputs_sha256(card, FP32, settings(recipe={"calibrator": "mse"})) == fp32
    assert inputs_sha256(card.model_copy(update={"versions": {"torch": "0"}}), FP32, SETTINGS) == fp32


def test_the_folder_judges_a_model_without_data_in_every_precision(card: Card) -> None:
    bare = card.model_copy(update={"training": None})
    assert inputs_sha256(bare, FP32, settings(folder_sha256="f" * 64)) != inputs_sha256(bare, FP32, SETTINGS)


def test_the_source_of_a_network_of_ones_own_counts(
    tmp_path: Path, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    own = card.model_copy(update={"model": "python:own_network_for_reuse:make"})
    without = inputs_sha256(own, FP32, SETTINGS)
    reuse._source_of_network.cache_clear()
    (tmp_path / "own_network_for_reuse.py").write_text("raise RuntimeError('nobody imports this')")
    assert inputs_sha256(own, FP32, SETTINGS) != without


def test_only_a_whole_artifact_of_the_same_inputs_is_kept(tmp_path: Path, artifact) -> None:
    folder, manifest = artifact("eager", "fp32")
    assert unchanged(folder, manifest.inputs_sha256) == manifest
    assert unchanged(folder, "other inputs") is None
    assert unchanged(tmp_path, manifest.inputs_sha256) is None
    refusal = tmp_path / "eager-fp32.refused.json"
    assert refused_before(refusal, manifest.inputs_sha256) is None
    manifest.write(refusal)
    assert refused_before(refusal, manifest.inputs_sha256) == manifest
    assert refused_before(refusal, "other inputs") is None
    refusal.write_text("{")
    assert refused_before(refusal, manifest.inputs_sha256) is None
    assert sha256_of_file(folder / MANIFEST_FILE)


def test_the_code_that_counts_is_what_the_exporter_and_the_runner_import() -> None:
    found = {
        path.relative_to(sources.ROOT).as_posix()
        for path in sources.closure(["export.convert", "export.formats.onnx.exporter"])
    }
    assert {
        "export/formats/onnx/exporter.py",
        "export/proof/parity.py",
        "export/proof/limits.py",
        "distill/vision/models/ghostnet.py",
    } <= found
    assert "distill/vision/__init__.py" in found
    assert not found & {
        "export/formats/litert/exporter.py",
        "export/formats/coreml/exporter.py",
        "export/bundle.py",
        "distill/terminal.py",
    }
    assert "export/artifact/onnx.py" in {
        path.relative_to(sources.ROOT).as_posix() for path in sources.closure(["export.artifact.onnx"])
    }
