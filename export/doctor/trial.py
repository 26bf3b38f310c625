"""One recipe in one format: converted, run on the hold-out, timed against fp32."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from distill.checkpoint import Checkpoint
from distill.vision.tasks import TASKS
from export.artifact.manifest import FormatName, Manifest, Parity
from export.artifact.runner import open_runner
from export.convert import THREADS, convert
from export.doctor.record import Trial
from export.doctor.speed import compare
from export.formats import Target
from export.proof.evidence import Evidence
from export.quantize.recipe import QuantizationRecipe


class Laboratory:
    """Measures recipes of one format on one checkpoint.

    Args:
        checkpoint: the model.
        format: one that has int8 and a runtime here.
        evidence: the hold-out and the calibration images.
        min_quality_kept, min_agreement: what a recipe must reach on the hold-out.
        scratch: folder for artifacts that are looked at once.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        format: FormatName,
        evidence: Evidence,
        *,
        min_quality_kept: float,
        min_agreement: float,
        scratch: Path,
    ) -> None:
        self.checkpoint, self.evidence, self.scratch = checkpoint, evidence, scratch
        self.format: FormatName = format
        self.min_quality_kept, self.min_agreement = min_quality_kept, min_agreement
        folder = scratch / "fp32"
        self.fp32 = convert(checkpoint, Target(format, "fp32"), evidence, folder)
        self._call_fp32 = self._bind(folder, self.fp32)

    def measure(self, recipe: QuantizationRecipe) -> Trial:
        """Convert by a recipe, run on the hold-out, and time; any exception of the toolchain may come out."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            artifact = Path(folder) / "int8"
            manifest = self.convert(recipe, self.evidence, artifact)
            speed = compare(self._call_fp32, self._bind(artifact, manifest))
        parity, delegation = manifest.parity, manifest.delegation
        agreement = parity.top1_agreement or 0.0
        kept = self.kept(parity)
        return Trial(
            recipe=recipe,
            quality=parity.quality,
            eager_quality=parity.eager_quality,
            quality_kept=kept,
            kept_interval=parity.kept_interval,
            accuracy_interval=parity.accuracy_interval,
            top1_agreement=agreement,
            mean_abs_difference=parity.mean_abs_difference or 0.0,
            size_bytes=manifest.size_bytes,
            size_share=manifest.size_bytes / self.fp32.size_bytes,
            pieces=delegation.pieces if delegation else None,
            undelegated=sum(delegation.undelegated.values()) if delegation else 0,
            speed=speed,
            meets_limits=kept >= self.min_quality_kept and agreement >= self.min_agreement,
            seconds=time.monotonic() - started,
        )

    def kept(self, parity: Parity) -> float:
        """Quality as a share of eager's; 0 where the answers were not finite."""
        if parity.quality is None or parity.eager_quality is None:
            return 0.0
        return TASKS[self.checkpoint.card.task].measure.kept(parity.quality, parity.eager_quality)

    def report(self, recipe: QuantizationRecipe, evidence: Evidence) -> Parity:
        """A recipe on other images than those it was chosen on."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            return self.convert(recipe, evidence, Path(folder) / "int8").parity

    def convert(self, recipe: QuantizationRecipe, evidence: Evidence, folder: Path) -> Manifest:
        """The artifact by the function that exports, whatever it loses."""
        target = Target(self.format, "int8")
        return convert(self.checkpoint, target, evidence, folder, recipe=recipe, allow_loss=True)

    def _bind(self, folder: Path, manifest: Manifest) -> Callable[[], object]:
        preprocess = self.checkpoint.card.preprocess
        image = preprocess.to_input(self.evidence.held_out.images[:1])
        return open_runner(folder, manifest, threads=THREADS).bind(image).run
