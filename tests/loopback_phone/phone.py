"""A loopback phone: the real adbd in namespaces of its own, over a small Android-shaped root.

Real: the adb protocol, adbd, the shell, file transfer, whatever runtime measures the models. Stand-ins: Android's
services, answered from recorded outputs (`phones/`), and the app, which is the `python` instrument. Everything dies
with the process that started it.

A kind whose first ABI is arm64 is made of arm64 programs, adbd too, each run by an emulator that only the phone's own
user namespace knows of.
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from tests.loopback_phone.emulator import PROCESSOR, emulator
from tests.loopback_phone.image import ARM64, X86_64, image
from tests.loopback_phone.packages import Unavailable

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
PROGRAMS = HERE / "android"
PHONES = HERE / "phones"
AGENT = REPOSITORY / "bench" / "instruments" / "agent.py"
SHELL_UID = 2000
APP = "org.pocketdistill.demo"
ANSWER_TIMEOUT_S = 10.0
T = TypeVar("T")
MACHINE_LIBRARIES = "/machine"
"""Where the phone sees this machine's libraries; in their own place it has those of its image."""

AGENT_AS_APP = f'#!/system/bin/sh\nexec python3 {AGENT} --instrument app "$1" "$2"\n'
SLOWER_APP = Path(__file__).with_name("slower_app.py")
RUNTIMES = {
    "executorch": ("org.pytorch:executorch-android", "executorch"),
    "litert": ("com.google.ai.edge.litert:litert", "ai-edge-litert"),
    "onnx": ("com.microsoft.onnxruntime:onnxruntime-android", "onnxruntime"),
    "torchscript": ("org.pytorch:pytorch_android_lite", "torch"),
}
"""By format: the archive an app packs, and the Python package that runs the models instead."""

ARM64_PROGRAMS = (
    r":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:%s:F"
)
"""For the kernel's binfmt_misc: start of an ELF file for arm64, the bits of it that count, the program that runs it."""


OWN_BINFMT = (6, 7)
"""The Linux since which a user namespace has its own binfmt_misc."""


def packed_runtimes() -> dict[str, str]:
    """What the app's `runtimes.properties` would say if it had packed the runtimes this machine has, by format."""
    found: dict[str, str] = {}
    for format_name, (archive, package) in RUNTIMES.items():
        try:
            found[format_name] = f"{archive}:{version(package).partition('+')[0]}"
        except PackageNotFoundError:
            continue
    return found


def why_not() -> str | None:
    """Why no loopback phone can be started here, or None."""
    if os.geteuid() != 0:
        return "a loopback phone needs root: it mounts its own root folder"
    if missing := [name for name in ("unshare", "nsenter", "mount") if shutil.which(name) is None]:
        return f"a loopback phone needs {', '.join(missing)}"
    try:
        image()
    except Unavailable as error:
        return f"no image for a loopback phone: {error}"
    return None


def free_port() -> int:
    """A TCP port nobody listens on; outside the range that adb scans for emulators."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: str, ask: Callable[[], T | None], *, timeout_s: float = ANSWER_TIMEOUT_S, poll_s: float = 0.02) -> T:
    """The first answer that is neither None nor False."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = ask()
        if found:
            return found
        time.sleep(poll_s)
    raise TimeoutError(f"{what} did not happen within {timeout_s} s")


