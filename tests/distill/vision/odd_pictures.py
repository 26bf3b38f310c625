"""Odd picture files and what a viewer shows of each: made here, so that the truth is known and not decoded.

`python tests/distill/vision/odd_pictures.py FOLDER` writes them for the Java tests: the files, and `truth.bin`,
integers big-endian: count; then for each file the length of its name (uint16), the name in UTF-8, width, height
(uint16), tolerance (uint8), EXIF orientation (uint8), and width * height * 3 bytes RGB.
"""

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

Pixels = NDArray[Any]

JPEG_TOLERANCE = 10
"""Levels by which a pixel may differ from what was encoded; the scene is smooth and the quality 95."""

PROFILE_TOLERANCE = 2
"""Levels by which two ways to compute a colour profile may differ."""


@dataclass(frozen=True)
class Odd:
    """A file, and what a viewer shows.

    Attributes:
        name: with the suffix.
        data: its bytes.
        truth: uint8 [H, W, 3].
        tolerance: levels by which a pixel may differ.
        orientation: what EXIF says, 1 to 8; 1 if it says nothing valid.
    """

    name: str
    data: bytes
    truth: Pixels
    tolerance: int = 0
    orientation: int = 1


def odd_pictures() -> tuple[Odd, ...]:
    """All of them, the same bytes on every machine with this Pillow."""
    return (*_turned(), *_odd_exif(), *_png_depths(), *_png_transparency(), *_coloured(), *_other())


def smooth() -> Pixels:
    """uint8 [24, 40, 3] without edges, no two corners alike, for formats that lose something."""
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([20 + 5 * x, 30 + 8 * y, 230 - 3 * x - 3 * y], axis=-1).astype(np.uint8)


def noisy() -> Pixels:
    """uint8 [10, 13, 3] of noise, for formats that lose nothing."""
    return np.random.default_rng(3).integers(0, 256, (10, 13, 3), dtype=np.uint8)


def stored_as(seen: Pixels, orientation: int) -> Pixels:
    """The pixels that a file with this EXIF orientation holds if a viewer shows `seen`."""
    return np.ascontiguousarray(
        {
            2: seen[:, ::-1],
            3: seen[::-1, ::-1],
            4: seen[::-1],
            5: seen.transpose(1, 0, 2),
            6: np.rot90(seen, 1),  # to be turned clockwise by 90 degrees
            7: seen[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(seen, -1),
        }.get(orientation, seen)
    )


def grey(levels: Pixels) -> Pixels:
    """Levels [H, W] as a viewer shows them: uint8 [H, W, 3]."""
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)


