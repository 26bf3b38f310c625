"""From a checkpoint to one artifact: export, run against eager, write the manifest last."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from distill.checkpoint import Checkpoint
from distill.contract import sha256_of_file
from distill.errors import ToolError, UsageError, WorkFailed
from distill.vision.deployment import Deployment, deployed
from distill.vision.macs import count_macs
from distill.vision.models.dense.small_answers import leave_small
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS
from export.artifact.manifest import ANY_BATCH, MANIFEST_FILE, ArtifactFile, Manifest, TensorSpec
from export.artifact.runner import RUNNERS, Batch, open_runner, run_all
from export.artifact.staging import whole_folder
from export.formats import Target, exporter, why_not
from export.formats.causes import in_words
from export.formats.job import ExportedModel, ExportJob
from export.graph.provenance import shared_histories
from export.graph.watch import reads_of_the_picture
from export.proof import golden, parity
from export.proof.evidence import Evidence, further
from export.proof.limits import FLOAT_MIN_AGREEMENT
from export.quantize.kept import Kept
from export.quantize.recipe import QuantizationRecipe
from export.quantize.weight_corrections import corrected

THREADS = 1
"""Workers run side by side instead. At batch 1, threads wait for each other after every small operation: with two of
them on a busy two-core machine, an eager export took 261 s instead of 12 s."""


_deployments = Kept[Deployment]()


class LostTooMuch(WorkFailed):
    """The artifact ran and fails its limits; `manifest` is what it would have said of itself."""

    def __init__(self, manifest: Manifest) -> None:
        other = "--precision"
        if manifest.precision == "fp32":
            other = "--format: this toolchain computes something else"
            if manifest.format == "executorch":
                other += " (executorch-portable computes without XNNPACK)"
        super().__init__(
            f"refused: {manifest.parity.reason}. It was not put in place; try another {other}, or accept the loss with "
            "--allow-loss"
        )
        self.manifest = manifest


class CannotRun(WorkFailed):
    """The artifact was written, and what runs its format here does not open it."""


def convert(
    checkpoint: Checkpoint,
    target: Target,
    evidence: Evidence,
    folder: Path,
    *,
    recipe: QuantizationRecipe | None = None,
    allow_loss: bool = False,
    inputs_sha256: str = "",
) -> Manifest:
    """Make the artifact `folder`, which appears whole or not at all; an older one is replaced.

    Args:
        checkpoint: the loaded model; it is not changed.
        target: format, precision and batch.
        evidence: images to judge on, and to calibrate with if the target needs it.
        folder: the artifact's folder.
        recipe: settings of the quantizer; None = the exporter's own choice. Without effect on float precisions.
        allow_loss: write an artifact that fails its limits all the same, or one that cannot be run here although its
            format can; its manifest says so.
        inputs_sha256: identity of all of this (`export.run.reuse`); empty if the artifact will not be looked for again.

    Returns:
        The manifest, as it lies in the folder.

    Raises:
        UsageError: a pair that does not exist here.
        LostTooMuch: it fails its limits.
        CannotRun: what runs the format here does not open it.
        WorkFailed: full disk or unwritable folder; a network that branches on its picture. Any other exception is the
            toolchain's own.
    """
    reason = why_not(target, has_data=evidence.calibration is not None)
    if reason is not None:
        raise UsageError(f"{target.format} cannot be exported in {target.precision}: {reason}.")
    torch.set_num_threads(THREADS)
    form = deployment_of(checkpoint)
    in_form = in_deployed_form(checkpoint)
    with whole_folder(folder) as staging:
        exported = export_model(in_form, target, evidence, staging, recipe)
        require_batch(target, exported)
        exported = replace(exported, notes=(*exported.notes, *deployment_notes(checkpoint, form)))
        draft = describe(in_form, target, exported, evidence, staging)
        manifest = prove(draft, target, evidence, staging, partial(further, checkpoint), allow_unproven=allow_loss)
        manifest = manifest.model_copy(update={"inputs_sha256": inputs_sha256})
        if manifest.parity.verdict == "fail":
            if not allow_loss:
                raise LostTooMuch(manifest)
            manifest = manifest.model_copy(update={"allowed_loss": True})
        manifest.write(staging / MANIFEST_FILE)
    return manifest


def with_temperature(checkpoint: Checkpoint, temperature: float) -> Checkpoint:
    """The same weights, their logits divided by `temperature` instead of the one that the card names."""
    checkpoint.model.temperature = temperature
    card = checkpoint.card.model_copy(update={"temperature": temperature})
    return replace(checkpoint, card=card)


def with_small_answers(checkpoint: Checkpoint) -> Checkpoint:
    """The same weights, without the enlarging at the end of a network for every pixel; errors as `leave_small`."""
    leave_small(checkpoint.model, checkpoint.card.preprocess.input_shape)
    return checkpoint


def deployment_of(checkpoint: Checkpoint) -> Deployment:
    """The checkpoint's model in the form that is deployed, made once for all artifacts of one process."""
    model, shape = checkpoint.model, checkpoint.card.preprocess.input_shape
    return _deployments.get(model, model.temperature, lambda: deployed(model, shape))


