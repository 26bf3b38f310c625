"""What measures on the phone, behind the device protocol: `INSTRUMENTS` is the one table.

Results of different instruments are never compared: the scheduler treats a foreground app and a shell's child apart.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.android.adb import Answer, CommandFailed, NotDebuggable, Phone
from bench.android.exits import Exit, last_exit
from bench.android.identity import Identity
from bench.android.runtimes import Runtimes, of_app, of_native, of_python
from bench.instruments.native.build import ABIS, native_folder
from bench.protocol import (
    APP_ACTIVITY,
    APP_PACKAGE,
    JOB_FILE,
    DeviceFormat,
    InstrumentName,
    logits_file,
    progress_file,
    result_file,
)
from distill.contract import sha256_of_file
from distill.errors import UsageError

AGENT = Path(__file__).resolve().parent.parent / "instruments" / "agent.py"
ALL_FORMATS: frozenset[DeviceFormat] = frozenset({"executorch", "litert", "onnx", "torchscript"})
EXTERNAL_FOLDER = f"/sdcard/Android/data/{APP_PACKAGE}/files"
"""Of the app: release builds can write it and the shell can read it, on most phones."""

APP_ABIS = frozenset({"arm64-v8a", "x86_64"})
MIN_API_LEVEL = 24
LOG_LINES = 5
LOG_CHARS = 600
START_TIMEOUT_S = 30.0


class Instrument(Protocol):
    """One way to measure on a phone.

    Attributes:
        name: as results and rows say it.
        formats: what it can run.
        reads_pictures: whether it decodes picture files.
    """

    @property
    def reads_pictures(self) -> bool: ...  # noqa: D102
    @property
    def name(self) -> InstrumentName: ...  # noqa: D102
    @property
    def formats(self) -> frozenset[DeviceFormat]: ...  # noqa: D102

    def prepare(self, phone: Phone, identity: Identity) -> None:
        """Check that the phone can be measured by this instrument.

        Raises:
            UsageError: it cannot; says what to do.
        """
        ...

    def runtimes(self, phone: Phone) -> Runtimes:
        """What it runs models with on this phone, after `prepare`; AdbFailed if the phone does not answer."""
        ...

    def start(self, phone: Phone, folder: str, run_id: str) -> None:
        """Start it on `folder`/job.json, so that it goes on without the cable.

        Raises:
            AdbFailed: it did not start, or it is not known whether it did.
        """
        ...

    def look(self, folder: str) -> str:
        """Shell text that defines `has NAME` (is this file of its there?) and `last NAME` (its last line)."""
        ...

    def read(self, phone: Phone, folder: str, name: str) -> bytes:
        """One of its files; TransferFailed or CommandFailed if it cannot be read whole."""
        ...

    def log(self, phone: Phone, folder: str, pid: int | None) -> str:
        """What its process and the runtime in it said."""
        ...

    def log_tail(self, phone: Phone, folder: str) -> str:
        """The end of what it or its runtime said, for an error message; empty if nothing."""
        ...

    def last_exit(self, phone: Phone, pid: int | None, since: str) -> Exit | None:
        """How the system says its process ended; None if it does not say.

        Args:
            phone: where it ran.
            pid: its process, None if it never said.
            since: local time of the phone before it was started.
        """
        ...

    def clean(self, phone: Phone, folder: str, run_id: str) -> None:
        """End it and remove the files it wrote outside `folder`."""
        ...


@dataclass(frozen=True)
class App:
    """The benchmark activity of the demo app: the truth for products."""

    name: InstrumentName = "app"
    formats: frozenset[DeviceFormat] = ALL_FORMATS
    reads_pictures: bool = True

    def prepare(self, phone: Phone, identity: Identity) -> None:
        """See `Instrument`."""
        if identity.api_level < MIN_API_LEVEL:
            raise UsageError(
                f"{identity.name} has API level {identity.api_level}, the app needs {MIN_API_LEVEL} (Android 7). "
                "Choose another phone, or --instrument python on a board with Python."
            )
        if identity.abis and not APP_ABIS & set(identity.abis):
            raise UsageError(
                f"{identity.name} runs {', '.join(identity.abis)}, the app's runtimes are built for "
                f"{', '.join(sorted(APP_ABIS))}. Choose a 64-bit phone."
            )
        if phone.shell(["pm", "path", APP_PACKAGE]).exit_code != 0:
            raise UsageError(
                f"the app {APP_PACKAGE} is not installed on {phone.serial}. Build and install it: make app, then "
                f"adb -s {phone.serial} install -r APK; or measure without it: --instrument python."
            )

    def runtimes(self, phone: Phone) -> Runtimes:
        """Those packed into the installed app."""
        return of_app(phone, APP_PACKAGE)

    def start(self, phone: Phone, folder: str, run_id: str) -> None:
        """Start the activity in a fresh process."""
        words = [
            "am",
            "start",
            "-S",
            "-W",
            "-n",
            APP_ACTIVITY,
            "--es",
            "run_id",
            run_id,
            "--es",
            "job",
            f"{folder}/{JOB_FILE}",
        ]
        answer = phone.shell(words, timeout_s=START_TIMEOUT_S)
        # Old Androids end with 0 even if the activity does not exist.
        if (
            answer.exit_code != 0
            or "Status: ok" not in answer.stdout
            or re.search(r"^Error", answer.stdout, re.MULTILINE)
        ):
            raise CommandFailed(f"{phone.serial}: the app did not start. It said: {_last_lines(answer)}")

    def look(self, folder: str) -> str:
        """On external storage, and where the shell may not look into it, through `run-as`."""
        private = f"run-as {APP_PACKAGE}"
        return (
            f"has() {{ [ -e {EXTERNAL_FOLDER}/$1 ] || {private} test -f files/$1 2>/dev/null; }}\n"
            f"last() {{ tail -n 1 {EXTERNAL_FOLDER}/$1 2>/dev/null || {private} tail -n 1 files/$1 2>/dev/null; }}"
        )

    def read(self, phone: Phone, folder: str, name: str) -> bytes:
        """From external storage; where the shell may not look into it, through `run-as`."""
        outside = f"{EXTERNAL_FOLDER}/{name}"
        if phone.shell(["test", "-r", outside]).exit_code == 0:
            return phone.read(outside)
        try:
            return phone.read(f"files/{name}", app=APP_PACKAGE)
        except NotDebuggable as error:
            raise NotDebuggable(
                f"{phone.serial}: {outside} cannot be read by the shell, and the app was not built as debuggable, so "
                "its private files cannot be read either. Install a debuggable build, or check that external storage "
                "is mounted."
            ) from error

    def log(self, phone: Phone, folder: str, pid: int | None) -> str:
        """Of its process in the system's log, since Android 7; empty if it never said which process it is."""
        return "" if pid is None else phone.script(f"logcat -d --pid={pid} 2>/dev/null").stdout

    def log_tail(self, phone: Phone, folder: str) -> str:
        """The end of the system's log."""
        return _tail(phone.script("logcat -d -t 200 2>/dev/null").stdout)

    def last_exit(self, phone: Phone, pid: int | None, since: str) -> Exit | None:
        """As Android 11 and later say."""
        dump = phone.shell(["dumpsys", "activity", "exit-info", APP_PACKAGE]).stdout
        return last_exit(dump, pid=pid, since=since)

    def clean(self, phone: Phone, folder: str, run_id: str) -> None:
        """Stop the app and remove its files of this launch."""
        whole = [result_file(run_id), logits_file(run_id)]
        names = [progress_file(run_id), *whole, *(f"{name}.tmp" for name in whole)]
        phone.shell(["am", "force-stop", APP_PACKAGE])
        phone.shell(["rm", "-f", *(f"{EXTERNAL_FOLDER}/{name}" for name in names)])
        phone.shell(["run-as", APP_PACKAGE, "rm", "-f", *(f"files/{name}" for name in names)])