def on_white(colours: Pixels, alpha: Pixels) -> Pixels:
    """Colours [H, W, 3] under alpha [H, W], both 0 to 255, on white, rounded to the nearest level."""
    mixed = colours.astype(int) * alpha[:, :, None] + 255 * (255 - alpha.astype(int))[:, :, None]
    return ((mixed + 127) // 255).astype(np.uint8)


def saved(pixels: Pixels | Image.Image, format: str, **options: Any) -> bytes:
    """A picture file as Pillow writes it."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int, *, byte_order: str = "<") -> bytes:
    """An EXIF block that holds nothing but the orientation, with the head that JPEG wants."""
    order = b"II" if byte_order == "<" else b"MM"
    directory = struct.pack(byte_order + "HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)
    return b"Exif\0\0" + order + struct.pack(byte_order + "HI", 42, 8) + directory


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    """A JPEG of high quality."""
    return saved(pixels, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def png(samples: Pixels, bits: int, colour_type: int, *chunks: tuple[bytes, bytes], after: bool = False) -> bytes:
    """A PNG with every sample as given: [H, W] or [H, W, C], whatever a library would make of it.

    Args:
        samples: of `bits` bits each.
        bits: 1, 2, 4, 8 or 16.
        colour_type: as the specification numbers them.
        chunks: (name, content), before the pixels or, if `after`, behind them.
    """
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    if bits == 16:
        packed = rows.astype(">u2").view(np.uint8)
    else:
        bit_planes = np.unpackbits(rows.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
        packed = np.packbits(bit_planes.reshape(height, -1), axis=1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), packed.reshape(height, -1)], axis=1)
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    body = (b"IDAT", zlib.compress(lines.tobytes()))
    order = (head, body, *chunks) if after else (head, *chunks, body)
    whole = b"\x89PNG\r\n\x1a\n"
    for name, content in (*order, (b"IEND", b"")):
        whole += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return whole


def _turned() -> Iterator[Odd]:
    for orientation in range(1, 9):
        lossy, exact = stored_as(smooth(), orientation), stored_as(noisy(), orientation)
        tag = exif(orientation)
        yield Odd(f"turned-{orientation}.jpg", jpeg(lossy, exif=tag), smooth(), JPEG_TOLERANCE, orientation)
        yield Odd(f"turned-{orientation}.png", png(exact, 8, 2, (b"eXIf", tag[6:])), noisy(), 0, orientation)
        yield Odd(
            f"turned-{orientation}.webp",
            saved(exact, "WEBP", lossless=True, exact=True, exif=tag),
            noisy(),
            0,
            orientation,
        )
        yield Odd(f"turned-{orientation}.tif", saved(exact, "TIFF", tiffinfo={274: orientation}), noisy())
        packed = {"tiffinfo": {274: orientation}, "compression": "tiff_lzw"}
        yield Odd(f"turned-{orientation}-packed.tif", saved(exact, "TIFF", **packed), noisy())


def _odd_exif() -> Iterator[Odd]:
    turned = stored_as(smooth(), 6)
    big_endian = jpeg(turned, exif=exif(6, byte_order=">"))
    yield Odd("big-endian-exif.jpg", big_endian, smooth(), JPEG_TOLERANCE, 6)
    yield Odd("upper-case.JPG", big_endian, smooth(), JPEG_TOLERANCE, 6)
    yield Odd(
        "behind-the-pixels.png", png(stored_as(noisy(), 8), 8, 2, (b"eXIf", exif(8)[6:]), after=True), noisy(), 0, 8
    )
    grey_turned = stored_as(smooth(), 5)[:, :, 0]
    yield Odd("grey-turned.jpg", jpeg(grey_turned, exif=exif(5)), grey(smooth()[:, :, 0]), JPEG_TOLERANCE, 5)
    deep_turned = stored_as(noisy(), 3)[:, :, 0].astype(np.uint16) * 257
    yield Odd("deep-turned.png", png(deep_turned, 16, 0, (b"eXIf", exif(3)[6:])), grey(noisy()[:, :, 0]), 0, 3)
    for value in (0, 9, 65535):
        yield Odd(f"no-such-turn-{value}.jpg", jpeg(smooth(), exif=exif(value)), smooth(), JPEG_TOLERANCE)
    yield Odd("cut-exif.jpg", jpeg(smooth(), exif=exif(6)[:14]), smooth(), JPEG_TOLERANCE)
    yield Odd("senseless-exif.jpg", jpeg(smooth(), exif=b"Exif\0\0" + bytes(range(40))), smooth(), JPEG_TOLERANCE)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield Odd("turn-in-xmp-only.jpg", jpeg(smooth(), xmp=xmp), smooth(), JPEG_TOLERANCE)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    yield Odd("turn-in-xmp-only.png", saved(noisy(), "PNG", pnginfo=text), noisy())
    long_text = PngImagePlugin.PngInfo()
    long_text.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    yield Odd("three-megabytes-of-text.png", saved(noisy(), "PNG", pnginfo=long_text), noisy())


def _png_depths() -> Iterator[Odd]:
    level = noisy()[:, :, 0].astype(np.uint16)
    for bits in (1, 2, 4):
        stored = level >> (8 - bits)
        yield Odd(f"grey-{bits}-bit.png", png(stored, bits, 0), grey(stored * (255 // (2**bits - 1))))
    yield Odd("grey-8-bit.png", png(level, 8, 0), grey(level))
    deep = np.random.default_rng(4).integers(0, 2**16, (10, 13, 4), dtype=np.uint16)
    upper = deep >> 8
    opaque = deep | 0xFF00  # upper 8 bits of alpha
    opaque[:, :, :3] = deep[:, :, :3]
    yield Odd("grey-16-bit.png", png(deep[:, :, 0], 16, 0), grey(upper[:, :, 0]))
    yield Odd("colour-16-bit.png", png(deep[:, :, :3], 16, 2), upper[:, :, :3].astype(np.uint8))
    seen = on_white(grey(upper[:, :, 0]), upper[:, :, 3])
    yield Odd("grey-alpha-16-bit.png", png(deep[:, :, [0, 3]], 16, 4), seen)
    yield Odd("colour-alpha-16-bit.png", png(deep, 16, 6), on_white(upper[:, :, :3], upper[:, :, 3]))
    yield Odd("opaque-16-bit.png", png(opaque, 16, 6), upper[:, :, :3].astype(np.uint8))
    for bits in (1, 2, 4, 8):
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)
        index = level % 2**bits
        yield Odd(f"palette-{bits}-bit.png", png(index, bits, 3, (b"PLTE", palette.tobytes())), palette[index])


def _png_transparency() -> Iterator[Odd]:
    colours, alpha = noisy(), np.random.default_rng(5).integers(0, 256, (10, 13), dtype=np.uint8)
    alpha[:, :4], alpha[:, 9:] = 0, 255
    level = colours[:, :, 0].astype(np.uint16)
    both = np.concatenate([colours, alpha[:, :, None]], axis=2)
    yield Odd("grey-alpha.png", png(both[:, :, [0, 3]], 8, 4), on_white(grey(level), alpha))
    yield Odd("colour-alpha.png", png(both, 8, 6), on_white(colours, alpha))
    yield Odd("nothing-to-see.png", png(both * np.array([1, 1, 1, 0], np.uint8), 8, 6), np.full_like(colours, 255))
    turned = stored_as(both, 7)
    yield Odd("turned-alpha.png", png(turned, 8, 6, (b"eXIf", exif(7)[6:])), on_white(colours, alpha), 0, 7)
    yield Odd("alpha.webp", saved(both, "WEBP", lossless=True, exact=True), on_white(colours, alpha))
    yield Odd("alpha.tif", saved(both, "TIFF"), on_white(colours, alpha))
    for bits in (2, 4, 8):
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)
        index, see_through = level % 2**bits, np.array([0, 100, 200], np.uint8)
        of_entry = np.concatenate([see_through, np.full(2**bits - 3, 255, np.uint8)])
        chunks = (b"PLTE", palette.tobytes()), (b"tRNS", see_through.tobytes())
        seen = on_white(palette[index], of_entry[index])
        yield Odd(f"palette-alpha-{bits}-bit.png", png(index, bits, 3, *chunks), seen)
    for bits in (1, 2, 4, 8, 16):
        stored = level >> (8 - bits) if bits <= 8 else level * 257 + 3
        key = int(stored[3, 3])
        shown = stored * (255 // (2**bits - 1)) if bits <= 8 else stored >> 8
        opaque = np.where(stored == key, 0, 255)
        chunk = (b"tRNS", struct.pack(">H", key))
        yield Odd(f"grey-key-{bits}-bit.png", png(stored, bits, 0, chunk), on_white(grey(shown), opaque))
    opaque = np.full((10, 13), 255)
    opaque[2, 5] = 0
    chunk = (b"tRNS", struct.pack(">HHH", *colours[2, 5]))
    yield Odd("colour-key.png", png(colours, 8, 2, chunk), on_white(colours, opaque))
    deep = colours.astype(np.uint16) * 256 + 7
    chunk = (b"tRNS", struct.pack(">HHH", *deep[2, 5]))
    yield Odd("colour-key-16-bit.png", png(deep, 16, 2, chunk), on_white(colours, opaque))


def wide_gamut_profile() -> bytes:
    """An ICC profile of a made-up display: gamma 1.8 and primaries that are far from sRGB's (columns XYZ at D50)."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    columns = WIDE_TO_XYZ.T
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(*columns[0]),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(*columns[1]),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(*columns[2]),
        b"rTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(WIDE_GAMMA * 256)) + b"\0\0",
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    tags[b"gTRC"] = tags[b"bTRC"] = tags[b"rTRC"]
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + body


WIDE_GAMMA = 1.8
WIDE_TO_XYZ = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
SRGB_TO_XYZ = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])


