"""The program that emulates an arm64 processor for single programs: qemu's user mode, fetched from Debian."""

from pathlib import Path

from tests.loopback_phone.image import cache_folder
from tests.loopback_phone.packages import fetch, made_once

PROCESSOR = "cortex-a76"
"""Named, because the emulator's default is ten times slower in floating point."""

SUITE = "trixie"
"""Its qemu 10; the one of the suite before crashes on ONNX Runtime."""


def emulator() -> Path:
    """The emulator, statically linked, fetched if need be.

    Raises:
        Unavailable: it cannot be had on this machine.
    """
    root = made_once(
        cache_folder() / "arm64" / "emulator" / "root",
        lambda into: fetch(["qemu-user"], suite=SUITE, keep="nothing-else", into=into),
    )
    return root / "usr/bin/qemu-aarch64"
