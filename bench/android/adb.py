"""The one seam to the adb program.

adb's word is never taken for an end. When a phone dies during `adb shell`, clients 29 and 34 return 0 with half the
output; a frozen phone hangs for ever while its state says `device`; a cut push leaves a truncated file behind. So every
shell command ends with a sentinel that only its end prints, every file is hashed on both sides, every call has a time
limit, and a call without these is not offered.
"""

import hashlib
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from distill.errors import ToolError, UsageError, WorkFailed
from distill.terminal import say

DEFAULT_PORT = 5037
SHELL_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 2.0
START_TIMEOUT_S = 30.0
RECONNECT_TIMEOUT_S = 10.0
SLOWEST_BYTES_PER_S = 500_000
"""A transfer slower than this is taken for a hang; USB 2 moves 30 MB/s, a bad wireless link 1 MB/s."""

POLL_S = 0.5


class AdbMissing(UsageError):
    """There is no adb program, or it does not run."""


class ServerClash(UsageError):
    """Another adb version's server is running; this client would kill it and whatever depends on it."""


class NoUsableDevice(UsageError):
    """No device, or none in a state to work with, or several to choose from."""


class AdbFailed(WorkFailed):
    """Base of everything that fails once a device was chosen."""


class DeviceLost(AdbFailed):
    """The device went away, or stopped in the middle of an answer."""


class AdbTimeout(AdbFailed):
    """adb or the device did not answer in time."""


class TransferFailed(AdbFailed):
    """A file did not arrive, or not whole."""


class NoSpace(TransferFailed):
    """The device's storage is full."""


class NotWritable(TransferFailed):
    """The target is read-only or not ours."""


class CommandFailed(AdbFailed):
    """A command ran on the device and ended with another exit code than 0."""


class NotDebuggable(CommandFailed):
    """`run-as` refuses an app that was not built as debuggable."""


