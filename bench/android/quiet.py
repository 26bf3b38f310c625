"""A quiet phone while it is measured, and its own settings back afterwards, whatever happens in between.

What is changed is written to a file on this machine first: if this process dies, `python -m bench restore` mends the
phone from it.
"""

import fcntl
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.android.adb import Phone
from bench.android.identity import ask_sections
from bench.android.instruments import Instrument, find_instrument
from bench.protocol import PICTURES_FOLDER, InstrumentName
from distill.contract import Contract, Strict
from distill.errors import ToolError, UsageError, WorkFailed
from distill.terminal import say

Namespace = Literal["global", "system", "secure"]

QUIET: tuple[tuple[Namespace, str, str], ...] = (
    ("global", "stay_on_while_plugged_in", "7"),
    ("global", "low_power", "0"),
    ("system", "screen_brightness_mode", "0"),
    ("system", "screen_brightness", "10"),
)
"""(namespace, key, value while measuring): screen on, no battery saver, a dim screen that stays as it is."""

FIXED_PERFORMANCE = ("cmd", "power", "set-fixed-performance-mode-enabled")
"""Since Android 11; "false" is what a phone starts with."""

RUNS_FOLDER = "/data/local/tmp/pocket-distill"
PICTURES_PLACE = f"{RUNS_FOLDER}/{PICTURES_FOLDER}"
"""What all launches of a session read; it stays when the phone goes away, so that it need not be pushed again."""


class Setting(Strict):
    """A setting as it was found; None if it was not set."""

    namespace: Namespace
    key: str
    value: str | None


class PhoneJournal(Contract):
    """What is to be put back on one phone, written before it is changed.

    Attributes:
        serial: what adb calls the phone.
        settings: as they were.
        fixed_performance: whether we switched that mode on; Android does not tell whether it was on before.
        run_ids: launches that may have left a folder or a process.
        instrument: what measured; it knows what else it leaves.
        phone: the phone's own serial number, which it has by cable and by network; empty in journals of version 2.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    schema_version: Literal[3] = 3
    serial: str
    settings: tuple[Setting, ...]
    fixed_performance: bool
    run_ids: tuple[str, ...]
    instrument: InstrumentName
    phone: str = ""

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """A journal of version 2 knows only adb's name of the phone."""
        return raw | {"schema_version": 3} if raw.get("schema_version") == 2 else raw


