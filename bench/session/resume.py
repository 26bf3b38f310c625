"""Go on with a session that was cut off: what its journal already holds is not measured again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.record import DeviceKind, Measurement
from bench.session.cells import Plan
from distill.contract import sha256_of_file
from distill.errors import UsageError
from export.artifact.manifest import MANIFEST_FILE


@dataclass(frozen=True)
class Place:
    """Where a device's rows come from, as a journal says it; serial and instrument are None for this machine."""

    kind: DeviceKind
    serial: str | None = None
    instrument: str | None = None


def resume(plan: Plan, rows: Sequence[Measurement], place: Place) -> tuple[Plan, str]:
    """(the cells the last session did not finish, its run id).

    Args:
        plan: everything asked for.
        rows: of the journal.
        place: of the device that goes on.

    Raises:
        UsageError: the last session was on another device.
    """
    if not rows:
        raise UsageError("there is no session to go on with: the journal is empty. Run the command without --resume.")
    last = rows[-1]
    if Place(last.device.kind, last.device.serial, last.device.instrument) != place:
        raise UsageError(
            f"the last session in the journal was on {last.device.name} ({last.device.kind}, "
            f"{last.device.instrument or 'this machine'}), not on this device. Run the command without --resume."
        )
    done = {
        (row.subject.manifest_sha256, row.batch, row.threads, row.accelerator_requested)
        for row in rows
        if row.run_id == last.run_id and row.validity != "failed"
    }
    left = tuple(
        cell
        for cell in plan.cells
        if (sha256_of_file(cell.folder / MANIFEST_FILE), cell.batch, cell.threads, cell.accelerator) not in done
    )
    return replace(plan, cells=left), last.run_id
