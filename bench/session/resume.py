"""Go on with a session that was cut off: what its journal already holds is not measured again."""

from collections.abc import Sequence
from dataclasses import replace

from bench.record import Measurement
from bench.session.cells import Plan
from distill.contract import sha256_of_file
from distill.errors import UsageError
from export.artifact.manifest import MANIFEST_FILE


def resume(
    plan: Plan, rows: Sequence[Measurement], *, kind: str, serial: str | None, instrument: str | None
) -> tuple[Plan, str]:
    """(the cells the last session did not finish, its run id).

    Args:
        plan: everything asked for.
        rows: of the journal.
        kind: of device.
        serial: of the phone; None for this machine.
        instrument: what measures on it; None for this machine.

    Raises:
        UsageError: the last session was on another device.
    """
    if not rows:
        raise UsageError("there is no session to go on with: the journal is empty. Run the command without --resume.")
    last = rows[-1]
    if (last.device.kind, last.device.serial, last.device.instrument) != (kind, serial, instrument):
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