def in_deployed_form(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint with its model as it is deployed."""
    return replace(checkpoint, model=deployment_of(checkpoint).model)


def deployment_notes(checkpoint: Checkpoint, form: Deployment) -> tuple[str, ...]:
    """What a user of the file has to know of its form, one sentence each."""
    notes: list[str] = []
    if form.folded:
        shape = checkpoint.card.preprocess.input_shape
        before, after = (count_macs(model, shape) for model in (checkpoint.model, form.model))
        notes.append(
            f"branches that only training needs are folded (reparameterised): {num_parameters(checkpoint.model):,} "
            f"parameters became {num_parameters(form.model):,}, {before:,} multiply-accumulates {after:,}"
        )
    if form.num_fixed:
        notes.append(f"weights that {form.num_fixed} layers compute from weights in every call are computed once")
    if form.failure is not None:
        notes.append(f"branches that only training needs could not be folded: {form.failure}")
    return tuple(notes)


def num_parameters(model: torch.nn.Module) -> int:
    """Of its network, all together."""
    return sum(parameter.numel() for parameter in model.parameters())


def export_model(
    checkpoint: Checkpoint,
    target: Target,
    evidence: Evidence,
    staging: Path,
    recipe: QuantizationRecipe | None,
) -> ExportedModel:
    """Let the format's exporter write the model into `staging`.

    Raises:
        WorkFailed: it failed, and the network branches on its picture, which no trace can follow. Any other exception
            is the toolchain's own.
    """
    card = checkpoint.card
    calibration = evidence.calibration if target.calibrated else None
    images = None if calibration is None else card.preprocess.to_input(calibration.images)
    quantized = target.precision not in FLOAT_MIN_AGREEMENT
    model = corrected(checkpoint.model, recipe, images) if quantized else checkpoint.model
    job = ExportJob(
        model=model,
        card=card,
        precision=target.precision,
        batch=target.batch,
        calibration_images=images,
        checkpoint=checkpoint.folder,
        folder=staging,
        recipe=recipe,
    )
    with warnings_to_log(), shared_histories():
        try:
            return exporter(target.format).export(job)
        except ToolError:
            raise
        except Exception as error:
            if places := reads_of_the_picture(model, job.example):
                raise WorkFailed(
                    f"the network branches on its picture, which no graph of {target.format} can follow: "
                    f"{'; '.join(map(str, places[:3]))}. Write it without reading the value, e.g. with torch.where. "
                    f"The toolchain said: {in_words(error)}"
                ) from error
            raise


def require_batch(target: Target, exported: ExportedModel) -> None:
    """Raise WorkFailed unless the file takes the batch that was asked for."""
    if exported.batch not in (ANY_BATCH, target.batch):
        raise WorkFailed(
            f"the {target.format} exporter was asked for batch {target.batch} (-1 = any) and wrote {exported.batch}. "
            "The network has its batch size baked in; export it for batch 1."
        )


@contextmanager
def warnings_to_log() -> Iterator[None]:
    """Print warnings to stderr, which a worker keeps as its log: converters warn by the hundred of their insides."""

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def describe(
    checkpoint: Checkpoint, target: Target, exported: ExportedModel, evidence: Evidence, staging: Path
) -> Manifest:
    """The manifest of a model that has been written but not run; lists the model's files only."""
    card, training = checkpoint.card, checkpoint.card.training
    calibrator = exported.calibrator
    return Manifest(
        inputs_sha256="",
        format=target.format,
        precision=target.precision,
        scheme=exported.scheme,
        recipe=None if exported.recipe is None else dict(exported.recipe),
        files=tuple(_hashed(staging, path.as_posix(), "model") for path in exported.files),
        task=card.task,
        model=card.model,
        num_parameters=num_parameters(checkpoint.model),
        macs=count_macs(checkpoint.model, card.preprocess.input_shape),
        checkpoint_sha256=card.weights_sha256,
        teacher_sha256=training.teacher_sha256 if training else None,
        method=training.method if training else None,
        class_names=card.class_names,
        preprocess=card.preprocess,
        temperature=card.temperature,
        dataset=training.data.at(checkpoint.data) if training else None,
        input=TensorSpec(
            name=exported.input_name,
            shape=(exported.batch, *card.preprocess.input_shape),
            dtype="float32",
            layout="NCHW",
            value_range=(0.0, 1.0),
        ),
        output=TensorSpec(
            name=exported.output_name,
            shape=(exported.batch, *evidence.held_out.eager_logits.shape[1:]),
            dtype="float32",
            layout="NCHW" if TASKS[card.task].is_dense else "NC",
            value_range=None,
        ),
        calibration=evidence.calibration.record(calibrator) if calibrator and evidence.calibration else None,
        delegation=exported.delegation,
        parity=parity.not_run("not measured yet", evidence.held_out),
        allowed_loss=False,
        notes=(*exported.notes, *_size_notes(evidence.held_out.eager_logits, card.preprocess)),
        versions=exported.versions,
        minimum_runtime=exported.minimum_runtime,
    )


def _size_notes(answers: Batch, preprocess: Preprocess) -> tuple[str, ...]:
    """What a user of answers that are smaller than the picture has to know."""
    size = answers.shape[2:]
    if size in ((), (preprocess.size_px,) * 2):
        return ()
    return (
        f"answers are of {size[0]} x {size[1]}: enlarge them to the picture (bilinear, half-pixel centres) before you "
        "take the likeliest class or read metres; quality was judged so",
    )


def prove(
    draft: Manifest,
    target: Target,
    evidence: Evidence,
    staging: Path,
    more: parity.Further,
    *,
    allow_unproven: bool = False,
) -> Manifest:
    """Run the model against eager in the batch that was asked for, and write golden input and output.

    Where one image per call was asked for and the artifact takes any number, that is what is proven. `more` gives
    further images where those at hand leave the answer open.

    The golden output is what the artifact itself gave, or eager if it cannot run here.

    Raises:
        CannotRun: its runtime cannot open it, and `allow_unproven` is False.
    """
    held_out, preprocess = evidence.held_out, draft.preprocess
    image, logits = preprocess.to_input(held_out.images[:1]), held_out.eager_logits[:1]
    runner, obstacle = None, f"{draft.format} models cannot run on this machine"
    if draft.format in RUNNERS:
        try:
            runner = open_runner(staging, draft, threads=THREADS)
        except UsageError as error:
            obstacle = f"unproven, what runs {draft.format} here cannot open it: {error}"
            if not allow_unproven:
                raise CannotRun(
                    f"it was converted and cannot be proven here: {error}. Keep it unproven with --allow-loss, or take "
                    "another --format."
                ) from error
    if runner is not None:
        batch = draft.input.shape[0] if target.batch == 1 else target.batch
        verdict = parity.measure(runner, held_out, preprocess, draft.precision, batch, more)
        logits = run_all(runner, image, batch_sizes=(1 if batch == ANY_BATCH else batch,))
    else:
        verdict = parity.not_run(obstacle, held_out)
    golden.write(staging, image, logits)
    files = (
        *draft.files,
        _hashed(staging, golden.INPUT_FILE, "golden-input"),
        _hashed(staging, golden.OUTPUT_FILE, "golden-output"),
    )
    return draft.model_copy(update={"parity": verdict, "files": files})


def _hashed(staging: Path, name: str, role: str) -> ArtifactFile:
    path = staging / name
    return ArtifactFile.model_validate(
        {"path": name, "role": role, "sha256": sha256_of_file(path), "size_bytes": path.stat().st_size}
    )
