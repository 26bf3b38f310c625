"""Weight files of an ML Program (`weight.bin`): blobs of 64-byte metadata and packed values, in little endian.

Layout after coremltools' `mlmodel/src/MILBlob/Blob/StorageFormat.hpp`. Read here anew, and not with coremltools'
library, so that a file is judged by a second reader and a damaged one is an error in words.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.errors import UsageError

_HEADER = struct.Struct("<II56x")
_METADATA = struct.Struct("<IIQQQ32x")
_VERSION = 2
_SENTINEL = 0xDEADBEEF


@dataclass(frozen=True)
class Storage:
    """How values of one type lie in memory: `bits` per value, packed from the lowest bit up if fewer than 8."""

    dtype: np.dtype[np.generic]
    bits: int


STORAGE: dict[str, Storage] = {
    "fp16": Storage(np.dtype("<f2"), 16),
    "fp32": Storage(np.dtype("<f4"), 32),
    "int32": Storage(np.dtype("<i4"), 32),
    "uint32": Storage(np.dtype("<u4"), 32),
    "int16": Storage(np.dtype("<i2"), 16),
    "uint16": Storage(np.dtype("<u2"), 16),
    "int8": Storage(np.dtype("i1"), 8),
    "uint8": Storage(np.dtype("u1"), 8),
    "int4": Storage(np.dtype("i1"), 4),
    "uint6": Storage(np.dtype("u1"), 6),
    "uint4": Storage(np.dtype("u1"), 4),
    "uint3": Storage(np.dtype("u1"), 3),
    "uint2": Storage(np.dtype("u1"), 2),
    "uint1": Storage(np.dtype("u1"), 1),
}
"""Types of values that can lie in bytes, in a weight file or inside the program."""

_CODES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}


def unpack(data: bytes, dtype: str, count: int) -> NDArray[np.generic]:
    """Flat array of `count` values of a type of `STORAGE`; types below 8 bits come as int8 or uint8.

    Raises:
        UsageError: the bytes are fewer or more than these values take.
    """
    storage = STORAGE[dtype]
    expected = (count * storage.bits + 7) // 8
    if len(data) != expected:
        raise UsageError(f"{count} values of type {dtype} take {expected} bytes, found {len(data)}")
    if storage.bits >= 8:
        return np.frombuffer(data, storage.dtype)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * storage.bits]
    values = np.packbits(bits.reshape(count, storage.bits), axis=1, bitorder="little")[:, 0]
    if storage.dtype.kind == "i":
        unused = 8 - storage.bits
        return np.right_shift(np.left_shift(values, unused).view(np.int8), unused)
    return values


class BlobFile:
    """One weight file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise UsageError(f"cannot read the weights {path}: {error}.") from error
        self._path = path
        if self._bytes.size < _HEADER.size or _HEADER.unpack(self._slice(0, _HEADER.size))[1] != _VERSION:
            raise UsageError(f"{path} is no weight file of version {_VERSION}. Export the model again.")

    def read(self, offset: int, dtype: str, count: int) -> NDArray[np.generic]:
        """The flat array whose metadata lie at `offset`.

        Raises:
            UsageError: there is no blob, its type or size is another, or it reaches beyond the file.
        """
        metadata = self._slice(offset, _METADATA.size)
        sentinel, code, size_bytes, start, _ = _METADATA.unpack(metadata)
        if sentinel != _SENTINEL or _CODES.get(code) != dtype:
            kind = f"type {_CODES.get(code, code)}" if sentinel == _SENTINEL else "no blob"
            raise UsageError(f"{self._path}: expected values of type {dtype} at byte {offset}, found {kind}.")
        try:
            return unpack(self._slice(start, size_bytes), dtype, count)
        except UsageError as error:
            raise UsageError(f"{self._path}: the blob at byte {offset} is damaged: {error}.") from error

    def _slice(self, start: int, size_bytes: int) -> bytes:
        if start + size_bytes > self._bytes.size:
            raise UsageError(
                f"{self._path} is cut off: bytes {start} to {start + size_bytes} are used, it has {self._bytes.size}."
            )
        return self._bytes[start : start + size_bytes].tobytes()
