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
PICTURES_FOLDER = "pictures"
"""Beside the folders of the launches: what all of them read."""

PROTOCOL_VERSION = 4
"""2: pictures go as files through the device's own decoder, whole paths are timed, repeated outputs are compared.
3: a job may ask for an accelerator. 4: a picture's rule has the share that a crop keeps, and the interpolation."""


InstrumentName = Literal["app", "native", "python"]
DeviceFormat = Literal["executorch", "litert", "onnx", "torchscript"]
Stage = Literal["loading", "answering", "measuring", "checking", "done", "failed"]
Task = Literal["time", "answer"]

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


def logits_file(run_id: str) -> str:
    """Name of the logits of a launch that answers pictures."""
    return f"{run_id}.logits.bin"


class PicturePack(Strict):
    """Some picture files in one zip file, stored or deflated; the order of its directory is theirs."""

    file: FileName = Field(description="In the folder `pictures` beside the job's folder.")
    sha256: Sha256 = Field(description="Of the zip file. Refuse a file that has another.")
    count: int = Field(ge=1, description="Pictures in it.")


class PictureRule(Strict):
    """From a decoded picture, upright and on white, to the input: as distill.vision.preprocess.Preprocess has it."""

    size_px: int = Field(ge=1, description="The network sees size_px x size_px.")
    resize: Literal["stretch", "crop"] = Field(
        description="stretch scales both sides; crop keeps the centre square. Always with antialiasing."
    )
    crop_share: float | None = Field(
        description="null: crop cuts the centre square, then scales it. A share in (0, 1]: it scales the shorter side "
        "to floor(size_px / share), the longer one in proportion, rounded down, and cuts the centre of that."
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(description="Pillow's filter of that name, on 8 bits.")
    channels: Literal[1, 3] = Field(
        description="1 = luma (ITU-R 601), 3 = red, green, blue; values are divided by 255."
    )


class JobModel(Strict):
    """One model to measure, with its golden input."""

    id: FileName = Field(description="Names the model inside this job; the result repeats it.")
    format: DeviceFormat = Field(description="Which runtime runs it. Never guess it from the file's name.")
    file: FileName = Field(description="The model, in the job file's folder.")
    sha256: Sha256 = Field(description="Of the model file. Refuse a file that has another.")
    size_bytes: int = Field(ge=1, description="Of the model file.")
    accelerator: str | None = Field(
        description="What is asked to run it, e.g. gpu; null for the runtime as it comes. Refuse any not offered."
    )
    input_file: FileName = Field(
        description="The input, in the job file's folder: raw float32 values, little-endian, C order, no header."
    )
    input_sha256: Sha256 = Field(description="Of the input file. Refuse a file that has another.")
    input_name: str = Field(description="The model's name for its input; ONNX Runtime needs it.")
    input_shape: tuple[int, ...] = Field(description="[batch, channels, height, width]; every entry is at least 1.")
    output_name: str = Field(description="The model's name for its output.")
    output_shape: tuple[int, ...] = Field(description="[batch, classes], or [batch, classes, height, width].")
    pictures: PictureRule | None = Field(
        description="How a picture becomes its input; null if no picture is to be read."
    )


class Job(Contract):
    """What an instrument is to do in one process launch: one file, `job.json`, beside the models and inputs."""

    SCHEMA_VERSION: ClassVar[int] = PROTOCOL_VERSION

    schema_version: Literal[4] = Field(default=4, description="Refuse any other number.")
    run_id: RunId
    task: Task = Field(
        description="time: samples of the model's call, and of the whole path if there are pictures; "
        "answer: every picture once, the logits go into a file."
    )
    repeats: int = Field(
        ge=1, description="time: calls with the golden input after the samples, whose outputs are compared bit for bit."
    )
    pictures: tuple[PicturePack, ...] = Field(description="What is to be read; empty for none.")
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


class Unreadable(Strict):
    """A picture that the device does not decode; its logits are not numbers."""

    index: Count = Field(description="Its place among all pictures of the job, from 0.")
    reason: str = Field(description="Why, in words.")


class SeenOutput(Strict):
    """One of the different outputs that calls with one input gave."""

    sha256: Sha256 = Field(description="Of the values as float32, little-endian.")
    calls: int = Field(ge=1, description="How many calls gave it.")
    max_abs_difference: float | None = Field(
        description="Largest difference of a logit to the first output; null if one of the two is not finite."
    )


class Stages(Strict):
    """Every timed way from a picture's bytes to the likeliest classes, in nanoseconds, one picture a call."""

    decode_ns: tuple[Nanoseconds, ...] = Field(description="Bytes in memory to upright pixels on white.")
    resize_ns: tuple[Nanoseconds, ...] = Field(description="Grey if asked, centre square if asked, resized.")
    convert_ns: tuple[Nanoseconds, ...] = Field(description="Divided by 255 into the runtime's input.")
    call_ns: tuple[Nanoseconds, ...] = Field(description="The runtime's call.")
    top_k_ns: tuple[Nanoseconds, ...] = Field(description="Output read, likeliest classes with their shares.")
    total_ns: tuple[Nanoseconds, ...] = Field(description="Clock right before, clock right after all of them.")


class ModelResult(Strict):
    """What was seen of one model. With `error` set, figures that were not reached are null, 0 or empty."""

    id: FileName = Field(description="As in the job.")
    sha256: Sha256 | None = Field(description="Of the model file as this device read it; null if it could not.")
    error: str | None = Field(description="Why there is no measurement, in words; null if there is one.")
    runtime: str | None = Field(description="What ran it, e.g. executorch, onnxruntime, litert, libtorch.")
    runtime_version: str | None = Field(description="The runtime's version.")
    threads_active: int | None = Field(description="Threads the runtime says it uses.")
    accelerator_active: str | None = Field(
        description="Delegate in use, e.g. xnnpack; null if the runtime does not tell."
    )
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
    outputs: tuple[SeenOutput, ...] = Field(
        description="The different outputs of the repeated input, first seen first."
    )
    stages: Stages | None = Field(
        description="The whole path; null without a readable picture, or if the batch is not 1."
    )
    answered: Count = Field(description="answer: pictures whose logits were written, the unreadable ones included.")
    unreadable: tuple[Unreadable, ...] = Field(description="answer: pictures that could not be decoded, in order.")
    logits_sha256: Sha256 | None = Field(
        description="answer: of RUN_ID.logits.bin, float32 [answered, classes], little-endian; null if there is none."
    )


class Result(Contract):
    """What an instrument says of one launch: appears whole or not at all (write beside it, sync, rename)."""

    SCHEMA_VERSION: ClassVar[int] = PROTOCOL_VERSION

    schema_version: Literal[4] = Field(default=4, description="Version of this schema.")
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

    SCHEMA_VERSION: ClassVar[int] = PROTOCOL_VERSION

    schema_version: Literal[4] = Field(default=4, description="Version of this schema.")
    run_id: RunId
    stage: Stage = Field(description="What begins now; done and failed come after the result was written.")
    model_id: str | None = Field(description="Which model; null where the stage is about the whole job.")
    pid: int = Field(ge=1, description="Process of the instrument; the host asks whether it lives.")
    at_ns: Nanoseconds = Field(description="Nanoseconds since boot, sleep included.")
    done: Count | None = Field(description="answering: pictures answered so far, of `total`; else null.")
    total: Count | None = Field(description="answering: pictures to answer; else null.")


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
