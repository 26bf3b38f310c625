"""Put phones back as they were after a session whose host died: `python -m bench restore`."""

from dataclasses import dataclass

from bench.android.adb import Adb, NoUsableDevice, Phone
from bench.android.quiet import PhoneJournal, journal_folder, journal_path, only_session, restore
from distill.errors import ToolError, UsageError, WorkFailed
from distill.terminal import say


@dataclass(frozen=True)
class Restored:
    """A phone that is as it was, and how much was put back or removed."""

    serial: str
    settings: int
    launches: int


def restore_phones(adb: Adb, serial: str | None) -> list[Restored]:
    """Restore every phone that a journal on this machine names, or only one.

    Raises:
        UsageError: there is no journal of the phone asked for, or a session is using it.
        WorkFailed: a phone is not there or does not take its settings back; the others are restored.
    """
    journals = [PhoneJournal.read(path) for path in sorted(journal_folder().glob("*.json"))]
    wanted = [journal for journal in journals if serial in (None, journal.serial)]
    if serial is not None and not wanted:
        raise UsageError(f"nothing is to be restored on {serial}: {journal_path(serial)} does not exist.")
    failures: list[str] = []
    restored: list[Restored] = []
    for journal in wanted:
        try:
            phone = _find(adb, journal)
            with only_session(phone.own_serial()):
                restore(phone, journal_path(journal.serial))
        except ToolError as error:
            failures.append(str(error))
        else:
            restored.append(Restored(journal.serial, len(journal.settings), len(journal.run_ids)))
            say(f"restored {journal.serial}: {len(journal.settings)} settings, {len(journal.run_ids)} launches removed")
    if failures:
        raise WorkFailed(f"{len(failures)} of {len(wanted)} phones were not restored: {' '.join(failures)}")
    if not wanted:
        say("no phone is waiting to be restored")
    return restored


def _find(adb: Adb, journal: PhoneJournal) -> Phone:
    """The phone of a journal, if need be under another name than adb had for it then; errors as `Adb.choose`."""
    try:
        return adb.choose(journal.serial)
    except NoUsableDevice:
        connected = [Phone(adb, row.serial) for row in adb.devices() if row.state == "device"]
        for phone in connected if journal.phone else []:
            if phone.own_serial() == journal.phone:
                return phone
        raise
