"""An APK made of what a test says: a manifest in Android's binary XML, and files at places of one's choice."""

import struct
import zipfile
from pathlib import Path
from typing import Any

from android_demo.preflight.binary_xml import ATTRIBUTES

IDS = {name: number for number, name in ATTRIBUTES.items()}
NOTHING = 0xFFFFFFFF
Tree = tuple[str, dict[str, Any], list[Any]]


def activity(name: str, *children: Tree, **attributes: Any) -> Tree:
    return ("activity", {"name": name, **attributes}, [*children])


def intent(*names: str) -> Tree:
    return (
        "intent-filter",
        {},
        [("action" if ".action." in name else "category", {"name": name}, []) for name in names],
    )


LAUNCHER = activity(".Main", intent("android.intent.action.MAIN", "android.intent.category.LAUNCHER"), exported=True)


def manifest(*components: Tree, permissions: tuple[str, ...] = (), application: Any = None, **attributes: Any) -> Tree:
    """A manifest that keeps every rule, but for what is said."""
    asked = [("uses-permission", {"name": name}, []) for name in permissions]
    sdk = {"minSdkVersion": 26, "targetSdkVersion": attributes.pop("target", 36)}
    version = {"versionCode": 1, "versionName": "1.0"} | attributes
    app = ("application", application or {}, [LAUNCHER, *components])
    return ("manifest", version, [("uses-sdk", sdk, []), *asked, app])


def binary(tree: Tree, *, utf8: bool = False) -> bytes:
    """The tree as Android's binary XML; attributes of the framework come first in the pool, as their ids do."""
    keys = [*IDS]
    strings = [*keys]

    def index(text: str) -> int:
        if text not in strings:
            strings.append(text)
        return strings.index(text)

    def value(given: Any) -> tuple[int, int]:
        if isinstance(given, bool):
            return 0x12, NOTHING if given else 0
        return (0x10, given) if isinstance(given, int) else (0x03, index(given))

    def chunks(element: Tree) -> bytes:
        tag, attributes, children = element
        packed = b"".join(
            struct.pack("<IIIHBBI", NOTHING, index(name), NOTHING, 8, 0, *value(given))
            for name, given in attributes.items()
        )
        body = struct.pack("<IIIIHHHHHH", 1, NOTHING, NOTHING, index(tag), 20, 20, len(attributes), 0, 0, 0)
        begin = struct.pack("<HHI", 0x0102, 16, 8 + len(body) + len(packed)) + body + packed
        end = struct.pack("<HHIIIII", 0x0103, 16, 24, 1, NOTHING, NOTHING, index(tag))
        return begin + b"".join(map(chunks, children)) + end

    elements = chunks(tree)
    encoded = [text_utf8(text) if utf8 else text_utf16(text) for text in strings]
    offsets = [sum(map(len, encoded[:number])) for number in range(len(encoded))]
    data = b"".join(encoded)
    data += b"\0" * (-len(data) % 4)
    start = 28 + 4 * len(offsets)
    flags = 1 << 8 if utf8 else 0
    pool = struct.pack("<HHIIIIII", 1, 28, start + len(data), len(strings), 0, flags, start, 0)
    pool += struct.pack(f"<{len(offsets)}I", *offsets) + data
    ids = struct.pack("<HHI", 0x0180, 8, 8 + 4 * len(keys)) + struct.pack(f"<{len(keys)}I", *IDS.values())
    return struct.pack("<HHI", 3, 8, 8 + len(pool) + len(ids) + len(elements)) + pool + ids + elements


def text_utf8(text: str) -> bytes:
    raw = text.encode()

    def length(count: int) -> bytes:
        return bytes([count]) if count < 128 else bytes([0x80 | count >> 8, count & 255])

    return length(len(text)) + length(len(raw)) + raw + b"\0"


def text_utf16(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode("utf-16-le") + b"\0\0"


def write_apk(
    path: Path, tree: Tree, libraries: dict[str, Path] | None = None, *, align: int = 16384, signed: bool = True
) -> Path:
    """An archive with stored, aligned libraries; its signature is no more than the block's last bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("AndroidManifest.xml", binary(tree), zipfile.ZIP_DEFLATED)
        archive.writestr("classes.dex", b"dex\n", zipfile.ZIP_DEFLATED)
        for name, file in (libraries or {}).items():
            entry = zipfile.ZipInfo(name)
            at = archive.fp.tell() + 30 + len(name)  # pyright: ignore[reportOptionalMemberAccess]
            entry.extra = struct.pack("<HH", 0xD935, (-at - 4) % align) + bytes((-at - 4) % align)
            archive.writestr(entry, file.read_bytes())
    if signed:
        _sign(path)
    return path


def _sign(path: Path) -> None:
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    block = b"APK Sig Block 42"
    end = data.rindex(b"PK\5\6")
    tail = bytearray(data[end:])
    struct.pack_into("<I", tail, 16, directory + len(block))
    path.write_bytes(data[:directory] + block + data[directory:end] + bytes(tail))
