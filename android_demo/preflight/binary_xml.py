"""The manifest inside an APK: Android's binary XML, read into a tree.

Layout as in the platform's `ResourceTypes.h`: chunks of (type u16, header size u16, size u32), little-endian. An
attribute is known by its resource id, not by the name beside it, because Android itself goes by the id.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from distill.errors import UsageError

STRING_POOL, RESOURCE_MAP, START_ELEMENT, END_ELEMENT = 0x0001, 0x0180, 0x0102, 0x0103
UTF8 = 1 << 8
NOTHING = 0xFFFFFFFF
STRING, BOOLEAN = 0x03, 0x12
NUMBERS = (0x10, 0x11)

ATTRIBUTES = {
    0x01010003: "name",
    0x01010006: "permission",
    0x01010007: "readPermission",
    0x01010008: "writePermission",
    0x0101000F: "debuggable",
    0x01010010: "exported",
    0x0101020C: "minSdkVersion",
    0x0101021B: "versionCode",
    0x0101021C: "versionName",
    0x01010270: "targetSdkVersion",
    0x01010272: "testOnly",
    0x010104EA: "extractNativeLibs",
}
"""Of the framework's public attributes those that the rules read (`public.xml` of the platform)."""

Value = str | int | bool | None
"""None: a reference to a resource, or a kind of value that no rule reads."""


@dataclass
class Element:
    """An element with its attributes, by their names without a namespace."""

    tag: str
    attributes: dict[str, Value]
    children: list["Element"] = field(default_factory=list)

    def all(self, *tags: str) -> Iterator["Element"]:
        """The children of these tags, in order."""
        return (child for child in self.children if child.tag in tags)


def parse(data: bytes) -> Element:
    """The root element.

    Raises:
        UsageError: it is no binary XML, or cut off.
    """
    try:
        return _Parser(data).root()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise UsageError(f"AndroidManifest.xml is damaged, or not compiled ({error}).") from error


class _Parser:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.strings: list[str] = []
        self.ids: list[int] = []

    def root(self) -> Element:
        kind, header, size = struct.unpack_from("<HHI", self.data)
        if kind != 0x0003 or size > len(self.data):
            raise UsageError("AndroidManifest.xml is no binary XML: the APK was not made by Android's tools.")
        top = Element("", {})
        open_elements = [top]
        at = header
        while at < size:
            kind, header, length = struct.unpack_from("<HHI", self.data, at)
            if kind == STRING_POOL:
                self.strings = self._strings(at)
            elif kind == RESOURCE_MAP:
                self.ids = [*struct.unpack_from(f"<{(length - header) // 4}I", self.data, at + header)]
            elif kind == START_ELEMENT:
                element = self._element(at + header)
                open_elements[-1].children.append(element)
                open_elements.append(element)
            elif kind == END_ELEMENT:
                open_elements.pop()
            at += max(length, 8)
        return top.children[0]

    def _strings(self, at: int) -> list[str]:
        _, _, _, count, _, flags, start, _ = struct.unpack_from("<HHIIIIII", self.data, at)
        offsets = struct.unpack_from(f"<{count}I", self.data, at + 28)
        read = self._utf8 if flags & UTF8 else self._utf16
        return [read(at + start + offset) for offset in offsets]

    def _utf8(self, at: int) -> str:
        _, at = self._length(at)  # in UTF-16, then in bytes
        length, at = self._length(at)
        return self.data[at : at + length].decode("utf-8")

    def _length(self, at: int) -> tuple[int, int]:
        first = self.data[at]
        return ((first & 0x7F) << 8 | self.data[at + 1], at + 2) if first & 0x80 else (first, at + 1)

    def _utf16(self, at: int) -> str:
        (length,), at = struct.unpack_from("<H", self.data, at), at + 2
        if length & 0x8000:
            (low,), at = struct.unpack_from("<H", self.data, at), at + 2
            length = (length & 0x7FFF) << 16 | low
        return self.data[at : at + 2 * length].decode("utf-16-le")

    def _element(self, at: int) -> Element:
        _, name, start, size, count = struct.unpack_from("<IIHHH", self.data, at)
        attributes: dict[str, Value] = {}
        for number in range(count):
            _, key, _, _, _, kind, value = struct.unpack_from("<IIIHBBI", self.data, at + start + number * size)
            known = self.ids[key] if key < len(self.ids) else None
            if known is not None and known not in ATTRIBUTES:
                continue
            attributes[ATTRIBUTES[known] if known is not None else self.strings[key]] = self._value(kind, value)
        return Element(self.strings[name], attributes)

    def _value(self, kind: int, value: int) -> Value:
        if kind == STRING:
            return self.strings[value] if value != NOTHING else None
        if kind == BOOLEAN:
            return value != 0
        return value if kind in NUMBERS else None