class StartedByTheShell:
    """What instruments share that the shell starts: everything lies in the job's folder."""

    def look(self, folder: str) -> str:
        """In the job's folder."""
        return _look_in(folder)

    def read(self, phone: Phone, folder: str, name: str) -> bytes:
        """Straight from the job's folder."""
        return phone.read(f"{folder}/{name}")

    def log(self, phone: Phone, folder: str, pid: int | None) -> str:
        """What it printed."""
        return phone.script(f"cat {folder}/log.txt 2>/dev/null").stdout

    def log_tail(self, phone: Phone, folder: str) -> str:
        """The end of what it printed."""
        return _tail(phone.script(f"tail -n {LOG_LINES} {folder}/log.txt 2>/dev/null").stdout)

    def last_exit(self, phone: Phone, pid: int | None, since: str) -> Exit | None:
        """Nobody notes how a child of the shell ended."""
        return None

    def clean(self, phone: Phone, folder: str, run_id: str) -> None:
        """Nothing lies outside the folder."""


@dataclass(frozen=True)
class PythonAgent(StartedByTheShell):
    """A small agent for boards that run adbd with Linux and Python."""

    name: InstrumentName = "python"
    formats: frozenset[DeviceFormat] = ALL_FORMATS
    reads_pictures: bool = True

    def prepare(self, phone: Phone, identity: Identity) -> None:
        """See `Instrument`."""
        answer = phone.shell(["python3", "-c", "import numpy, sys; assert sys.version_info >= (3, 8)"])
        if answer.exit_code != 0:
            raise UsageError(
                f"{identity.name} has no Python with NumPy for --instrument python (it said: {answer.words}). Install "
                "python3 and numpy with the runtimes on the board, or use --instrument app."
            )

    def runtimes(self, phone: Phone) -> Runtimes:
        """Those installed for the board's Python."""
        return of_python(phone)

    def start(self, phone: Phone, folder: str, run_id: str) -> None:
        """Push the agent into the job's folder and start it there."""
        agent = f"{folder}/{AGENT.name}"
        phone.push(AGENT, agent, sha256=sha256_of_file(AGENT))
        phone.start(["python3", agent, f"{folder}/{JOB_FILE}", folder], log=f"{folder}/log.txt")


