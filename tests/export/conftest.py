"""A tiny network trained for a second on coloured pictures, as a checkpoint, and artifacts made from it, all once."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill import checkpoint as checkpoints
from distill.checkpoint import Checkpoint, DataIdentity, Metrics, Training
from distill.system import child_environment
from distill.vision.datasets import ImageFolder
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from export.artifact.manifest import Manifest, read_artifact
from export.convert import convert
from export.formats import Target
from export.proof.evidence import Evidence, gather
from tests.conftest import MakeOnce

ROOT = Path(__file__).parents[2]
CLASSES = ("blue", "green", "grey", "red")
COLOURS = ((60, 60, 190), (60, 190, 60), (125, 125, 125), (190, 60, 60))
MODEL = "timm:test_efficientnet"

MakeArtifact = Callable[[str, str], tuple[Path, Manifest]]

MADE_ALONE = (("executorch", "int8"), ("onnx", "int8"), ("litert", "int8"), ("coreml", "fp16"), ("coreml", "palette4"))
"""Artifacts that an interpreter of their own makes, in which nothing was made before."""

CONVERT = """
import sys
from pathlib import Path
from distill import checkpoint
from export.convert import convert
from export.formats import Target
from export.proof.evidence import Evidence
format, precision, model, evidence, folder = sys.argv[1:]
loaded, images = checkpoint.load(Path(model)), Evidence.load(Path(evidence))
convert(loaded, Target(format, precision), images, Path(folder), allow_loss=True)
"""


def write_pictures(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("validation", 15)):
        for name, colour in zip(CLASSES, COLOURS, strict=True):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 70, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")


def train(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> None:
    """Far enough that classes are apart: agreement of logits that differ by rounding alone would prove nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:32]
        loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def write_checkpoint(folder: Path, data: Path, *, channels: int, steps: int = 30) -> Path:
    preprocess = Preprocess.model_validate(
        {"size_px": 32, "channels": channels, "mean": (0.45,) * channels, "std": (0.3,) * channels}
    )
    config = ImageFolder.model_validate({"path": str(data), "channels": channels})
    splits = {name: config.load(name, preprocess) for name in ("train", "validation")}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(MODEL, num_classes=len(CLASSES), preprocess=preprocess).train()
    images = torch.from_numpy(preprocess.to_input(np.asarray(splits["train"].images)))
    train(model, images, torch.from_numpy(splits["train"].labels), steps)
    metrics = Metrics(epoch=1, accuracy=1.0, macro_f1=1.0, ece=0.0, entropy_nats=0.0, loss=0.0)
    identity = DataIdentity(
        config=config,
        train_sha256=splits["train"].sha256(),
        validation_sha256=splits["validation"].sha256(),
        num_train=len(splits["train"]),
        num_validation=len(splits["validation"]),
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
    checkpoints.save(folder, model.eval(), name=MODEL, class_names=CLASSES, preprocess=preprocess, training=training)
    return folder


@pytest.fixture(scope="session")
def pictures(make_once: MakeOnce) -> Path:
    return make_once("pictures", write_pictures)


@pytest.fixture(scope="session")
def checkpoint_folder(make_once: MakeOnce, pictures: Path) -> Path:
    return make_once("tiny", lambda run: write_checkpoint(run / "best", pictures, channels=3)) / "best"


@pytest.fixture(scope="session")
def grey_checkpoint_folder(make_once: MakeOnce, pictures: Path) -> Path:
    return make_once("grey", lambda folder: write_checkpoint(folder, pictures, channels=1))


@pytest.fixture(scope="session")
def checkpoint(checkpoint_folder: Path) -> Checkpoint:
    return checkpoints.load(checkpoint_folder)


@pytest.fixture(scope="session")
def evidence(checkpoint: Checkpoint) -> Evidence:
    return gather(checkpoint, num_parity=60, num_calibration=40, seed=0)


@pytest.fixture(scope="session")
def artifact(make_once: MakeOnce, checkpoint: Checkpoint, evidence: Evidence) -> MakeArtifact:
    """artifact(format, precision) -> its folder and manifest, made once in a session. Do not write into the folder.

    What fails its limits is there too: a test looks at the verdict itself.
    """

    def make_alone(target: Target, folder: Path) -> None:
        images = make_once("evidence.npz", evidence.save)
        arguments = [target.format, target.precision, str(checkpoint.folder), str(images), str(folder)]
        command = [sys.executable, "-W", "ignore", "-c", CONVERT, *arguments]
        done = subprocess.run(command, env=child_environment(), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    @functools.cache
    def make(format: str, precision: str) -> tuple[Path, Manifest]:
        target = Target(format, precision)  # type: ignore[arg-type]

        def write(folder: Path) -> None:
            if (format, precision) in MADE_ALONE:
                make_alone(target, folder)
            else:
                convert(checkpoint, target, evidence, folder, allow_loss=True)

        folder = make_once(target.name, write)
        return folder, read_artifact(folder)

    return make
