"""The device protocol: what a host asks of an instrument on a device, and what comes back.

These records are the definition; `bench/protocol/*.schema.json` is written from them (`python -m bench.protocol`) and
is what other languages read. How the files travel is told in `bench/protocol/README.md`.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from bench.timing.loop import Limits
from distill.contract import Contract, Strict, write_whole

FOLDER = Path(__file__).resolve().parent

APP_PACKAGE = "org.pocketdistill.demo"
APP_ACTIVITY = f"{APP_PACKAGE}/.BenchActivity"
JOB_FILE = "job.json"

InstrumentName = Literal["app", "native", "python"]
DeviceFormat = Literal["executorch", "litert", "onnx", "torchscript"]
Stage = Literal["loading", "measuring", "checking", "done", "failed"]

RunId = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{32}$",
        description="Identity of one launch: one job, one process. Fresh for every launch; names the result file.",
    ),
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]
Count = Annotated[int, Field(ge=0)]
Nanoseconds = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0)]


def result_file(run_id: str) -> str:
    """Name of the result of a launch."""
    return f"{run_id}.result.json"


def progress_file(run_id: str) -> str:
    """Name of the progress journal of a launch."""
    return f"{run_id}.progress.jsonl"


class JobModel(Strict):
    """One model to measure, with its golden input."""

    id: FileName = Field(description="Names the model inside this job; the result repeats it.")
    format: DeviceFormat = Field(description="Which runtime runs it. Never guess it from the file's name.")
    file: FileName = Field(description="The model, in the job file's folder.")
    sha256: Sha256 = Field(description="Of the model file. Refuse a file that has another.")
    size_bytes: int = Field(ge=1, description="Of the model file.")
    input_file: FileName = Field(
        description="The input, in the job file's folder: raw float32 values, little-endian, C order, no header."
    )
    input_sha256: Sha256 = Field(description="Of the input file. Refuse a file that has another.")
    input_name: str = Field(description="The model's name for its input; ONNX Runtime needs it.")
    input_shape: tuple[int, ...] = Field(description="[batch, channels, height, width]; every entry is at least 1.")
    output_name: str = Field(description="The model's name for its output.")
    output_shape: tuple[int, ...] = Field(description="[batch, classes].")


class Job(Contract):
    """What an instrument is to do in one process launch: one file, `job.json`, beside the models and inputs."""

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = Field(default=1, description="Refuse any other number.")
    run_id: RunId
    threads: int = Field(ge=1, description="Threads the runtime is to use; report what it really uses.")
    batch: int = Field(ge=1, description="Images per call; the first entry of every shape.")
    limits: Limits = Field(description="When warm-up and sampling stop; times in seconds.")
    models: tuple[JobModel, ...] = Field(
        min_length=1, description="Measured one after the other, in this order. The host sends one model per launch."
    )


class Reading(Strict):
    """The device's state between two samples, read outside the timed region."""

    at_ns: Nanoseconds = Field(
        description="Nanoseconds since boot, sleep included (elapsedRealtimeNanos, CLOCK_BOOTTIME)."
    )
    sample_index: Count = Field(description="How many samples had been taken.")
    thermal_status: int | None = Field(
        description="0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown; null if unknown."
    )
    thermal_headroom: float | None = Field(description="Share of the way to severe throttling, 1 is there; or null.")
    core: int | None = Field(description="Number of the core the measuring thread was on last; or null.")
    core_khz: int | None = Field(description="That core's clock in kHz; or null.")


