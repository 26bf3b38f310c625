"""Artifacts small enough to be built in a test: a real ONNX model, and formats that a stand-in worker serves."""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.record import Conditions, Device, Launch, Measurement, Subject
from distill.contract import sha256_of_file
from distill.vision.preprocess import Preprocess
from export.artifact.answers import Answers
from export.artifact.manifest import (
    MANIFEST_FILE,
    SINCE_VERSION_5,
    SINCE_VERSION_6,
    ArtifactFile,
    Manifest,
    Parity,
    TensorSpec,
)

SIZE_PX = 8
CLASSES = ("a", "b", "c")

MakeArtifact = Callable[..., Path]
MakeMeasurement = Callable[..., Measurement]


def write_onnx(path: Path, weights: np.ndarray, batch: int) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIZE_PX, SIZE_PX])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(CLASSES)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def file_entry(folder: Path, name: str, role: Any) -> ArtifactFile:
    path = folder / name
    return ArtifactFile(path=name, role=role, sha256=sha256_of_file(path), size_bytes=path.stat().st_size)


@pytest.fixture
def make_artifact(tmp_path: Path, make_artifact_in: MakeArtifact) -> MakeArtifact:
    """make_artifact(name, format="onnx", model_bytes=None, golden=True, weights=None, **manifest fields)
    -> folder."""
    return partial(make_artifact_in, tmp_path)


@pytest.fixture(scope="session")
def make_artifact_in() -> MakeArtifact:
    """Like make_artifact, with the folder to make it in as the first argument."""

    def make(
        root: Path,
        name: str,
        *,
        format: str = "onnx",
        model_bytes: bytes | None = None,
        golden: bool = True,
        weights: np.ndarray | None = None,
        **fields: Any,
    ) -> Path:
        folder = root / "artifacts" / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(7)
        random_weights = rng.normal(size=(3 * SIZE_PX**2, len(CLASSES))).astype(np.float32)
        weights = random_weights if weights is None else weights
        images = rng.random((1, 3, SIZE_PX, SIZE_PX), dtype=np.float32)
        if model_bytes is None:
            write_onnx(folder / "model.bin", weights, batch=1)
        else:
            (folder / "model.bin").write_bytes(model_bytes)
        files = [file_entry(folder, "model.bin", "model")]
        if golden:
            np.save(folder / "golden_input.npy", images)
            np.save(folder / "golden_output.npy", images.reshape(1, -1) @ weights)
            files.append(file_entry(folder, "golden_input.npy", "golden-input"))
            files.append(file_entry(folder, "golden_output.npy", "golden-output"))
        values: dict[str, Any] = {
            "inputs_sha256": "i" * 64,
            "format": format,
            "precision": "fp32",
            "scheme": "fp32",
            "recipe": None,
            "files": tuple(files),
            "model": name,
            "num_parameters": weights.size,
            "macs": weights.size,
            "checkpoint_sha256": hashlib.sha256(name.encode()).hexdigest(),
            "teacher_sha256": None,
            "method": None,
            "task": "classification",
            "class_names": CLASSES,
            "preprocess": Preprocess(size_px=SIZE_PX, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3),
            "temperature": 1.0,
            "dataset": None,
            "input": TensorSpec(
                name="image", shape=(1, 3, SIZE_PX, SIZE_PX), dtype="float32", layout="NCHW", value_range=(0.0, 1.0)
            ),
            "output": TensorSpec(
                name="logits", shape=(1, len(CLASSES)), dtype="float32", layout="NC", value_range=None
            ),
            "calibration": None,
            "delegation": None,
            "parity": Parity(
                verdict="pass",
                reason="",
                judged_by="agreement",
                limit=1.0,
                proven_by="onnxruntime",
                images="held-out",
                num_images=100,
                max_abs_difference=0.0,
                mean_abs_difference=0.0,
                top1_agreement=1.0,
                accuracy=0.9,
                eager_accuracy=0.9,
                accuracy_interval=(0.0, 0.0),
                **dict.fromkeys((*SINCE_VERSION_5, *SINCE_VERSION_6)),
            ),
            "allowed_loss": False,
            "notes": (),
            "versions": {},
            "minimum_runtime": None,
        }
        Manifest(**{**values, **fields}).write(folder / MANIFEST_FILE)
        return folder

    return make


