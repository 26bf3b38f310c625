"""What the command line asks of a GPU, and the bench that does it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

from bench.cpu.device import CellRun, CpuBench, MachineState
from bench.cpu.options import HostOptions, open_cpu
from bench.cpu.worker import GpuWatch, Job, Task
from bench.cpu.workers import Workers
from bench.cuda.probe import Gpu, driver_version, find_gpu
from bench.cuda.state import read_state
from bench.cuda.worker import GpuJob
from bench.record import Device, Measurement
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.session.cells import Cell, NotMeasured, Plan, describe_artifact
from bench.session.resume import Place
from bench.session.variants import ENGINES, PRECISIONS, Engine, Precision, Variant
from distill.errors import UsageError
from export.artifact.manifest import Manifest

WORKER = (sys.executable, "-m", "bench.cuda.worker")
MAX_BUSY_PERCENT = 10

EVERY_ENGINE: tuple[Engine, ...] = get_args(Engine)
EVERY_PRECISION: tuple[Precision, ...] = get_args(Precision)

Word = TypeVar("Word", bound=str)


@dataclass(frozen=True)
class CudaOptions:
    """As on the command line.

    Attributes:
        engines: what runs the artifacts, comma-separated; each that fits an artifact's format makes a row.
        precisions: what they are computed in, comma-separated.
        l2: state of the L2 cache before each call, warm or cold.
        copy_input: whether the copy of the input to the GPU is timed, too.
    """

    engines: str = ",".join(EVERY_ENGINE)
    precisions: str = "fp32"
    l2: str = "warm"
    copy_input: bool = False


@dataclass(frozen=True, kw_only=True)
class CudaBench(CpuBench):
    """Measures cells on a GPU: the launches, rounds and labels of `CpuBench`, in workers of another kind.

    Attributes:
        gpu: the GPU.
        driver: version of its driver.
        engines, precisions: what was asked for.
        has_onnxruntime: whether ONNX Runtime has its CUDA provider.
        cold_l2, copied_input: as in `Variant`.
    """

    gpu: Gpu
    driver: str | None
    engines: tuple[Engine, ...]
    precisions: tuple[Precision, ...]
    has_onnxruntime: bool
    cold_l2: bool = False
    copied_input: bool = False

    def refusal(self, manifest: Manifest) -> str | None:
        """Why this GPU cannot run an artifact, or None."""
        if manifest.format not in ENGINES:
            return f"no runner for {manifest.format} on a GPU; there is one for {', '.join(ENGINES)}"
        if manifest.precision != "fp32":
            return f"{manifest.precision} artifacts are made for processors; on a GPU measure the fp32 one"
        if manifest.format == "onnx" and not self.has_onnxruntime:
            return "onnxruntime is not installed with its CUDA provider: pip install onnxruntime-gpu"
        if not self._variants(manifest):
            return f"--engines and --precisions leave no way to run {manifest.format}"
        return None

    def caution(self) -> str | None:
        """What about this machine or its GPU will spoil the measurements, or None."""
        state = read_state(self.gpu.uuid)
        warnings = [super().caution()]
        if state is None:
            warnings.append("nvidia-smi says nothing of this GPU: its clocks, heat and slow-downs will not be known")
        elif (state.busy_percent or 0) > MAX_BUSY_PERCENT:
            warnings.append(f"the GPU is {state.busy_percent:.0f} % busy with other work; latencies will be too high")
        return "; ".join(warning for warning in warnings if warning) or None

    def spread(self, plan: Plan) -> Plan:
        """The plan with one cell per variant in place of each cell, and what of it cannot be had."""
        cells = [replace(cell, variant=variant) for cell in plan.cells for variant in self._variants(cell.manifest)]
        artifacts = {cell.folder: cell.manifest for cell in plan.cells}
        missing = [
            NotMeasured(describe_artifact(manifest), f"it cannot be computed in {precision} on this GPU", broken=False)
            for manifest in artifacts.values()
            for precision in self.precisions
            if not self._can(manifest, precision)
        ]
        return Plan(tuple(cells), (*plan.not_measured, *missing))

    def place(self) -> Place:
        """Which rows of a journal are its own."""
        return Place("cuda")

    def identify(self) -> Device:
        """The GPU as a device; its driver stands beside the operating system."""
        host = super().identify()
        system = f"{host.os}, NVIDIA driver {self.driver}" if self.driver else host.os
        return host.model_copy(
            update={"kind": "cuda", "name": self.gpu.name, "os": system, "memory_bytes": self.gpu.memory_bytes}
        )

    def _variants(self, manifest: Manifest) -> list[Variant]:
        return [
            Variant(engine=engine, precision=precision, cold_l2=self.cold_l2, copied_input=self.copied_input)
            for engine in ENGINES[manifest.format]
            for precision in self.precisions
            if engine in self.engines and self._can(manifest, precision)
        ]

    def _can(self, manifest: Manifest, precision: Precision) -> bool:
        has = {"bf16": self.gpu.bf16, "tf32": self.gpu.tf32}.get(precision, True)
        return has and precision in PRECISIONS[manifest.format]

    def _job(self, cell: Cell, task: Task, together: str | None = None) -> Job:
        if cell.variant is None:
            raise ValueError("a cell for a GPU says how it runs there; see CudaBench.spread")
        return GpuJob(**dict(super()._job(cell, task, together)), variant=cell.variant, uuid=self.gpu.uuid)

    def _row(self, run: CellRun, before: MachineState, run_id: str) -> Measurement:
        row = super()._row(run, before, run_id)
        if row.validity == "failed":
            return row
        watches = [launch.gpu for launch in run.launches if launch.gpu is not None]
        states = {"gpu_before": watches[0].before, "gpu_loaded": watches[-1].loaded} if watches else {}
        changes = {
            "accelerator_active": row.accelerator_requested,
            "conditions": row.conditions.model_copy(update=states),
        }
        slowed = throttling(watches)
        if slowed is not None:
            changes |= {"validity": "throttled", "reason": slowed}
        return row.model_copy(update=changes)


def throttling(watches: Sequence[GpuWatch]) -> str | None:
    """In which launch the GPU slowed itself down, and why; None if in none."""
    for number, watch in enumerate(watches, start=1):
        if watch.loaded is None:
            continue
        reasons = ", ".join(watch.loaded.slowdowns or ())
        if watch.before is not None and watch.before.slowed_us is not None and watch.loaded.slowed_us is not None:
            slowed_ms = (watch.loaded.slowed_us - watch.before.slowed_us) / 1000
            if slowed_ms >= 1:
                why = f" ({reasons})" if reasons else ""
                return f"the GPU slowed itself down for {slowed_ms:.0f} ms in launch {number}{why}"
        if reasons:
            return f"the GPU slowed itself down in launch {number}: {reasons}"
    return None


def open_cuda(host: HostOptions, accuracy: AccuracyOptions, options: CudaOptions, *, timeout_s: float) -> CudaBench:
    """The first GPU that torch sees.

    Raises:
        UsageError: there is none, an option is not one of its words, or accuracy is asked for.
    """
    engines = chosen(options.engines, EVERY_ENGINE, "--engines")
    precisions = chosen(options.precisions, EVERY_PRECISION, "--precisions")
    (l2,) = chosen(options.l2, ("warm", "cold"), "--l2", at_most=1)
    if accuracy.repeat > 1:
        raise UsageError("--repeat has no effect on cuda. Leave it out.")
    if accuracy.images:
        raise UsageError("--accuracy has no effect on cuda: every row's output is checked there anyway. Leave it out.")
    gpu, seen = find_gpu()
    cpu = open_cpu(host, accuracy, PathOptions(), timeout_s=timeout_s)
    return CudaBench(
        # One process at a time on the GPU: each holds memory there for as long as it lives.
        limits=cpu.limits.model_copy(update={"burst_s": None}),
        launches=cpu.launches,
        seed=cpu.seed,
        workers=Workers(WORKER, timeout_s=timeout_s),
        # CUDA reserves far more address space than it uses: only a limit that was asked for is set.
        memory_limit_bytes=None if host.memory_limit_mb is None else cpu.memory_limit_bytes,
        gpu=gpu,
        driver=driver_version(gpu.uuid),
        engines=engines,
        precisions=precisions,
        has_onnxruntime=seen.onnxruntime,
        cold_l2=l2 == "cold",
        copied_input=options.copy_input,
    )


def chosen(text: str, words: Sequence[Word], option: str, *, at_most: int | None = None) -> tuple[Word, ...]:
    """The words that a comma-separated list names, in the order of `words`.

    Raises:
        UsageError: one is not among those there are, or there are too many.
    """
    named = {word.strip() for word in text.split(",")}
    if not named <= set(words) or len(named) > (at_most or len(words)):
        raise UsageError(f"{option} {text!r} is not {'one' if at_most == 1 else 'a list'} of {', '.join(words)}.")
    return tuple(word for word in words if word in named)
