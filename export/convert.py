"""From a checkpoint to one artifact: export, run against eager, write the manifest last."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from distill.checkpoint import Checkpoint
from distill.contract import sha256_of_file
from distill.errors import UsageError
from export import golden, parity
from export.artifact.manifest import MANIFEST_FILE, ArtifactFile, Manifest, TensorSpec
from export.artifact.runner import RUNNERS, open_runner
from export.evidence import Evidence
from export.formats import Target, exporter, why_not
from export.job import ExportedModel, ExportJob
from export.staging import whole_folder

THREADS = 1
"""Workers run side by side instead. At batch 1, threads wait for each other after every small operation: with two of
them on a busy two-core machine, an eager export took 261 s instead of 12 s."""


def convert(checkpoint: Checkpoint, target: Target, evidence: Evidence, folder: Path) -> Manifest:
    """Make the artifact `folder`, which appears whole or not at all; an older one is replaced.

    A model that fails its parity limits is written all the same: the verdict stands in the manifest.

    Args:
        checkpoint: the loaded model; it is not changed.
        target: format and precision.
        evidence: images to judge on, and to calibrate with if the target needs it.
        folder: the artifact's folder.

    Returns:
        The manifest, as it lies in the folder.

    Raises:
        UsageError: a pair that does not exist here.
        WorkFailed: full disk or unwritable folder. Any other exception is the toolchain's own.
    """
    reason = why_not(target, has_data=evidence.calibration is not None)
    if reason is not None:
        raise UsageError(f"{target.format} cannot be exported in {target.precision}: {reason}.")
    torch.set_num_threads(THREADS)
    with whole_folder(folder) as staging:
        exported = export_model(checkpoint, target, evidence, staging)
        draft = describe(checkpoint, target, exported, evidence)
        manifest = prove(draft, evidence, staging)
        manifest.write(staging / MANIFEST_FILE)
    return manifest


def export_model(checkpoint: Checkpoint, target: Target, evidence: Evidence, staging: Path) -> ExportedModel:
    """Let the format's exporter write the model into `staging`."""
    preprocess = checkpoint.card.preprocess
    calibration = evidence.calibration if target.calibrated else None
    job = ExportJob(
        model=checkpoint.model,
        preprocess=preprocess,
        precision=target.precision,
        calibration_images=None if calibration is None else preprocess.to_input(calibration.images),
        checkpoint=checkpoint.folder,
        folder=staging,
    )
    with warnings_to_log():
        return exporter(target.format).export(job)


@contextmanager
def warnings_to_log() -> Iterator[None]:
    """Print warnings to stderr, which a worker keeps as its log: converters warn by the hundred of their insides."""

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def describe(checkpoint: Checkpoint, target: Target, exported: ExportedModel, evidence: Evidence) -> Manifest:
    """The manifest of a model that has been written but not run; lists the model's files only."""
    card, training = checkpoint.card, checkpoint.card.training
    calibrator = exported.calibrator
    return Manifest(
        format=target.format,
        precision=target.precision,
        scheme=exported.scheme,
        files=tuple(ArtifactFile(path=p.as_posix(), role="model", sha256="", size_bytes=0) for p in exported.files),
        model=card.model,
        num_parameters=card.num_parameters,
        checkpoint_sha256=card.weights_sha256,
        teacher_sha256=training.teacher_sha256 if training else None,
        method=training.method if training else None,
        class_names=card.class_names,
        preprocess=card.preprocess,
        dataset=training.data.config if training else None,
        input=TensorSpec(
            name=exported.input_name,
            shape=(exported.batch, *card.preprocess.input_shape),
            dtype="float32",
            layout="NCHW",
            value_range=(0.0, 1.0),
        ),
        output=TensorSpec(
            name=exported.output_name,
            shape=(exported.batch, len(card.class_names)),
            dtype="float32",
            layout="NC",
            value_range=None,
        ),
        calibration=evidence.calibration.record(calibrator) if calibrator and evidence.calibration else None,
        delegation=exported.delegation,
        parity=parity.not_run("not measured yet"),
        versions=exported.versions,
        minimum_runtime=exported.minimum_runtime,
    )


def prove(draft: Manifest, evidence: Evidence, staging: Path) -> Manifest:
    """Run the model against eager, write golden input and output, and hash every file.

    The golden output is what the artifact itself gave, or eager if it cannot run here.
    """
    held_out, preprocess = evidence.held_out, draft.preprocess
    image, logits = preprocess.to_input(held_out.images[:1]), held_out.eager_logits[:1]
    if draft.format in RUNNERS:
        runner = open_runner(staging, draft, threads=THREADS)
        verdict = parity.measure(runner, held_out, preprocess, draft.precision)
        logits = runner.bind(image)()
    else:
        verdict = parity.not_run(f"{draft.format} models cannot run on this machine")
    golden.write(staging, image, logits)
    files = (
        *(_hashed(staging, file.path, "model") for file in draft.files),
        _hashed(staging, golden.INPUT_FILE, "golden-input"),
        _hashed(staging, golden.OUTPUT_FILE, "golden-output"),
    )
    return draft.model_copy(update={"parity": verdict, "files": files})


def _hashed(staging: Path, name: str, role: str) -> ArtifactFile:
    path = staging / name
    return ArtifactFile.model_validate(
        {"path": name, "role": role, "sha256": sha256_of_file(path), "size_bytes": path.stat().st_size}
    )