def encoded(light: Pixels) -> Pixels:
    """Linear light in [0, 1] as sRGB levels, uint8."""
    light = np.clip(light, 0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)


def _coloured() -> Iterator[Odd]:
    wide = wide_gamut_profile()
    seen = encoded((noisy() / 255) ** WIDE_GAMMA @ (np.linalg.inv(SRGB_TO_XYZ) @ WIDE_TO_XYZ).T)
    yield Odd("wide-gamut.png", saved(noisy(), "PNG", icc_profile=wide), seen, PROFILE_TOLERANCE)
    yield Odd("wide-gamut.tif", saved(noisy(), "TIFF", icc_profile=wide), seen, PROFILE_TOLERANCE)
    yield Odd("wide-gamut.webp", saved(noisy(), "WEBP", lossless=True, icc_profile=wide), seen, PROFILE_TOLERANCE)
    seen = encoded((smooth() / 255) ** WIDE_GAMMA @ (np.linalg.inv(SRGB_TO_XYZ) @ WIDE_TO_XYZ).T)
    yield Odd("wide-gamut.jpg", jpeg(smooth(), icc_profile=wide), seen, 2 * JPEG_TOLERANCE)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield Odd("srgb-profile.png", saved(noisy(), "PNG", icc_profile=srgb), noisy(), PROFILE_TOLERANCE)
    yield Odd("srgb-profile.jpg", jpeg(smooth(), icc_profile=srgb), smooth(), JPEG_TOLERANCE)
    yield Odd("senseless-profile.png", saved(noisy(), "PNG", icc_profile=b"no profile"), noisy())
    yield Odd("profile-of-colours.png", saved(noisy()[:, :, 0], "PNG", icc_profile=wide), grey(noisy()[:, :, 0]))
    gamma = (b"gAMA", struct.pack(">I", 100_000))
    yield Odd("linear-light.png", png(noisy(), 8, 2, gamma), encoded(noisy() / 255), 1)
    yield Odd("usual-gamma.png", png(noisy(), 8, 2, (b"gAMA", struct.pack(">I", 45455))), noisy())
    yield Odd("gamma-and-srgb.png", png(noisy(), 8, 2, (b"sRGB", b"\0"), gamma), noisy())
    yield Odd("no-gamma.png", png(noisy(), 8, 2, (b"gAMA", bytes(4))), noisy())
    yield from _ink()


