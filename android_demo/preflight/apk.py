"""An APK as the rules see it: its files with their places in the archive, its manifest, its native libraries."""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from android_demo.preflight.binary_xml import Element, parse
from distill.errors import UsageError

MANIFEST = "AndroidManifest.xml"
SIGNATURE_MAGIC = b"APK Sig Block 42"
"""Ends the block of signature schemes 2 and newer, right before the central directory."""
LOCAL_HEADER_BYTES = 30

RUNTIMES = {
    "onnx": ("libonnxruntime",),
    "executorch": ("libexecutorch",),
    "litert": ("libLiteRt", "libtensorflowlite"),
    "torchscript": ("libpytorch_jni",),
}
"""Beginnings of the names of each runtime's libraries."""


@dataclass(frozen=True)
class Packed:
    """One file of the archive.

    Attributes:
        offset: where its bytes begin in the APK.
        packed_bytes: what it takes there.
        is_stored: not compressed, so that Android maps it as it lies.
    """

    name: str
    offset: int
    size_bytes: int
    packed_bytes: int
    is_stored: bool


@dataclass(frozen=True)
class Apk:
    """A whole APK.

    Attributes:
        has_signature_block: signed by scheme 2 or newer; whether the signature is right is apksigner's to say.
    """

    path: Path
    size_bytes: int
    files: tuple[Packed, ...]
    manifest: Element
    has_signature_block: bool

    def libraries(self) -> Iterator[tuple[str, Packed]]:
        """(ABI, file) of every native library."""
        for file in self.files:
            parts = file.name.split("/")
            if len(parts) == 3 and parts[0] == "lib" and parts[2].endswith(".so"):
                yield parts[1], file

    def read(self, file: Packed) -> bytes:
        """The bytes of one file."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(file.name)


def read_apk(path: Path) -> Apk:
    """Read an APK's directory and manifest.

    Raises:
        UsageError: no such file, not an archive, or without a manifest.
    """
    try:
        with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
            files = tuple(_packed(raw, entry) for entry in archive.infolist() if not entry.is_dir())
            if MANIFEST not in archive.namelist():
                raise UsageError(f"{path} is no APK: there is no {MANIFEST} in it. Give the file that make app prints.")
            manifest = parse(archive.read(MANIFEST))
            raw.seek(max(0, archive.start_dir - len(SIGNATURE_MAGIC)))
            signed = raw.read(len(SIGNATURE_MAGIC)) == SIGNATURE_MAGIC
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}. Build one with: make app") from error
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path} is no APK: {error}. Give the file that make app prints.") from error
    return Apk(path, path.stat().st_size, files, manifest, signed)


def bytes_by_part(apk: Apk) -> dict[str, int]:
    """What each part takes in the APK: every runtime's libraries by ABI, code, models, the rest."""
    parts: dict[str, int] = {}
    libraries = {file.name: abi for abi, file in apk.libraries()}
    for file in apk.files:
        if file.name in libraries:
            part = f"{runtime_of(file.name) or 'other libraries'}, {libraries[file.name]}"
        elif file.name.endswith(".dex"):
            part = "code"
        elif file.name.startswith("assets/bundle/"):
            part = "models"
        else:
            part = "the rest"
        parts[part] = parts.get(part, 0) + file.packed_bytes
    return parts


def runtime_of(library: str) -> str | None:
    """The runtime that a native library belongs to by its name; None for what no runtime has to itself."""
    file = library.rsplit("/", 1)[-1]
    return next((each for each, starts in RUNTIMES.items() if file.startswith(starts)), None)


def _packed(raw: BinaryIO, entry: zipfile.ZipInfo) -> Packed:
    raw.seek(entry.header_offset + 26)  # the local header may have other extra fields than the directory
    name_bytes, extra_bytes = struct.unpack("<HH", raw.read(4))
    offset = entry.header_offset + LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    stored = entry.compress_type == zipfile.ZIP_STORED
    return Packed(entry.filename, offset, entry.file_size, entry.compress_size, stored)