@dataclass
class LoopbackPhone:
    """One phone.

    Attributes:
        folder: for its files; a phone started again on the same folder has its old storage.
        kind: name of a folder in `phones/`.
        properties: changes to the recorded ones.
        state: changes to the recorded state (temperatures, battery, …).
        program: text of the shell script that is the app; it gets the job and a folder.
        has_app, debuggable: whether the app is installed, and built as debuggable. An arm64 phone never has it.
        runtimes: of the app's package, as format to `group:artifact:version`; None for a package without the list.
        mounts: files and folders of this machine to show inside, read-only, by their absolute path there.
        needs_key: whether it asks for this computer's key.
        banner: e.g. "recovery", for states other than `device`.
        storage_bytes: size of /data/local/tmp; None for no limit.
    """

    folder: Path
    kind: str = "pixel_android14"
    properties: dict[str, str] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    program: str = AGENT_AS_APP
    has_app: bool = True
    debuggable: bool = False
    runtimes: Mapping[str, str] | None = field(default_factory=packed_runtimes)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    needs_key: bool = False
    banner: str | None = None
    storage_bytes: int | None = None
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def serial(self) -> str:
        """What adb calls it."""
        return f"127.0.0.1:{self.port}"

    @property
    def files(self) -> Path:
        """Its root as it sees it itself, for looking and for changing things while it runs."""
        return Path(f"/proc/{self._init()}/root") / self._root.relative_to("/")

    @property
    def tmp(self) -> Path:
        """Its /data/local/tmp."""
        return self.files / "data/local/tmp"

    @property
    def is_arm64(self) -> bool:
        """Whether its programs are for another processor than this machine's."""
        return _key_values(PHONES / self.kind / "properties")["ro.product.cpu.abilist"].startswith(ARM64.name)

    @property
    def image(self) -> Path:
        """Its read-only root; Unavailable if this machine cannot make it."""
        return _arm64_image() if self.is_arm64 else image(X86_64)

    @property
    def apk(self) -> Path:
        """The app's package, as `pm path` names it."""
        return self.files / "data/app" / APP / "base.apk"

    @property
    def _root(self) -> Path:
        return self.folder / "root"

    def start(self) -> "LoopbackPhone":
        """Boot; returns when it listens."""
        self._prepare()
        script = self.folder / "boot.sh"
        script.write_text(self._boot_script())
        # In a user namespace of its own it has its own binfmt_misc: nothing else here runs arm64 programs.
        namespaces = [*(["-U"] if self.is_arm64 else []), "-m", "-p", "-u", "-i"]
        with (self.folder / "adbd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, "-f", "--kill-child=SIGKILL", "sh", script],
                stdout=log,
                stderr=log,
                stdin=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        if self.is_arm64:
            _map_all_users(self._process.pid)
        assert self._process.stdin
        # The boot script waits for this line.
        self._process.stdin.write(b"\n")
        self._process.stdin.close()
        wait_for("adbd listening", self._listens)
        return self

    def power_off(self) -> None:
        """Everything inside dies at once; the storage stays."""
        if self._process and self._process.poll() is None:
            os.kill(self._init(), signal.SIGKILL)
            self._process.wait(ANSWER_TIMEOUT_S)

    def reboot(self) -> None:
        """Power off and boot again: same storage, new boot id."""
        self.power_off()
        self.start()

    def stop(self) -> None:
        """Power off and remove its files."""
        self.power_off()
        shutil.rmtree(self.folder, ignore_errors=True)

    def freeze(self) -> None:
        """adbd stops answering while its state stays `device`."""
        os.kill(self._adbd(), signal.SIGSTOP)

    def kill_adbd(self) -> None:
        """adbd crashes; the phone starts it again, what the shell started goes on."""
        os.kill(self._adbd(), signal.SIGKILL)

    def thaw(self) -> None:
        """adbd goes on."""
        os.kill(self._adbd(), signal.SIGCONT)

    def set_state(self, **values: object) -> None:
        """Change what the services report from now on."""
        for name, value in values.items():
            (self.files / "data/system/state" / name).write_text(f"{value}\n")

    def setting(self, name: str) -> str | None:
        """A setting, e.g. `global.low_power`; None if it is not set."""
        path = self.files / "data/system/settings" / name
        return path.read_text().strip() if path.is_file() else None

    def accept(self, public_key: str) -> None:
        """Accept a computer's key, as a person does on the screen."""
        with (self.files / "adb_keys").open("a") as file:
            file.write(public_key.strip() + "\n")

    @property
    def settings_at_first(self) -> dict[str, str]:
        """The settings it came with."""
        return _key_values(PHONES / self.kind / "settings")

    def replace_program(self, name: str, script: str) -> None:
        """Put a shell script in the place of one of its programs."""
        path = self.files / "system/bin" / name
        path.unlink()
        _write_program(path, f"#!/system/bin/sh\n{script}\n")

    def make_storage_read_only(self) -> None:
        """Remount /data/local/tmp read-only; needs `storage_bytes`."""
        command = ["mount", "-o", "remount,ro", f"{self._root}/data/local/tmp"]
        subprocess.run(["nsenter", "-t", str(self._init()), "-m", "--", *command], check=True)

    def processes(self) -> list[int]:
        """Process ids (of this machine) of everything that runs the app or an instrument."""
        found: list[int] = []
        for pid in Path("/proc").iterdir():
            try:
                same = pid.name.isdecimal() and os.readlink(pid / "ns/pid") == os.readlink(
                    f"/proc/{self._init()}/ns/pid"
                )
                if same and AGENT.name.encode() in (pid / "cmdline").read_bytes():
                    found.append(int(pid.name))
            except OSError:
                continue
        return found

    def _listens(self) -> bool:
        if self._process and self._process.poll() is not None:
            raise RuntimeError(f"the phone ended: {(self.folder / 'adbd.log').read_text()[-500:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _init(self) -> int:
        process = self._process
        assert process is not None
        return wait_for("the phone's first process", lambda: next(iter(_children(process.pid)), None))

    def _adbd(self) -> int:
        return wait_for("adbd", lambda: next((pid for pid in _children(self._init()) if _name(pid) == "adbd"), None))

    def _prepare(self) -> None:
        upper = self.folder / "upper"
        first = not upper.exists()
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        programs = upper / "system/bin"
        programs.mkdir(parents=True, exist_ok=True)
        for program in PROGRAMS.iterdir():
            shutil.copy2(program, programs / program.name)
        if not self.is_arm64:
            _write_program(programs / "python3", _python_command())
            adbd = programs / "adbd"
            adbd.unlink(missing_ok=True)
            adbd.write_bytes(_patched((self.image / "system/bin/adbd").read_bytes(), needs_key=self.needs_key))
            adbd.chmod(0o755)
        if first:
            self._first_boot(upper)

    def _first_boot(self, upper: Path) -> None:
        data = PHONES / self.kind
        system = upper / "data/system"
        for name in ("state", "settings", "answers"):
            (system / name).mkdir(parents=True)
        serial = {"ro.serialno": f"LOOPBACK{self.port}"}
        properties = {**_key_values(data / "properties"), **serial, **self.properties}
        (system / "properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        for key, value in {**_key_values(data / "state"), **self.state}.items():
            (system / "state" / key).write_text(f"{value}\n")
        for key, value in _key_values(data / "settings").items():
            (system / "settings" / key).write_text(f"{value}\n")
        for answer in (*data.glob("dumpsys.*"), *data.glob("cmd.*")):
            shutil.copy2(answer, system / "answers" / answer.name)
        if self.has_app and not self.is_arm64:
            self._install_app(upper)
        _write_clocks(upper)

    def _install_app(self, upper: Path) -> None:
        app = upper / "data/app" / APP
        app.mkdir(parents=True)
        _write_program(app / "program", self.program)
        _write_apk(app / "base.apk", self.runtimes)
        (upper / "data/data" / APP / "files").mkdir(parents=True)
        if self.debuggable:
            (app / "debuggable").touch()

    def _boot_script(self) -> str:
        root = self._root
        storage = (
            f"mount -t tmpfs -o mode=777,size={self.storage_bytes} tmpfs {root}/data/local/tmp"
            if self.storage_bytes
            else ""
        )
        mounts = {**({} if self.is_arm64 else _python_mounts()), **self.mounts}
        binds = "\n".join(_bind(path, f"{root}{inside}") for inside, path in mounts.items())
        banner = f"--device_banner={self.banner}" if self.banner else ""
        return f"""set -e
read -r _
mount --make-rprivate /
{_emulation() if self.is_arm64 else ""}
mount -t overlay overlay -o lowerdir={self.image},upperdir={self.folder}/upper,workdir={self.folder}/work {root}
mount -t proc proc {root}/proc
mount --bind {self.folder}/boot_id {root}/proc/sys/kernel/random/boot_id
mount -t tmpfs -o mode=755 tmpfs {root}/dev
for name in null zero random urandom tty; do touch {root}/dev/$name; mount --bind /dev/$name {root}/dev/$name; done
mkdir -p {root}/dev/pts {root}/dev/shm
chmod 1777 {root}/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts {root}/dev/pts
ln -s pts/ptmx {root}/dev/ptmx
ln -s /proc/self/fd {root}/dev/fd
{storage}
{binds}
hostname loopback
chown -R {SHELL_UID}:{SHELL_UID} {root}/data {root}/storage
# This shell stays the phone's first process, as it keeps its parent-death signal, which a change of user clears. Like
# Android's, it starts adbd again when it ends.
while :; do
env -i PATH=/system/bin HOME=/ TMPDIR=/data/local/tmp TERM=dumb ANDROID_ROOT=/system ANDROID_DATA=/data \\
  QEMU_CPU={PROCESSOR} EXTERNAL_STORAGE=/sdcard ADBD_PROPERTIES=/data/system/properties ADBD_PORT={self.port} \\
  /usr/sbin/chroot --userspec={SHELL_UID}:{SHELL_UID} {root} \\
  /system/bin/env LD_PRELOAD=/system/lib64/adbd_properties.so /system/bin/adbd {banner} || true
sleep 0.05
done
"""


@dataclass
class AdbServer:
    """A private adb server: own port, own keys, and it looks for no other device of this machine."""

    program: Path
    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to talk to this server."""
        quiet = {"ADB_MDNS": "0", "ADB_USB": "0", "ADB_EMU": "0", "ADB_MDNS_AUTO_CONNECT": "0"}
        place = {"HOME": str(self.folder), "ANDROID_ADB_SERVER_PORT": str(self.port)}
        return {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder), "ADB": str(self.program), **quiet, **place}

    def start(self) -> "AdbServer":
        """Start it as a child of this process; returns when it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, "-P", str(self.port), "nodaemon", "server"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        wait_for("the adb server listening", self._listens)
        return self

    def stop(self) -> None:
        """End it at once."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(ANSWER_TIMEOUT_S)

    def attach(self, phone: LoopbackPhone, *, state: str = "device") -> None:
        """Connect to a phone and wait for a state."""
        self.run("disconnect", phone.serial)
        self.run("connect", phone.serial)
        wait_for(f"{phone.serial} {state}", lambda: f"{phone.serial}\t{state}" in self.run("devices"))

    def begin_connecting(self, phone: LoopbackPhone) -> None:
        """Ask for a connection to a phone that does not answer; returns when the server lists it."""
        client = subprocess.Popen(
            [self.program, "connect", phone.serial],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(f"{phone.serial} listed", lambda: phone.serial in self.run("devices"))
        finally:
            client.kill()
            client.wait()

    def detach(self, phone: LoopbackPhone) -> None:
        """Forget a phone."""
        self.run("disconnect", phone.serial)

    def run(self, *words: str) -> str:
        """Standard output of one adb command."""
        done = subprocess.run(
            [self.program, *words], env=self.environment, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S
        )
        return done.stdout

    def public_key(self) -> str:
        """The key this server shows to phones."""
        return (self.folder / ".android/adbkey.pub").read_text()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _die_with_parent() -> None:
    # A test run that is killed must leave neither phones nor servers behind.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _key_values(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.is_file() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _arm64_image() -> Path:
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    if release < OWN_BINFMT:
        raise Unavailable(
            f"an emulated phone needs Linux {OWN_BINFMT[0]}.{OWN_BINFMT[1]}, this is {os.uname().release}"
        )
    return image(ARM64, run_with=lambda: [emulator()])


def _map_all_users(pid: int) -> None:
    """Give the new user namespace of a process the users of this machine."""
    own = os.readlink("/proc/self/ns/user")
    wait_for("its user namespace", lambda: os.readlink(f"/proc/{pid}/ns/user") != own)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text("0 0 65536\n")


def _emulation() -> str:
    return f"""mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' '{ARM64_PROGRAMS % emulator()}' > /proc/sys/fs/binfmt_misc/register
export QEMU_CPU={PROCESSOR}"""


def _write_apk(path: Path, runtimes: Mapping[str, str] | None) -> None:
    """A package as far as a host looks into one: a zip file with the list of the runtimes in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as apk:
        apk.writestr("AndroidManifest.xml", b"")
        if runtimes is not None:
            lines = ["# The runtimes in this app", *(f"{name} = {archive}" for name, archive in runtimes.items())]
            apk.writestr("assets/runtimes.properties", "\n".join(lines) + "\n")


def slower_app(delays: str) -> dict[str, Any]:
    """Fields of a phone whose app takes longer in some formats, e.g. "onnx=6,litert=3" by so many ms a call."""
    place = "/opt/slower_app.py"
    program = f'#!/system/bin/sh\nexec python3 {place} {delays} {AGENT} "$1" "$2"\n'
    return {"program": program, "mounts": {place: SLOWER_APP}}


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _patched(adbd: bytes, *, needs_key: bool) -> bytes:
    """adbd without the features Debian's build advertises and does not have; asking for keys if wanted."""
    for name in (b"abb", b"abb_exec"):
        # A string constant, or the immediate of an instruction where it is built in place.
        adbd = adbd.replace(b"\0" + name + b"\0", b"\0" + b"x" * len(name) + b"\0")
        if len(name) == 8:
            adbd = adbd.replace(b"\x48\xb8" + name, b"\x48\xb8" + b"x" * 8)
    return _asking_for_keys(adbd) if needs_key else adbd


def _asking_for_keys(adbd: bytes) -> bytes:
    """Debian switches authentication off in adbd's main: `auth_required = false`, then getenv("ADB_EXTERNAL_STORAGE").
    The one byte of that assignment is set to 1."""
    places: list[int] = []
    for found in re.finditer(rb"\x48\x8d\x05...\x00\xc6\x00\x00\x48\x8d\x3d(....)\xe8", adbd, re.DOTALL):
        target = found.start(1) + 4 + int.from_bytes(found.group(1), "little", signed=True)
        # The text segment may be mapped some pages above its place in the file.
        if any(adbd[target + shift :].startswith(b"ADB_EXTERNAL_STORAGE\0") for shift in (0, 0x1000, 0x2000)):
            places.append(found.start() + 9)
    if len(places) != 1:
        raise RuntimeError(f"adbd is another build than expected: {len(places)} places switch authentication off")
    return adbd[: places[0]] + b"\x01" + adbd[places[0] + 1 :]


def _python_command() -> str:
    """This machine's Python with this machine's libraries, whatever libc the image has."""
    executable = Path(sys.executable).resolve()
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{MACHINE_LIBRARIES}"
    variables = "OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 HOME=/data/local/tmp"
    loader = f"{MACHINE_LIBRARIES}/{X86_64.loader}"
    return (
        f"#!/system/bin/sh\nexport {variables}\n"
        f'exec {loader} --library-path {libraries} --argv0 {sys.executable} {executable} "$@"\n'
    )


def _python_mounts() -> dict[str, Path]:
    """What Python needs to run in the phone: interpreter, standard library, packages, this repository, libraries."""
    paths = sysconfig.get_paths()
    wanted = [
        Path(sys.executable).resolve(),
        Path(sysconfig.get_config_var("LIBDIR")),
        Path(paths["stdlib"]),
        Path(sys.prefix),
        REPOSITORY / "bench",
        REPOSITORY / "distill",
        REPOSITORY / "export",
    ]
    libraries = Path("/usr/lib") / X86_64.triplet
    return {**{str(path): path for path in wanted if path != libraries}, MACHINE_LIBRARIES: libraries}


def _bind(path: Path, target: str) -> str:
    make = f"mkdir -p '{target}'" if path.is_dir() else f"mkdir -p '{target.rpartition('/')[0]}'; touch '{target}'"
    return f"{make}; mount --bind '{path}' '{target}'; mount -o remount,bind,ro '{target}'"


def _write_clocks(upper: Path) -> None:
    """Four cores in two clusters, as plain files that a test may rewrite."""
    cpu = upper / "sys/devices/system/cpu"
    for name in ("possible", "present", "online"):
        cpu.mkdir(parents=True, exist_ok=True)
        (cpu / name).write_text("0-3\n")
    for core, khz in enumerate((1_800_000, 1_800_000, 2_800_000, 2_800_000)):
        clock = cpu / f"cpu{core}" / "cpufreq"
        clock.mkdir(parents=True)
        (clock / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (clock / "scaling_max_freq").write_text(f"{khz}\n")
        (clock / "scaling_cur_freq").write_text(f"{khz}\n")
    for policy, khz in ((0, 1_800_000), (2, 2_800_000)):
        stats = cpu / "cpufreq" / f"policy{policy}" / "stats"
        stats.mkdir(parents=True)
        (stats.parent / "related_cpus").write_text(f"{policy} {policy + 1}\n")
        (stats.parent / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (stats.parent / "scaling_max_freq").write_text(f"{khz}\n")
        (stats / "time_in_state").write_text(f"600000 1000\n{khz} 5000\n")