def make_launch(sample_count: int) -> Launch:
    return Launch(
        sample_count=sample_count,
        warmup_count=10,
        warmup_s=0.5,
        steady=True,
        load_ms=12.0,
        first_inference_ms=4.0,
        other_work_share=0.01,
        stolen_share=0.0,
        waiting_share=0.0,
    )


IMAGES = 1200


def answering(wrong: Iterable[int], order: str = "the same images") -> dict[str, Any]:
    """What a subject says of a model that answers all but these of `IMAGES` images rightly, but for its accuracy."""
    right = np.ones(IMAGES, dtype=bool)
    right[list(wrong)] = False
    return {"accuracy_images": IMAGES, "answers": Answers.of(right, order)}


@pytest.fixture(scope="session")
def make_measurement() -> MakeMeasurement:
    """make_measurement(name="student", samples_ms=(…), launch_counts=(…), **fields of Measurement or Subject)
    -> Measurement; all samples belong to one launch if no counts are given."""

    def make(name: str = "student", **fields: Any) -> Measurement:
        samples_ms = fields.get("samples_ms", (1.0, 2.0, 3.0))
        launch_counts = fields.get("launch_counts", (len(samples_ms),) if samples_ms else ())
        format_name = fields.get("format", "onnx")
        identity = hashlib.sha256(f"{name} {format_name} {fields.get('precision')}".encode()).hexdigest()
        subject = {
            "name": name,
            "task": "classification",
            "format": format_name,
            "precision": "fp32",
            "model": name,
            "method": None,
            "manifest_sha256": identity,
            "checkpoint_sha256": f"checkpoint of {name}",
            "teacher_sha256": None,
            "num_parameters": 1_500_000,
            "size_bytes": 6_000_000,
            "accuracy": 0.9,
            "top1_agreement": 1.0,
            "accuracy_images": 1000,
            "macs": 50_000_000,
            "answers": None,
        }
        row = {
            "run_id": "run",
            "seed": 0,
            "utc_time": "2026-01-02T03:04:05+00:00",
            "toolkit_version": "0.1.0",
            "device": Device(
                kind="cpu",
                name="Test CPU",
                os="Test OS 1",
                cores=2,
                memory_bytes=2**33,
                instrument=None,
                serial=None,
                emulated=False,
            ),
            "conditions": Conditions(
                load_average_before=0.5,
                busy_share_before=0.01,
                cpu_mhz_before=2500.0,
                cpu_mhz_after=None,
                temperature_celsius=None,
                thermal_status=None,
                battery_celsius=None,
                battery_percent=None,
                hot_start=False,
                fixed_performance=False,
            ),
            "runtime": "onnxruntime",
            "runtime_version": "1.31.1",
            "threads": 1,
            "threads_active": 1,
            "accelerator_requested": None,
            "accelerator_active": None,
            "batch": 1,
            "input": "golden",
            "samples_ms": samples_ms,
            "launches": tuple(make_launch(count) for count in launch_counts),
            "load_ms": 12.0,
            "first_inference_ms": 4.0,
            "runtime_memory_bytes": 2**26,
            "loaded_memory_bytes": 2**27,
            "peak_memory_bytes": 2**28,
            "measured_accuracy": None,
            "measured_agreement": None,
            "measured_images": 0,
            "measured_note": "",
            "answered": None,
            "path": None,
            "repeated": None,
            "validity": "valid",
            "reason": "",
        }
        subject.update({key: value for key, value in fields.items() if key in subject})
        row.update({key: value for key, value in fields.items() if key not in (*subject, "launch_counts")})
        return Measurement(subject=Subject(**subject), **row)

    return make