def journal_folder() -> Path:
    """Where journals of phones lie."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "pocket-distill" / "phones"


def journal_path(serial: str) -> Path:
    """The journal of one phone; any serial gives one plain file name."""
    plain = re.sub(r"[^A-Za-z0-9.-]", lambda character: f"_{ord(character.group()):x}_", serial)
    return journal_folder() / f"{plain}.json"


def journals_of(serial: str, own_serial: str) -> list[Path]:
    """Journals that sessions left behind which were cut off on this phone, under whatever name adb had for it then."""
    by_name = journal_path(serial)
    others = [path for path in sorted(journal_folder().glob("*.json")) if path != by_name]
    same = [path for path in others if PhoneJournal.read(path).phone == own_serial]
    return [*([by_name] if by_name.is_file() else []), *same]


class QuietPhone:
    """A phone whose settings are ours for now; its journal names every launch."""

    def __init__(self, phone: Phone, journal: PhoneJournal) -> None:
        self.phone = phone
        self.journal = journal

    def note_launch(self, run_id: str) -> None:
        """Write down a launch before it leaves anything on the phone."""
        self._write(run_ids=(*self.journal.run_ids, run_id))

    def forget_launch(self, run_id: str) -> None:
        """A launch left nothing."""
        self._write(run_ids=tuple(other for other in self.journal.run_ids if other != run_id))

    def fix_performance(self) -> None:
        """Hold the clocks at a level the phone can keep up, until it is restored.

        Raises:
            UsageError: the phone has no such mode.
        """
        self._write(fixed_performance=True)
        answer = self.phone.shell([*FIXED_PERFORMANCE, "true"])
        if answer.exit_code != 0:
            self._write(fixed_performance=False)
            raise UsageError(
                f"{self.phone.serial} has no fixed performance mode (Android 11 with the maker's support has it); it "
                f"said: {' '.join(answer.words.split())}. Measure without --fixed-performance."
            )

    def _write(self, **changes: object) -> None:
        self.journal = self.journal.model_copy(update=changes)
        self.journal.write(journal_path(self.phone.serial))


@contextmanager
def quieted(phone: Phone, *, instrument: InstrumentName, fixed_performance: bool = False) -> Generator[QuietPhone]:
    """Quiet the phone; on the way out, put back what was changed, even after Ctrl-C.

    A journal left by a session that died is used first. What cannot be put back stays in the journal.

    Args:
        phone: which.
        instrument: what measures on it.
        fixed_performance: hold the clocks at a level the phone can keep up, too.

    Raises:
        UsageError: another session is measuring this phone, its screen is locked, or it has no fixed performance mode.
    """
    own_serial = phone.own_serial()
    with only_session(own_serial):
        path = journal_path(phone.serial)
        for left in journals_of(phone.serial, own_serial):
            say(f"[yellow]{phone.serial}:[/] an earlier session was cut off; putting back what it had changed")
            restore(phone, left, keep_pictures=True)
        journal = PhoneJournal(
            serial=phone.serial,
            settings=_settings_now(phone),
            fixed_performance=False,
            run_ids=(),
            instrument=instrument,
            phone=own_serial,
        )
        journal.write(path)
        quiet = QuietPhone(phone, journal)
        try:
            _quiet(phone, journal)
            if fixed_performance:
                quiet.fix_performance()
            yield quiet
        finally:
            _restore_and_tell(phone)


def restore(phone: Phone, path: Path | None = None, *, keep_pictures: bool = False) -> PhoneJournal | None:
    """Put back what a journal of the phone says, and remove the journal; None if there is none.

    Args:
        phone: which.
        path: of the journal; None for the one under adb's name of the phone.
        keep_pictures: leave pictures there, because a session goes on that reads them.

    Raises:
        WorkFailed: something could not be put back; the journal stays.
    """
    path = path or journal_path(phone.serial)
    if not path.is_file():
        return None
    journal = PhoneJournal.read(path)
    for run_id in journal.run_ids:
        remove_run(phone, find_instrument(journal.instrument), run_id)
    if not keep_pictures:
        phone.script(f"rm -rf {PICTURES_PLACE}; rmdir {RUNS_FOLDER} 2>/dev/null")
    failed = [
        f"settings put {setting.namespace} {setting.key} {setting.value}"
        for setting in journal.settings
        if not _put(phone, setting)
    ]
    if journal.fixed_performance and phone.shell([*FIXED_PERFORMANCE, "false"]).exit_code != 0:
        failed.append(" ".join([*FIXED_PERFORMANCE, "false"]))
    if failed:
        raise WorkFailed(
            f"{phone.serial} did not take back {len(failed)} settings. Set them by hand with adb shell: "
            f"{'; '.join(failed)}. Then delete {path}."
        )
    path.unlink()
    return journal


def remove_run(phone: Phone, instrument: Instrument, run_id: str) -> None:
    """End what a launch left running and remove its files on the phone."""
    folder = f"{RUNS_FOLDER}/{run_id}"
    instrument.clean(phone, folder, run_id)
    # The instrument's first progress line names its process; a process that does not know the folder is another one.
    phone.script(
        f"for f in {folder}/*.progress.jsonl; do "
        "pid=$(sed -n '1s/.*\"pid\": *\\([0-9]*\\).*/\\1/p' $f 2>/dev/null); "
        f'[ -n "$pid" ] && grep -q {run_id} /proc/$pid/cmdline 2>/dev/null && kill -9 $pid; done; rm -rf {folder}; '
        f"rmdir {RUNS_FOLDER} 2>/dev/null"
    )


def _settings_now(phone: Phone) -> tuple[Setting, ...]:
    outputs = ask_sections(
        phone, {f"{namespace}_{key}": f"settings get {namespace} {key}" for namespace, key, _ in QUIET}
    )
    return tuple(
        Setting(namespace=namespace, key=key, value=_value(outputs[f"{namespace}_{key}"]))
        for namespace, key, _ in QUIET
        if outputs[f"{namespace}_{key}"].strip()
    )


def _value(text: str) -> str | None:
    return None if text.strip() == "null" else text.strip()


def _put(phone: Phone, setting: Setting) -> bool:
    name = [setting.namespace, setting.key]
    change = ["settings", "delete", *name] if setting.value is None else ["settings", "put", *name, setting.value]
    phone.shell(change)
    return _value(phone.shell(["settings", "get", *name]).stdout) == setting.value


def _quiet(phone: Phone, journal: PhoneJournal) -> None:
    known = {(setting.namespace, setting.key) for setting in journal.settings}
    for namespace, key, value in QUIET:
        # A board without Android has no settings at all.
        if (namespace, key) in known and not _put(phone, Setting(namespace=namespace, key=key, value=value)):
            say(f"[yellow]{phone.serial}:[/] it does not let us set {namespace} {key} to {value}; measuring anyway")
    phone.script("input keyevent KEYCODE_WAKEUP; wm dismiss-keyguard")
    outputs = ask_sections(phone, {"power": "dumpsys power", "window": "dumpsys window policy"})
    asleep = re.search(r"mWakefulness=(Asleep|Dozing|Dreaming)", outputs["power"])
    locked = re.search(r"(?:isKeyguardShowing|mDreamingLockscreen|^\s+showing)=true", outputs["window"], re.MULTILINE)
    if asleep or locked:
        what = (
            "its screen is locked and asks for a PIN" if locked else f"its screen is off ({asleep and asleep.group(1)})"
        )
        raise UsageError(
            f"{phone.serial}: {what}. Apps get slower cores then; unlock it and run the same command again."
        )


def _restore_and_tell(phone: Phone) -> None:
    try:
        restore(phone)
    except ToolError as error:
        say(f"[red]not restored:[/] {error} When it is back, run: python -m bench restore --serial {phone.serial}")


@contextmanager
def only_session(own_serial: str) -> Generator[None]:
    """Keep a phone, by its own serial number, to this process while the block runs; UsageError if another has it."""
    path = journal_folder() / f"{journal_path(own_serial).name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another session on this machine is measuring {own_serial}; two at once would disturb each other. "
                "Wait for it."
            ) from error
        yield
