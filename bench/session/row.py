"""The row of a cell: what was seen of its launches, whatever the device, as a measurement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from bench.record import Conditions, Device, InputKind, Launch, Measurement, Validity
from bench.record.answered import Answered
from bench.record.repeated import Repeated
from bench.record.whole_path import WholePath
from bench.session.cells import Cell, subject
from distill.contract import Strict
from distill.version import toolkit_version


class Footprint(Strict):
    """Resident memory in bytes: with the runtime imported, with the model open, and at its highest."""

    runtime_bytes: int | None = None
    loaded_bytes: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Accuracy:
    """What was seen of an artifact's answers to held-out pictures.

    Attributes:
        answered: as in the record; None if there are none.
        note: why something of it is missing.
    """

    answered: Answered | None = None
    note: str = ""


class StageSamples(Strict):
    """The whole path in one launch, every call, stage by stage, in milliseconds; as in `WholePath`."""

    decode_ms: tuple[float, ...]
    resize_ms: tuple[float, ...]
    convert_ms: tuple[float, ...]
    call_ms: tuple[float, ...]
    top_k_ms: tuple[float, ...]
    total_ms: tuple[float, ...]


@dataclass(frozen=True)
class PathOf:
    """What the whole path was timed with, in words, and its identity."""

    pictures: str
    sha256: str


@dataclass(frozen=True)
class LaunchSeen:
    """One launch of a cell; every field as in the record, and the whole path where it was timed."""

    runtime: str | None
    runtime_version: str | None
    threads_active: int | None
    accelerator_active: str | None
    input: InputKind
    launch: Launch
    samples_ms: Sequence[float]
    path: StageSamples | None = None


@dataclass(frozen=True)
class Session:
    """What all rows of a session share."""

    run_id: str
    seed: int
    device: Device


def row(
    cell: Cell,
    launches: Sequence[LaunchSeen],
    session: Session,
    *,
    began: datetime,
    conditions: Conditions,
    validity: Validity,
    reason: str,
    footprint: Footprint | None = None,
    accuracy: Accuracy | None = None,
    path_of: PathOf | None = None,
    repeated: Repeated | None = None,
) -> Measurement:
    """The measurement of a cell; without launches for one that failed. What answers wrongly is labelled so."""
    first = launches[0] if launches else None
    footprint, accuracy = footprint or Footprint(), accuracy or Accuracy()
    answered = accuracy.answered
    faults = [fault for fault in (answered and answered.fault, repeated and repeated.differs) if fault]
    if faults:
        validity, reason = "failed" if validity == "failed" else "wrong", "; ".join([*faults, reason])
    return Measurement(
        run_id=session.run_id,
        seed=session.seed,
        utc_time=began.isoformat(timespec="seconds"),
        toolkit_version=toolkit_version(),
        subject=subject(cell),
        device=session.device,
        conditions=conditions,
        runtime=first.runtime if first else None,
        runtime_version=first.runtime_version if first else None,
        threads=cell.threads,
        threads_active=first.threads_active if first else None,
        accelerator_requested=cell.accelerator,
        accelerator_active=first.accelerator_active if first else None,
        batch=cell.batch,
        input=first.input if first else None,
        samples_ms=tuple(sample for seen in launches for sample in seen.samples_ms),
        launches=tuple(seen.launch for seen in launches),
        load_ms=_median([seen.launch.load_ms for seen in launches]),
        first_inference_ms=_median([seen.launch.first_inference_ms for seen in launches]),
        runtime_memory_bytes=footprint.runtime_bytes,
        loaded_memory_bytes=footprint.loaded_bytes,
        peak_memory_bytes=footprint.peak_bytes,
        measured_accuracy=answered.accuracy if answered else None,
        measured_agreement=answered.agreement if answered else None,
        measured_images=answered.answers.num_images if answered else 0,
        measured_note=accuracy.note,
        answered=answered,
        path=_whole_path(launches, path_of) if path_of else None,
        repeated=repeated,
        validity=validity,
        reason=reason,
    )


def _whole_path(launches: Sequence[LaunchSeen], path_of: PathOf) -> WholePath | None:
    """The stages of all launches that timed them; None if none did."""
    seen = [launch.path for launch in launches if launch.path is not None]
    if not seen:
        return None
    stages = {name: sum((getattr(each, name) for each in seen), ()) for name in StageSamples.model_fields}
    counts = tuple(len(each.total_ms) for each in seen)
    return WholePath(pictures=path_of.pictures, pictures_sha256=path_of.sha256, launch_counts=counts, **stages)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