def _ink() -> Iterator[Odd]:
    rest = smooth().astype(int)
    black = np.full((24, 40, 1), 40)
    ink = np.concatenate([255 - rest, black], axis=2).astype(np.uint8)
    seen = np.rint(rest * (255 - black) / 255).astype(np.uint8)
    yield Odd("ink.jpg", saved(Image.fromarray(ink, "CMYK"), "JPEG", quality=95), seen, JPEG_TOLERANCE)
    yield Odd("ink.tif", saved(Image.fromarray(ink, "CMYK"), "TIFF"), seen, 1)
    red, green, blue = (255 - rest[:, :, channel] for channel in range(3))  # such files take the inks for light
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    channels = np.stack([luma, 128 + (blue - luma) * 0.564, 128 + (red - luma) * 0.713, 255 - black[:, :, 0]], axis=-1)
    plain = saved(Image.fromarray((255 - np.rint(channels)).astype(np.uint8), "CMYK"), "JPEG", quality=95)
    at = plain.index(b"Adobe") + 11  # of the marker that says what the four channels are
    yield Odd("ink-as-luma.jpg", plain[:at] + b"\2" + plain[at + 1 :], seen, JPEG_TOLERANCE)


def _other() -> Iterator[Odd]:
    picture = Image.fromarray(noisy())
    for suffix, format, options in (
        ("bmp", "BMP", {}),
        ("dib", "DIB", {}),
        ("tiff", "TIFF", {"compression": "tiff_deflate"}),
        ("webp", "WEBP", {"lossless": True}),
        ("ppm", "PPM", {}),
        ("tga", "TGA", {}),
        ("qoi", "QOI", {}),
        ("pcx", "PCX", {}),
        ("sgi", "SGI", {}),
        ("jp2", "JPEG2000", {}),
    ):
        yield Odd(f"plain.{suffix}", saved(picture, format, **options), noisy())
    yield Odd("plain.avif", saved(smooth(), "AVIF", quality=95, subsampling="4:4:4"), smooth(), JPEG_TOLERANCE)
    yield Odd("plain.jfif", jpeg(smooth()), smooth(), JPEG_TOLERANCE)
    yield Odd("progressive.jpg", jpeg(smooth(), progressive=True), smooth(), JPEG_TOLERANCE)
    yield Odd("coarse-colour.jpg", jpeg(smooth(), subsampling=2), smooth(), 2 * JPEG_TOLERANCE)
    yield Odd("as-rgb.jpg", jpeg(smooth(), keep_rgb=True), smooth(), JPEG_TOLERANCE)
    yield Odd("grey.jpg", jpeg(smooth()[:, :, 0]), grey(smooth()[:, :, 0]), JPEG_TOLERANCE)
    yield Odd("really-a-png.jpg", saved(picture, "PNG"), noisy())
    yield Odd("really-a-jpeg.png", jpeg(smooth()), smooth(), JPEG_TOLERANCE)
    frames = {"save_all": True, "append_images": [Image.new("RGB", (13, 10), "red")], "duration": 100}
    yield Odd("animated.png", saved(picture, "PNG", **frames), noisy())
    yield Odd("animated.webp", saved(picture, "WEBP", lossless=True, **frames), noisy())
    yield Odd("pages.tif", saved(picture, "TIFF", **frames), noisy())
    index = noisy()[:, :, 0] % 7
    colours = np.random.default_rng(9).integers(0, 256, (256, 3), dtype=np.uint8)
    indexed = Image.fromarray(index)
    indexed.putpalette(colours.tobytes())
    other = Image.new("P", (13, 10), 3)
    other.putpalette(colours.tobytes())
    yield Odd("plain.gif", saved(indexed, "GIF"), colours[index])
    yield Odd("animated.gif", saved(indexed, "GIF", save_all=True, append_images=[other]), colours[index])
    seen = on_white(colours[index], np.where(index == 2, 0, 255))
    yield Odd("hole.gif", saved(indexed, "GIF", transparency=2), seen)
    yield Odd("one-pixel.png", png(noisy()[:1, :1], 8, 2), noisy()[:1, :1])
    yield Odd("one-row.png", png(noisy()[:1], 8, 2), noisy()[:1])
    interlaced = saved_interlaced(noisy())
    yield Odd("interlaced.png", interlaced, noisy())
    yield from _deep_tiffs()