@dataclass(frozen=True)
class NativeRunner(StartedByTheShell):
    """A torch-free ExecuTorch runner in C++: no app, no Python."""

    name: InstrumentName = "native"
    formats: frozenset[DeviceFormat] = frozenset({"executorch"})
    reads_pictures: bool = False

    def prepare(self, phone: Phone, identity: Identity) -> None:
        """See `Instrument`."""
        abi = _abi(phone)
        if _native_files(abi) is None:
            raise UsageError(
                f"the native instrument is not built for {abi}. Build it: python -m "
                "bench.instruments.native.build EXECUTORCH (--help tells more)."
            )
        loader = _loader(native_folder(abi) / "runner")
        if loader and phone.shell(["test", "-e", loader]).exit_code != 0:
            raise UsageError(
                f"the native instrument for {abi} was built for a system that has {loader}, and {identity.name} has "
                "none. Build it for this one (bench/android/README.md: with the NDK for Android, with "
                "bench.instruments.native.build for Linux), or use --instrument app."
            )

    def runtimes(self, phone: Phone) -> Runtimes:
        """The ExecuTorch it was built with."""
        return of_native(native_folder(_abi(phone)) / "runner")

    def start(self, phone: Phone, folder: str, run_id: str) -> None:
        """Push the runner with its libraries into the job's folder and start it there."""
        for path in _native_files(_abi(phone)) or ():
            phone.push(path, f"{folder}/{path.name}", sha256=sha256_of_file(path))
        # Pushed files do not keep their mode on every phone.
        phone.must(["chmod", "0755", f"{folder}/runner"])
        phone.start([f"{folder}/runner", f"{folder}/{JOB_FILE}", folder], log=f"{folder}/log.txt")


INSTRUMENTS: dict[str, type[App] | type[NativeRunner] | type[PythonAgent]] = {
    "app": App,
    "native": NativeRunner,
    "python": PythonAgent,
}


def find_instrument(name: str) -> Instrument:
    """An instrument by name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in INSTRUMENTS:
        raise UsageError(f"there is no instrument {name!r}. Choose one of: {', '.join(INSTRUMENTS)}.")
    return INSTRUMENTS[name]()


def _abi(phone: Phone) -> str:
    machine = phone.must(["uname", "-m"]).strip()
    return ABIS.get(machine, machine)


def _native_files(abi: str) -> list[Path] | None:
    folder = native_folder(abi)
    return sorted(folder.iterdir()) if (folder / "runner").is_file() else None


def _loader(runner: Path) -> str | None:
    """The program that an ELF file names to load it: Android has its own, and glibc's names the processor."""
    match = re.search(rb"/[\w./-]*(?:ld-linux[\w.-]*|linker64)(?=\0)", runner.read_bytes())
    return match.group().decode() if match else None


def _look_in(folder: str) -> str:
    return f"has() {{ [ -f {folder}/$1 ]; }}\nlast() {{ tail -n 1 {folder}/$1 2>/dev/null; }}"


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-LOG_LINES:])[-LOG_CHARS:]


def _last_lines(answer: Answer) -> str:
    return _tail(f"{answer.stderr}\n{answer.stdout}") or "nothing"
