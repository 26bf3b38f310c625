"""Whether the runtimes on a phone are new enough for an artifact, asked before anything is pushed.

A manifest names the oldest runtime that should load its file, e.g. "executorch 1.4.1". What cannot be compared is
measured anyway, with a word about it: the runtime itself has the last say.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.android.adb import CommandFailed, Phone, TransferFailed
from export.artifact.manifest import Manifest

LIST_IN_APK = "assets/runtimes.properties"
"""Of the demo app: lines `format = group:artifact:version`, only of the runtimes that were packed."""

APK_TIMEOUT_S = 120.0
LITERT_SUCCEEDS = ("1.0.1", "2.17.0")
"""LiteRT goes on from TensorFlow Lite with versions of its own: Maven lists tensorflow-lite 2.17.0 as relocated to
litert 1.0.1, so that version and all later ones know what 2.17.0 knows. Nothing says what newer numbers stand for."""

NATIVE_VERSION = re.compile(rb"pocket-distill runner for executorch (\d[\w.]*)")
"""What the runner says of itself; `runner.cpp` holds the text."""

ASK_PYTHON = """
import importlib.metadata, importlib.util, json
def version(module, package):
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
print(json.dumps({
    "executorch": ["executorch", version("executorch", "executorch")],
    "litert": ["litert", version("ai_edge_litert", "ai-edge-litert")],
    "onnx": ["onnxruntime", version("onnxruntime", "onnxruntime")],
    "torchscript": ["libtorch", version("torch", "torch")],
}))
"""
"""Prints runtime and version by format: null where it is not installed, "" where it does not say its version."""


@dataclass(frozen=True)
class Runtime:
    """One runtime on a device; `version` is None if it does not say."""

    name: str
    version: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.version or 'of unknown version'}"


@dataclass(frozen=True)
class Runtimes:
    """What an instrument has on one phone.

    Attributes:
        owner: whose they are, for messages.
        by_format: the runtime of each format; None if it cannot be found out.
        unknown_because: why not; empty if it can.
        remedy: what to do if one is missing or too old.
    """

    owner: str
    by_format: Mapping[str, Runtime] | None
    unknown_because: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        if self.by_format is None:
            return "unknown"
        return ", ".join(map(str, self.by_format.values())) or "none"


@dataclass(frozen=True)
class Fit:
    """Whether an artifact's needs are met: neither field is set if they are.

    Attributes:
        refusal: why it cannot run.
        doubt: why that is not known.
    """

    refusal: str | None = None
    doubt: str | None = None


def fit(manifest: Manifest, runtimes: Runtimes) -> Fit:
    """Compare what an artifact needs with what there is."""
    if runtimes.by_format is None:
        return Fit(doubt=f"which runtimes {runtimes.owner} has is not known: {runtimes.unknown_because}")
    runtime = runtimes.by_format.get(manifest.format)
    if runtime is None:
        return Fit(
            refusal=f"{runtimes.owner} has no runtime for {manifest.format}, it has: {runtimes}. {runtimes.remedy}"
        )
    if manifest.minimum_runtime is None:
        return Fit()
    new_enough = _is_new_enough(runtime, manifest.minimum_runtime)
    needs = f"this artifact needs {manifest.minimum_runtime} or newer, {runtimes.owner} has {runtime}"
    if new_enough is None:
        return Fit(doubt=f"{needs}; which of the two is newer is not known")
    return Fit() if new_enough else Fit(refusal=f"{needs}. {runtimes.remedy} Or export it again for that runtime.")


def _is_new_enough(runtime: Runtime, minimum: str) -> bool | None:
    name, _, wanted = minimum.partition(" ")
    if runtime.version is None or not _is_version(wanted) or not _is_version(runtime.version):
        return None
    if runtime.name == name:
        return _numbers(runtime.version) >= _numbers(wanted)
    if (runtime.name, name) == ("litert", "tensorflow-lite"):
        first, succeeded = LITERT_SUCCEEDS
        known = _numbers(runtime.version) >= _numbers(first) and _numbers(wanted) <= _numbers(succeeded)
        return True if known else None
    return None


def _is_version(text: str) -> bool:
    return re.match(r"\d+(\.\d+)*", text) is not None


def _numbers(version: str) -> tuple[int, ...]:
    """The release as numbers: 1.14 is 1.14.0, and what follows them (a1, +cpu) does not count."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release.group().split(".")] if release else []
    return tuple((numbers + [0] * 4)[:4])


def of_app(phone: Phone, package: str) -> Runtimes:
    """The runtimes packed into an installed app, as the list in its package says.

    Raises:
        DeviceLost, AdbTimeout: the phone does not answer.
    """
    owner = f"the app on {phone.serial}"
    remedy = (
        "Build the app with what is missing or with newer archives (android_demo/runtimes.properties, then make app) "
        "and install it."
    )
    try:
        listing = _read_list(phone, package)
    except (CommandFailed, TransferFailed, zipfile.BadZipFile) as error:
        return Runtimes(owner, None, f"its package cannot be read: {error}", remedy)
    except KeyError:
        return Runtimes(owner, None, f"its package holds no {LIST_IN_APK}", remedy)
    lines = re.findall(r"^\s*([\w-]+)\s*=\s*(\S+)\s*$", listing, re.MULTILINE)
    return Runtimes(owner, {name: _packed(archive) for name, archive in lines}, remedy=remedy)


def _read_list(phone: Phone, package: str) -> str:
    """The list's text; KeyError without one, BadZipFile if the package is broken."""
    # The first of several is the base; others hold one ABI or one language.
    path = phone.must(["pm", "path", package]).splitlines()[0].removeprefix("package:").strip()
    answer = phone.shell(["unzip", "-p", path, LIST_IN_APK])
    if answer.exit_code == 0 and answer.stdout.strip():
        return answer.stdout
    # Androids before 11 have no unzip; one that failed says less than the file itself.
    with zipfile.ZipFile(io.BytesIO(phone.read(path, timeout_s=APK_TIMEOUT_S))) as apk:
        return apk.read(LIST_IN_APK).decode(errors="replace")


def _packed(archive: str) -> Runtime:
    """The runtime in an archive, e.g. org.pytorch:executorch-android:1.4.1."""
    parts = archive.split(":")
    if len(parts) != 3:
        return Runtime(archive, None)
    return Runtime(parts[1].removesuffix("-android"), parts[2])


def of_native(runner: Path) -> Runtimes:
    """The one runtime in a native runner, as the file says."""
    owner = "the native instrument"
    remedy = "Build it with a newer package: python -m bench.instruments.native.build."
    said = NATIVE_VERSION.search(runner.read_bytes())
    return Runtimes(owner, {"executorch": Runtime("executorch", said and said.group(1).decode())}, remedy=remedy)


def of_python(phone: Phone) -> Runtimes:
    """The runtimes installed for Python on a board.

    Raises:
        DeviceLost, AdbTimeout: the phone does not answer.
    """
    owner = f"Python on {phone.serial}"
    remedy = "Install a newer one there (python3 -m pip install)."
    answer = phone.shell(["python3", "-c", ASK_PYTHON])
    try:
        versions: dict[str, tuple[str, str | None]] = json.loads(answer.stdout)
    except ValueError:
        return Runtimes(owner, None, f"it said: {answer.words}", remedy)
    installed = {name: Runtime(runtime, said or None) for name, (runtime, said) in versions.items() if said is not None}
    return Runtimes(owner, installed, remedy=remedy)