def _deep_tiffs() -> Iterator[Odd]:
    deep = np.random.default_rng(6).integers(0, 2**16, (10, 13), dtype=np.uint16)
    yield Odd("deep.tif", saved(deep, "TIFF"), grey(deep >> 8))
    yield Odd("deep-white-is-zero.tif", saved(deep, "TIFF", tiffinfo={262: 0}), grey(255 - (deep >> 8)))
    yield Odd("deep-big-endian.tif", big_endian_tiff(deep), grey(deep >> 8))
    yield Odd("twelve-bit.tif", twelve_bit_tiff(deep >> 4), grey(deep >> 8))
    yield Odd("deep-in-32-bits.tif", saved(Image.fromarray(deep.astype(np.int32)), "TIFF"), grey(deep >> 8))
    unit = (deep / 65535).astype(np.float32)
    yield Odd("floating-point.tif", saved(Image.fromarray(unit), "TIFF"), grey(np.rint(unit * 255)))
    maximum = b"P5 13 10 65535\n"
    yield Odd("deep.pgm", maximum + deep.astype(">u2").tobytes(), grey(deep >> 8))
    yield Odd(
        "black-and-white.pbm",
        b"P4 13 10\n" + np.packbits(deep > 30_000, axis=1).tobytes(),
        grey((deep <= 30_000) * 255),
    )