@dataclass(frozen=True)
class Answer:
    """What a command on the device said: exit code, and output as text (undecodable bytes replaced)."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """What it said, for an error message: standard error, or else the end of its output."""
        return (self.stderr.strip() or self.stdout.strip())[-400:] or "nothing"


@dataclass(frozen=True)
class DeviceRow:
    """One line of `adb devices -l`."""

    serial: str
    state: str
    model: str

    def __str__(self) -> str:
        return f"{self.serial} ({self.model or 'model unknown'}): {self.state}"


FIXES = {
    "unauthorized": "unlock the phone and accept the dialog that asks for this computer's key",
    "authorizing": "unlock the phone; it is asking about this computer's key",
    "offline": "replug the cable, try another port, or switch USB debugging off and on",
    "connecting": "wait a moment and run the same command again",
    "recovery": "restart the phone into Android: adb reboot",
    "rescue": "restart the phone into Android: adb reboot",
    "sideload": "restart the phone into Android: adb reboot",
    "bootloader": "restart the phone into Android: fastboot reboot",
    "no permissions": (
        "let this user open the USB device (Debian: apt install android-sdk-platform-tools-common), then replug it"
    ),
}
OTHER_FIX = "look at the phone's screen, then replug it"

SIGNS: tuple[tuple[str, type[AdbFailed], str], ...] = (
    (r"No space left", NoSpace, "Free some storage on the device and run the same command again."),
    (r"Read-only file system", NotWritable, "The target is mounted read-only; restart the device."),
    (
        r"run-as: package not debuggable",
        NotDebuggable,
        "Build the app as debuggable, or let it write to external storage.",
    ),
    (r"Permission denied|Operation not permitted", NotWritable, "Check what lies there: adb shell ls -ld."),
    (
        r"device '.*' not found|no devices/emulators found|device offline|device still |unauthorized|closed|"
        r"couldn't read from device|failed to read copy response|Connection reset|Broken pipe|EOF|protocol fault|"
        r"cannot connect to daemon|daemon not running",
        DeviceLost,
        "Check the cable and the phone's screen, then run the same command again.",
    ),
)
"""Words of adb or of the device, the error they mean, and the fix. The first that is found counts."""


SHARED_SERIALS = re.compile(r"unknown|0+|(0123456789|1234567890)[A-Fa-f]*|EMULATOR.*", re.IGNORECASE)
"""Serial numbers that many devices have: of emulators, and of boards whose maker gave none."""


def quote(words: Sequence[str]) -> str:
    """A command line for the device's shell in which every word stays one word, whatever is in it.

    Raises:
        UsageError: a word holds a NUL character, which no command line can carry.
    """
    if any("\0" in word for word in words):
        raise UsageError(f"a command for the device cannot hold a NUL character, found {list(words)!r}.")
    return " ".join(shlex.quote(word) for word in words)


def find_program(asked: str | None = None, *, environment: Mapping[str, str] = os.environ) -> Path:
    """The adb asked for, from `$ADB`, `$ANDROID_HOME`, `$PATH`, or inside the adbutils package.

    Raises:
        AdbMissing: it is nowhere, or what was asked for is no program.
    """
    for source, name in (("--adb", asked), ("$ADB", environment.get("ADB"))):
        if name:
            return _must_run(shutil.which(name), f"{source} names {name!r}, which is not a program.")
    places = [
        *(
            Path(home) / "platform-tools"
            for key in ("ANDROID_HOME", "ANDROID_SDK_ROOT")
            if (home := environment.get(key))
        ),
        *(Path(folder) for folder in environment.get("PATH", "").split(os.pathsep) if folder),
        *_inside_adbutils(),
    ]
    return _must_run(shutil.which("adb", path=os.pathsep.join(map(str, places))), "adb was not found.")


def _must_run(program: str | None, complaint: str) -> Path:
    if program is None:
        raise AdbMissing(
            f"{complaint} Install it (Debian: apt install adb; Python: pip install adbutils, which carries one), or "
            "name it with --adb."
        )
    return Path(program)


def _inside_adbutils() -> list[Path]:
    spec = importlib.util.find_spec("adbutils")
    return [Path(spec.origin).parent / "binaries"] if spec and spec.origin else []


@dataclass(frozen=True)
class Adb:
    """An adb program and the server it talks to.

    Attributes:
        program: the client.
        environment: of every call; `ANDROID_ADB_SERVER_PORT` in it chooses the server.
    """

    program: Path
    environment: Mapping[str, str]

    @classmethod
    def find(cls, asked: str | None = None, *, environment: Mapping[str, str] = os.environ) -> "Adb":
        """The adb of this machine, with its server running.

        Raises:
            AdbMissing, ServerClash: see there.
        """
        adb = cls(find_program(asked, environment=environment), dict(environment))
        adb._refuse_other_server()
        answer = adb.run(["start-server"], timeout_s=START_TIMEOUT_S)
        if answer.exit_code != 0:
            raise AdbMissing(
                f"{adb.program} cannot start its server; it said: {answer.words}. Name another with --adb."
            )
        return adb

    @property
    def port(self) -> int:
        """TCP port of the server."""
        text = self.environment.get("ANDROID_ADB_SERVER_PORT") or str(DEFAULT_PORT)
        if not text.isdecimal():
            raise UsageError(f"ANDROID_ADB_SERVER_PORT is {text!r}, expected a port number. Unset it or mend it.")
        return int(text)

    def protocol_version(self) -> int:
        """Version that client and server must share, e.g. 41 of "1.0.41"."""
        text = self.run(["version"], timeout_s=SHELL_TIMEOUT_S).stdout
        match = re.search(r"version \d+\.\d+\.(\d+)", text)
        if not match:
            raise AdbMissing(
                f"{self.program} does not answer like adb; it said {text[:200]!r}. Name another with --adb."
            )
        return int(match.group(1))

    def devices(self) -> list[DeviceRow]:
        """Every device the server knows, in its order."""
        answer = self.run(["devices", "-l"], timeout_s=SHELL_TIMEOUT_S)
        if answer.exit_code != 0:
            raise NoUsableDevice(f"adb cannot list devices; it said: {answer.words}. Try: adb kill-server")
        rows = [_device_row(line) for line in answer.stdout.splitlines()[1:]]
        return [row for row in rows if row]

    def choose(self, serial: str | None = None) -> "Phone":
        """The device asked for by `serial` or `ANDROID_SERIAL`, or the only one there is.

        An offline device is asked to reconnect once.

        Raises:
            NoUsableDevice: none, several, or one in a state that a person has to mend.
        """
        serial = serial or self.environment.get("ANDROID_SERIAL") or None
        row = self._pick(serial)
        if row.state == "offline":
            self.run(["-s", row.serial, "reconnect", "offline"], timeout_s=SHELL_TIMEOUT_S)
            row = self._wait_while_offline(row)
        if row.state != "device":
            raise NoUsableDevice(f"{row}. To use it: {FIXES.get(row.state, OTHER_FIX)}.")
        return Phone(self, row.serial)

    def usable(self) -> list["Phone"]:
        """Every device in the state `device`, once even if it is connected by cable and by network.

        Raises:
            NoUsableDevice: there is none.
        """
        phones = [Phone(self, row.serial) for row in self.devices() if row.state == "device"]
        if not phones:
            self._pick(None)
            raise NoUsableDevice(_none_usable(self.devices()))
        return distinct(phones)

    def run(self, arguments: Sequence[str], *, timeout_s: float) -> Answer:
        """Run the client; the words are its arguments as they stand.

        Raises:
            AdbTimeout, AdbMissing: see there.
        """
        try:
            done = subprocess.run(
                [str(self.program), *arguments],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                # Ctrl-C is for us: the phone's settings are still to be restored, through adb.
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise AdbTimeout(_too_slow(arguments, timeout_s)) from error
        except OSError as error:
            raise AdbMissing(f"{self.program} does not run: {error.strerror}. Name another with --adb.") from error
        return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def _pick(self, serial: str | None) -> DeviceRow:
        rows = self.devices()
        if serial is not None:
            for row in rows:
                if row.serial == serial:
                    return row
            raise NoUsableDevice(f"there is no device {serial!r}. {_listed(rows)}")
        usable = [row for row in rows if row.state == "device"]
        if len(usable) > 1:
            serials = {phone.serial for phone in distinct([Phone(self, row.serial) for row in usable])}
            usable = [row for row in usable if row.serial in serials]
        if len(usable) > 1:
            raise NoUsableDevice(
                f"{len(usable)} devices are connected and one is to be measured. Choose with --serial, or take all "
                f"with --all-devices. {_listed(usable)}"
            )
        if usable:
            return usable[0]
        if len(rows) == 1:
            return rows[0]
        raise NoUsableDevice(_none_usable(rows))

    def _wait_while_offline(self, row: DeviceRow) -> DeviceRow:
        deadline = time.monotonic() + RECONNECT_TIMEOUT_S
        while row.state == "offline" and time.monotonic() < deadline:
            time.sleep(POLL_S)
            row = next((device for device in self.devices() if device.serial == row.serial), row)
        return row

    def _refuse_other_server(self) -> None:
        server = _server_version(self.port) if "ADB_SERVER_SOCKET" not in self.environment else None
        client = self.protocol_version()
        if server is not None and server != client:
            raise ServerClash(
                f"an adb server of version {server} is running on port {self.port}, and {self.program} is version "
                f"{client}: it would kill that server and every session on it. Name the adb that started it with "
                "--adb, or choose another port with ANDROID_ADB_SERVER_PORT."
            )


@dataclass(frozen=True)
class Phone:
    """One device, always addressed by its serial; `patience_s` is the usual time limit of a call."""

    adb: Adb
    serial: str
    patience_s: float = SHELL_TIMEOUT_S

    @property
    def is_by_network(self) -> bool:
        """Whether adb reaches it by network: HOST:PORT, or a name of wireless debugging."""
        return re.search(r":\d+$|\._adb", self.serial) is not None

    def own_serial(self) -> str:
        """The phone's own serial number, by cable and by network the same; adb's name where it tells none."""
        text = self.script("getprop ro.serialno; getprop ro.boot.serialno").stdout
        numbers = [line.strip() for line in text.splitlines() if line.strip()]
        return next((number for number in numbers if not SHARED_SERIALS.fullmatch(number)), self.serial)

    def shell(self, words: Sequence[str], *, timeout_s: float | None = None) -> Answer:
        """Run one command; any exit code is an answer. Errors as `script`."""
        return self.script(quote(words), timeout_s=timeout_s)

    def must(self, words: Sequence[str], *, timeout_s: float | None = None) -> str:
        """Standard output of a command that has to succeed.

        Raises:
            CommandFailed: it ended with another code than 0; and all errors of `script`.
        """
        answer = self.shell(words, timeout_s=timeout_s)
        if answer.exit_code != 0:
            raise self._error(answer, f"`{quote(words)}` ended with exit code {answer.exit_code}", CommandFailed)
        return answer.stdout

    def script(self, text: str, *, timeout_s: float | None = None) -> Answer:
        """Run shell text on the device. What is put into the text must be quoted by the caller.

        Raises:
            DeviceLost: the end of the output did not arrive, whatever adb's exit code says.
            AdbTimeout: no end within the time limit; the command may still be running on the device.
        """
        token = secrets.token_hex(8)
        # The subshell keeps an `exit` or a syntax error in the text from skipping the sentinel.
        wrapped = f"( {text}\n)\nprintf '\\n%s %d\\n' {token} $?"
        answer = self._run(["shell", wrapped], timeout_s=timeout_s or self.patience_s)
        sentinel = re.search(rf"\r?\n{token} (\d+)\r?\n$", answer.stdout)
        if not sentinel:
            raise self._error(answer, f"the answer to `{text[:80]}` was cut off", DeviceLost)
        return Answer(int(sentinel.group(1)), answer.stdout[: sentinel.start()], answer.stderr)

    def start(self, words: Sequence[str], *, log: str) -> int:
        """Start a command that outlives this call and the cable; returns its process id on the device.

        Args:
            words: the command.
            log: file on the device for its output.
        """
        text = f"setsid {quote(words)} >{quote([log])} 2>&1 </dev/null & echo $!"
        answer = self.script(text)
        if answer.exit_code != 0 or not answer.stdout.strip().isdecimal():
            raise self._error(answer, "the instrument could not be started", CommandFailed)
        return int(answer.stdout)

    def push(self, local: Path, remote: str, *, sha256: str, told: Callable[[int], None] | None = None) -> None:
        """Copy a file to the device and check its hash there.

        Args:
            local: file on this machine.
            remote: absolute path on the device; its folder exists.
            sha256: what the file must have, on both sides.
            told: called every half second with the bytes that have arrived.

        Raises:
            TransferFailed, NoSpace, NotWritable, DeviceLost, AdbTimeout: see there.
        """
        size_bytes = local.stat().st_size
        limit_s = self.patience_s + size_bytes / SLOWEST_BYTES_PER_S
        answer = self._push(local, remote, timeout_s=limit_s, told=told)
        if answer.exit_code != 0:
            raise self._error(answer, f"{local} could not be pushed to {remote}", TransferFailed)
        sha256_there = self.sha256(remote, timeout_s=limit_s)
        if sha256_there != sha256:
            raise TransferFailed(
                f"{local} did not arrive whole on {self.serial}: SHA-256 there is {sha256_there[:12]}…, expected "
                f"{sha256[:12]}…. Run the same command again; if it repeats, try another cable or port."
            )

    def read(self, remote: str, *, app: str | None = None, timeout_s: float | None = None) -> bytes:
        """A file's bytes, checked against its hash on the device.

        Args:
            remote: path on the device.
            app: package whose private file it is (then through `run-as`).
            timeout_s: limit of each step; None for the usual one.

        Raises:
            TransferFailed: it could not be read, or what arrived is not what lies there.
        """
        timeout_s = timeout_s or self.patience_s
        expected = self.sha256(remote, app=app, timeout_s=timeout_s)
        if app is None:
            data = self._pull(remote, timeout_s=timeout_s)
        else:
            data = self._exec_out(["run-as", app, "cat", remote], timeout_s=timeout_s)
        if hashlib.sha256(data).hexdigest() != expected:
            raise TransferFailed(
                f"{remote} did not arrive whole from {self.serial}: {len(data)} bytes with another SHA-256 than on the "
                "device. Run the same command again."
            )
        return data

    def sha256(self, remote: str, *, app: str | None = None, timeout_s: float | None = None) -> str:
        """Hex SHA-256 of a file, computed on the device; CommandFailed if it cannot be read."""
        prefix = ["run-as", app] if app else []
        text = self.must([*prefix, "sha256sum", remote], timeout_s=timeout_s)
        # sha256sum puts a backslash in front of the hash if the name needed escaping.
        return text.strip().removeprefix("\\").split(" ")[0]

    def state(self) -> str | None:
        """What adb says of this device, e.g. `device` or `offline`; None if it is gone."""
        return next((row.state for row in self.adb.devices() if row.serial == self.serial), None)

    def wait_until_back(self, *, timeout_s: float, tick: Callable[[float], None] | None = None) -> bool:
        """Wait until the device answers again after it was lost.

        Args:
            timeout_s: how long.
            tick: called with the seconds left.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                self._reconnect()
                if self.script("true", timeout_s=PROBE_TIMEOUT_S).exit_code == 0:
                    return True
            except ToolError:
                pass
            if tick:
                tick(deadline - time.monotonic())
            time.sleep(POLL_S)
        return False

    def _reconnect(self) -> None:
        # A network device does not come back by itself at once; a fresh transport is the reliable way.
        if ":" in self.serial and self.state() != "device":
            self.adb.run(["disconnect", self.serial], timeout_s=PROBE_TIMEOUT_S)
            self.adb.run(["connect", self.serial], timeout_s=PROBE_TIMEOUT_S)
            deadline = time.monotonic() + PROBE_TIMEOUT_S
            while self.state() != "device" and time.monotonic() < deadline:
                time.sleep(POLL_S / 10)

    def _run(self, arguments: Sequence[str], *, timeout_s: float) -> Answer:
        try:
            return self.adb.run(["-s", self.serial, *arguments], timeout_s=timeout_s)
        except AdbTimeout as error:
            raise AdbTimeout(f"{self.serial}: {error}") from error

    def _push(self, local: Path, remote: str, *, timeout_s: float, told: Callable[[int], None] | None) -> Answer:
        arguments = ["push", str(local.resolve()), remote]
        if told is None:
            return self._run(arguments, timeout_s=timeout_s)
        process = subprocess.Popen(
            [str(self.adb.program), "-s", self.serial, *arguments],
            env=dict(self.adb.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + timeout_s
        with process:
            try:
                while True:
                    try:
                        out, err = process.communicate(timeout=POLL_S)
                        return Answer(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
                    except subprocess.TimeoutExpired:
                        if time.monotonic() > deadline:
                            raise AdbTimeout(f"{self.serial}: {_too_slow(arguments, timeout_s)}") from None
                        told(self._arrived(remote))
            finally:
                process.kill()

    def _arrived(self, remote: str) -> int:
        answer = self.shell(["stat", "-c", "%s", remote])
        return int(answer.stdout) if answer.exit_code == 0 and answer.stdout.strip().isdecimal() else 0

    def _pull(self, remote: str, *, timeout_s: float) -> bytes:
        with tempfile.TemporaryDirectory(prefix="bench-pull-") as folder:
            target = Path(folder) / "file"
            answer = self._run(["pull", remote, str(target)], timeout_s=timeout_s)
            if answer.exit_code != 0 or not target.is_file():
                raise self._error(answer, f"{remote} could not be read", TransferFailed)
            return target.read_bytes()

    def _exec_out(self, words: Sequence[str], *, timeout_s: float) -> bytes:
        command = [str(self.adb.program), "-s", self.serial, "exec-out", quote(words)]
        try:
            done = subprocess.run(
                command,
                env=dict(self.adb.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise AdbTimeout(f"{self.serial}: {_too_slow(command, timeout_s)}") from error
        return done.stdout

    def _error(self, answer: Answer, what: str, otherwise: type[AdbFailed]) -> AdbFailed:
        for pattern, kind, fix in SIGNS:
            if re.search(pattern, f"{answer.stderr}\n{answer.stdout}"):
                return kind(f"{self.serial}: {what}. adb said: {answer.words}. {fix}")
        fix = "Check the cable and the phone's screen, then run the same command again."
        return otherwise(f"{self.serial}: {what}. adb said: {answer.words}. {fix}")


STATES = "|".join(("device", "host", "unknown", *FIXES))


def _device_row(line: str) -> DeviceRow | None:
    """A line of the list; a serial may hold blanks: "adb-… (2)._adb-tls-connect._tcp"."""
    match = re.match(rf"(\S.*?)\s+({STATES})(?=\s|;|$)(.*)", line) or re.match(r"(\S+)\s+(\S+)(.*)", line)
    if not match:
        return None
    model = re.search(r"\bmodel:(\S+)", match.group(3))
    return DeviceRow(match.group(1), match.group(2), model.group(1) if model else "")


def distinct(phones: Sequence[Phone]) -> list[Phone]:
    """Each phone once, by cable if it is connected in two ways; one that does not answer stands for itself."""
    found: dict[str, Phone] = {}
    for phone in sorted(phones, key=lambda phone: phone.is_by_network) if len(phones) > 1 else []:
        try:
            own = phone.own_serial()
        except AdbFailed:
            own = phone.serial
        if own in found:
            say(f"{escape(found[own].serial)} and {escape(phone.serial)} are one phone; the former is used")
        found.setdefault(own, phone)
    kept = {phone.serial for phone in found.values()}
    return [phone for phone in phones if phone.serial in kept] if found else list(phones)


def _listed(rows: Sequence[DeviceRow]) -> str:
    return "Connected: " + "; ".join(map(str, rows)) + "." if rows else "Nothing is connected."


def _none_usable(rows: Sequence[DeviceRow]) -> str:
    if not rows:
        return (
            "no device is connected. Plug in a phone with USB debugging switched on (Settings, Developer options), or "
            "connect to one by network: adb connect HOST:PORT."
        )
    fixes = "; ".join(f"{row}: {FIXES.get(row.state, OTHER_FIX)}" for row in rows)
    return f"no connected device can be used. {fixes}."


def _too_slow(arguments: Sequence[str], timeout_s: float) -> str:
    # Of a shell command only what was asked for: the lines before the one that prints the sentinel.
    shown = quote(arguments) if "shell" not in arguments else "shell " + arguments[-1][2:].rsplit("\n)\n", 1)[0]
    shown = f"{shown[:120]}…" if len(shown) > 120 else shown
    return (
        f"adb did not finish `{shown}` within {timeout_s:g} s. The phone may be frozen or the cable loose: look at "
        "its screen, replug it, then run the same command again."
    )


def _server_version(port: int) -> int | None:
    """Version of the server that listens on a port; None if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PROBE_TIMEOUT_S) as link:
            link.sendall(b"000chost:version")
            answer = b""
            while len(answer) < 12 and (part := link.recv(12 - len(answer))):
                answer += part
    except OSError:
        return None
    return int(answer[8:], 16) if re.fullmatch(rb"OKAY0004[0-9a-fA-F]{4}", answer) else None
