"""How a native library is laid out for memory pages: the alignment of its LOAD segments."""

import struct
from dataclasses import dataclass

from distill.errors import UsageError

MAGIC = b"\x7fELF"
PT_LOAD = 1


@dataclass(frozen=True)
class Segment:
    """A part of the file that is mapped into memory."""

    offset: int
    address: int
    align: int

    def fits(self, page_bytes: int) -> bool:
        """Whether it can be mapped with pages of this size: aligned to them, and at the same place within one."""
        is_power = self.align > 0 and self.align & (self.align - 1) == 0
        return is_power and self.align >= page_bytes and (self.address - self.offset) % page_bytes == 0


def load_segments(data: bytes, name: str) -> tuple[Segment, ...]:
    """The LOAD segments of a little-endian ELF file of 32 or 64 bits.

    Raises:
        UsageError: it is none, or cut off.
    """
    if data[:4] != MAGIC or len(data) < 64 or data[5] != 1:
        raise UsageError(f"{name} is no little-endian ELF library.")
    wide = data[4] == 2
    try:
        (table,) = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)
        size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
        segments: list[Segment] = []
        for number in range(count):
            at = table + number * size
            if wide:
                kind, _, offset, address, _, _, _, align = struct.unpack_from("<IIQQQQQQ", data, at)
            else:
                kind, offset, address, _, _, _, _, align = struct.unpack_from("<IIIIIIII", data, at)
            if kind == PT_LOAD:
                segments.append(Segment(offset, address, align))
    except struct.error as error:
        raise UsageError(f"{name} is cut off: {error}.") from error
    return tuple(segments)