class ModelResult(Strict):
    """What was seen of one model. With `error` set, figures that were not reached are null, 0 or empty."""

    id: FileName = Field(description="As in the job.")
    sha256: Sha256 | None = Field(description="Of the model file as this device read it; null if it could not.")
    error: str | None = Field(description="Why there is no measurement, in words; null if there is one.")
    runtime: str | None = Field(description="What ran it, e.g. executorch, onnxruntime, litert, libtorch.")
    runtime_version: str | None = Field(description="The runtime's version.")
    threads_active: int | None = Field(description="Threads the runtime says it uses.")
    accelerator_active: str | None = Field(description="Delegate or provider in use, e.g. xnnpack; or null.")
    load_ms: Milliseconds | None = Field(
        description="Opening the model until it can be called, ms; no import, no input."
    )
    first_inference_ms: Milliseconds | None = Field(description="The very first call, before the warm-up, ms.")
    warmup_count: Count = Field(description="Calls of the warm-up, without the first call.")
    warmup_s: float = Field(ge=0, description="Time of the warm-up in seconds, without the first call.")
    samples_ns: tuple[Nanoseconds, ...] = Field(
        description="Every timed call in nanoseconds, in order, none removed: clock right before, clock right after."
    )
    sample_count: Count = Field(description="Length of samples_ns, counted by the loop itself.")
    golden_output: tuple[float | None, ...] = Field(
        description="Output of one more call after the samples, C order; null stands for a value that is not finite."
    )
    peak_memory_bytes: int | None = Field(description="Highest resident memory of the process (VmHWM), bytes; or null.")
    readings: tuple[Reading, ...] = Field(description="At least one before and one after the samples.")


class Result(Contract):
    """What an instrument says of one launch: appears whole or not at all (write beside it, sync, rename)."""

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    run_id: RunId
    instrument: InstrumentName = Field(description="Results of different instruments are never compared.")
    instrument_version: str = Field(description="Version of the instrument.")
    error: str | None = Field(description="Why the job as a whole failed (then models may be empty); or null.")
    job_sha256: Sha256 | None = Field(description="Of the job file as this device read it; null if it could not.")
    boot_id: str | None = Field(description="/proc/sys/kernel/random/boot_id; null if it may not be read.")
    abi: str | None = Field(description="ABI of the measuring process, e.g. arm64-v8a or x86_64.")
    began_ns: Nanoseconds = Field(description="Process start in nanoseconds since boot, sleep included.")
    ended_ns: Nanoseconds = Field(description="Moment of writing in nanoseconds since boot, sleep included.")
    models: tuple[ModelResult, ...] = Field(description="In the order of the job; a failed model does not end the job.")

    @model_validator(mode="after")
    def _time_goes_forward(self) -> "Result":
        if self.ended_ns < self.began_ns:
            raise ValueError(f"ended_ns {self.ended_ns} lies before began_ns {self.began_ns}")
        return self


class Progress(Contract):
    """One line of the progress journal, appended outside the timed region; the host shows the last one."""

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    run_id: RunId
    stage: Stage = Field(description="What begins now; done and failed come after the result was written.")
    model_id: str | None = Field(description="Which model; null where the stage is about the whole job.")
    pid: int = Field(ge=1, description="Process of the instrument; the host asks whether it lives.")
    at_ns: Nanoseconds = Field(description="Nanoseconds since boot, sleep included.")


RECORDS: dict[str, type[Contract]] = {"job": Job, "result": Result, "progress": Progress}


def schema(name: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one record: every field is required, unknown keys are errors."""
    record = RECORDS[name]
    document = record.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_described(document)}


def _described(node: Any) -> Any:
    # Docstrings are wrapped for this file; in a schema the wrapping is noise, and so are pydantic's titles.
    if isinstance(node, list):
        return [_described(item) for item in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _described(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(cleaned.get("description"), str):
        cleaned["description"] = re.sub(r"\s+", " ", cleaned["description"]).strip()
    return cleaned


def write_schemas(folder: Path = FOLDER) -> list[Path]:
    """Write every schema file; returns their paths."""
    paths: list[Path] = []
    for name in RECORDS:
        path = folder / f"{name}.schema.json"
        write_whole(path, (json.dumps(schema(name), indent=2) + "\n").encode())
        paths.append(path)
    return paths
