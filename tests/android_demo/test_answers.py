"""A bundle of every task through the app's core on the JVM: what it shows is what this machine makes of the picture."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distill.vision.painting import (
    DEPTH_TWENTIETHS,
    MASK_TWENTIETHS,
    class_colours,
    depth_colours,
    over,
    paint_depths,
    scale_end_m,
)
from distill.vision.preprocess import Preprocess
from export.artifact.manifest import read_artifact
from export.bundle import write_bundle
from tests.android_demo.networks import NAMES, artifact

onnxruntime = pytest.importorskip("onnxruntime")

MAIN = "org.pocketdistill.demo.jvm.AnswerMain"


def outputs(folder: Path, preprocess: Preprocess, picture: Image.Image) -> NDArray[np.float32]:
    """What ONNX Runtime gives for a picture."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": preprocess.to_input(preprocess.resize_image(picture)[None])})[0][0]


def picture() -> Image.Image:
    """A few soft blobs, wider than high."""
    noise = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((73, 46), Image.Resampling.BICUBIC)


def test_the_app_paints_what_this_machine_paints(core_jar: Path, tmp_path: Path) -> None:
    folders = {name: artifact(tmp_path / name, name) for name in NAMES}
    write_bundle(list(folders.values()), tmp_path / "bundle", ())
    picture().save(tmp_path / "picture.png")
    command = ["java", "-Xmx256m", "-cp", str(core_jar), MAIN, str(tmp_path / "bundle"), str(tmp_path / "picture.png")]
    ended = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, dict[str, Any]] = {line["task"]: line for line in map(json.loads, ended.stdout.splitlines())}
    pixels = np.asarray(picture())
    expected = {name: outputs(folder, read_artifact(folder).preprocess, picture()) for name, folder in folders.items()}

    likeliest = [row["name"] for row in told["classification"]["likeliest"]]
    assert likeliest == [NAMES["classification"][label] for label in np.argsort(-expected["classification"])[:3]]

    labels = expected["segmentation"].argmax(axis=0)
    counts = np.bincount(labels.ravel(), minlength=len(NAMES["segmentation"]))
    assert np.count_nonzero(counts) >= 4
    rows = {row["name"]: row["share"] for row in told["segmentation"]["areas"]}
    assert len(rows) == 8
    for name, share in rows.items():
        assert share == counts[NAMES["segmentation"].index(name)] / labels.size
    assert sum(rows.values()) + told["segmentation"]["other_share"] == pytest.approx(1)
    masked = over(pixels, class_colours(len(counts))[labels], MASK_TWENTIETHS)
    np.testing.assert_array_equal(painted(tmp_path, told["segmentation"]), masked)

    metres = expected["depth"][0]
    assert told["depth"]["scale_end_m"] == scale_end_m(metres)
    mapped = over(pixels, paint_depths(metres, scale_end_m(metres), depth_colours()), DEPTH_TWENTIETHS)
    assert len(np.unique(mapped.reshape(-1, 3), axis=0)) > 30
    # Two runtimes differ in the last place, and so at times by a step of the scale.
    np.testing.assert_allclose(painted(tmp_path, told["depth"]), mapped, atol=8)


def painted(folder: Path, told: dict[str, Any]) -> NDArray[np.int64]:
    return np.asarray(Image.open(folder / f"{told['folder']}.png")).astype(np.int64)
