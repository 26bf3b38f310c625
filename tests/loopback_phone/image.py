"""The read-only root of every loopback phone: Debian's real adbd, mksh as `sh`, toybox as the tools.

It is composed once and kept in a cache folder. Android's own programs (getprop, dumpsys, …) are stand-ins, put on top
of it by each phone.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.loopback_phone.packages import Unavailable, fetch, made_once

SUITE = "trixie"
PACKAGES = ["adbd", "mksh", "toybox", "busybox-static", "libcrypt1"]
KEEP = r"adbd|android-.*|lib.*|gcc-.*-base|zlib1g"
NOT_IN_DEBIANS_TOYBOX = ("awk", "dd", "tr", "expr", "diff", "gzip")
PROPERTIES_SOURCE = Path(__file__).with_name("adbd_properties.cpp")
REVISION = "1"
"""Raise it when this file composes the image in another way."""


@dataclass(frozen=True)
class Architecture:
    """What differs between the images of two processors.

    Attributes:
        name: as Android calls the ABI.
        debian: as Debian calls it.
        triplet: folder of its libraries, and what its compiler is named after.
        loader: the dynamic loader, and `loader_folder` where programs look for it.
    """

    name: str
    debian: str
    triplet: str
    loader: str
    loader_folder: str


X86_64 = Architecture("x86_64", "amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2", "lib64")
ARM64 = Architecture("arm64-v8a", "arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1", "usr/lib")


def cache_folder() -> Path:
    """Where images are kept; `$LOOPBACK_PHONE_CACHE` names another place.

    Not below `$XDG_CACHE_HOME`: tests give every session a fresh one, and an image costs a download.
    """
    named = os.environ.get("LOOPBACK_PHONE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "pocket-distill" / "loopback-phone"


def image(architecture: Architecture = X86_64, *, run_with: Callable[[], Sequence[Path]] = tuple) -> Path:
    """The image, composed if need be.

    Args:
        architecture: of the phone.
        run_with: gives the words to put before a program of that architecture to run it on this machine.

    Raises:
        Unavailable: this machine cannot make one; says why.
    """
    if os.uname().machine != "x86_64":
        raise Unavailable(f"loopback phones are made for x86-64 machines, this one is {os.uname().machine}")
    cache = cache_folder()
    ready = cache / (f"image-{REVISION}" if architecture is X86_64 else f"image-{architecture.debian}-{REVISION}")

    def make(unfinished: Path) -> None:
        packages = cache / f"unpacked-{os.getpid()}" / "root"
        try:
            fetch(PACKAGES, suite=SUITE, keep=KEEP, into=packages, architecture=architecture.debian)
            _compose(packages, unfinished, architecture, run_with())
            _build_properties(unfinished / "system/lib64/adbd_properties.so", architecture)
        finally:
            shutil.rmtree(packages.parent, ignore_errors=True)

    try:
        return made_once(ready, make)
    except OSError as error:
        raise Unavailable(f"the image could not be composed: {error}") from error


def _compose(packages: Path, root: Path, architecture: Architecture, run_with: Sequence[Path]) -> None:
    triplet, loader = architecture.triplet, architecture.loader
    libraries = root / "usr/lib" / triplet
    shutil.copytree(packages / "usr/lib" / triplet, libraries, symlinks=True, ignore=shutil.ignore_patterns("gconv"))
    (root / architecture.loader_folder).mkdir(exist_ok=True)
    (root / architecture.loader_folder / loader).symlink_to(f"/usr/lib/{triplet}/{loader}")
    (root / "lib").symlink_to("usr/lib")
    programs = root / "system/bin"
    programs.mkdir(parents=True)
    shutil.copy2(packages / "usr/lib/android-sdk/platform-tools/adbd", programs / "adbd")
    for source, name in (("mksh", "sh"), ("toybox", "toybox"), ("busybox", "busybox")):
        shutil.copy2(packages / "usr/bin" / source, programs / name)
    command = [*run_with, libraries / loader, "--library-path", libraries, programs / "toybox"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split():
        if not (programs / name).exists():
            (programs / name).symlink_to("toybox")
    for name in NOT_IN_DEBIANS_TOYBOX:
        (programs / name).symlink_to("busybox")
    _folders(root)


def _folders(root: Path) -> None:
    for name in (
        "proc",
        "dev",
        "sys",
        "tmp",
        "data/local/tmp",
        "data/app",
        "data/data",
        "data/system",
        "storage/emulated/0",
    ):
        (root / name).mkdir(parents=True)
    (root / "data/local/tmp").chmod(0o777)
    (root / "sdcard").symlink_to("storage/emulated/0")
    (root / "bin").symlink_to("system/bin")
    (root / "usr/bin").symlink_to("../system/bin")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text(
        "root:x:0:0::/:/system/bin/sh\nshell:x:2000:2000::/data/local/tmp:/system/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nshell:x:2000:\n")


def _build_properties(target: Path, architecture: Architecture) -> None:
    compiler = "g++" if architecture is X86_64 else f"{architecture.triplet}-g++"
    if shutil.which(compiler) is None:
        raise Unavailable(f"there is no {compiler} on this machine to build adbd's properties with")
    target.parent.mkdir(parents=True)
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-o", target, PROPERTIES_SOURCE, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Unavailable(f"adbd's properties could not be built: {done.stderr[-300:]}")