def saved_interlaced(pixels: Pixels) -> bytes:
    """A PNG of colour type 2 in Adam7's seven passes, which Pillow cannot write."""
    height, width = pixels.shape[:2]
    lines = b""
    for x, y, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        part = pixels[y::down, x::across]
        if part.size:
            lines += b"".join(b"\0" + row.tobytes() for row in part)
    whole = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    for name, content in ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        whole += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return whole


def big_endian_tiff(levels: Pixels) -> bytes:
    """An uncompressed 16-bit greyscale TIFF in Motorola's byte order."""
    return _tiff(">", levels.shape, 16, levels.astype(">u2").tobytes())


def twelve_bit_tiff(levels: Pixels) -> bytes:
    """An uncompressed greyscale TIFF of 12-bit values, two in three bytes."""
    padded = np.pad(levels, ((0, 0), (0, levels.shape[1] % 2))).astype(np.uint16)
    first, second = padded[:, ::2], padded[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    row_bytes = (12 * levels.shape[1] + 7) // 8
    return _tiff("<", levels.shape, 12, packed.reshape(len(levels), -1)[:, :row_bytes].tobytes())


def _tiff(byte_order: str, shape: tuple[int, int], bits: int, strip: bytes) -> bytes:
    height, width = shape
    short, long = 3, 4
    fields = (
        (256, short, width), (257, short, height), (258, short, bits), (259, short, 1), (262, short, 1),
        (273, long, 8), (277, short, 1), (278, short, height), (279, long, len(strip)),
    )  # fmt: skip
    entries = b"".join(
        struct.pack(
            byte_order + ("HHIHH" if kind == short else "HHII"),
            tag,
            kind,
            1,
            *((value, 0) if kind == short else (value,)),
        )
        for tag, kind, value in fields
    )
    directory = struct.pack(byte_order + "H", len(fields)) + entries + bytes(4)
    strip += bytes(len(strip) % 2)
    mark = b"II" if byte_order == "<" else b"MM"
    return mark + struct.pack(byte_order + "HI", 42, 8 + len(strip)) + strip + directory


def write(folder: Path) -> None:
    """Every file, and `truth.bin` as the head of this module describes it."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = odd_pictures()
    truth = struct.pack(">i", len(pictures))
    for odd in pictures:
        (folder / odd.name).write_bytes(odd.data)
        name, (height, width, _) = odd.name.encode(), odd.truth.shape
        truth += struct.pack(">H", len(name)) + name
        truth += struct.pack(">HHBB", width, height, odd.tolerance, odd.orientation) + odd.truth.tobytes()
    (folder / "truth.bin").write_bytes(truth)
    print(folder / "truth.bin")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
