"""The one decoder of picture files: a picture is what a viewer shows. The demo app follows the same rule.

| in the file | becomes |
| --- | --- |
| a turn or mirror image in EXIF | pixels that stand upright (XMP is not asked: neither do browsers and phones) |
| 16 bits per value | the upper 8 of them, as Android's decoder takes them; never clipped |
| a transparent pixel | what shows on white |
| CMYK, YCCK, Lab, palettes | RGB |
| a colour profile, the gamma of a PNG | sRGB |
| several frames or pages | the first |
| more than 16 million pixels | halved until it has fewer: a JPEG by its decoder, as in the app, others by averaging |

Whatever a damaged file makes a decoder raise becomes one `Unreadable` that names the file.
"""

import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from enum import IntFlag
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from distill.errors import UsageError

WHOLE_PIXELS = 16_000_000
"""A picture with more pixels is read at a fraction; the app's `PictureLoader` has the same number."""

LARGEST_PIXELS = 2**28
"""More than these are not decoded: 268 million, a gigabyte of memory."""

WHITE = 255
"""What shows behind a transparent pixel, in every channel."""

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .bmp .dib .tif .tiff .gif .ppm .pgm .pbm .pnm .pfm"
    " .jp2 .j2k .tga .qoi .pcx .sgi .ico .psd".split()
)
"""Of files that are pictures, in small letters; what such a file holds decides how it is read, not its name."""

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Of pictures that Pillow reads with the package pillow-heif only."""

FORMATS = tuple("JPEG PNG WEBP AVIF BMP DIB TIFF GIF PPM JPEG2000 TGA QOI PCX SGI ICO PSD".split())
"""Of Pillow's; not EPS and the like, which start other programs."""

ORIENTATION, PHOTOMETRIC, BITS_PER_SAMPLE = 274, 262, 258
WHITE_IS_ZERO = 0
"""Tags of EXIF and TIFF, and one value."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture stand upright."""

EIGHT_BIT_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "CMYK": "CMYK",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "PA": "RGBA",
}
"""What a decoded mode becomes, if not RGB."""

Image.MAX_IMAGE_PIXELS = None  # LARGEST_PIXELS is the limit, with a sentence of its own
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**26

warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damaged metadata

_one_large_picture = threading.Lock()


class Unreadable(UsageError):
    """A picture file that cannot be decoded.

    Attributes:
        file: which.
        reason: why, in a few words.
    """

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file} cannot be decoded ({reason}). Replace or remove it, then run the same command again.")
        self.file = file
        self.reason = reason


class Trait(IntFlag):
    """What was done to a picture so that it looks as in a viewer; several may be true of one."""

    TURNED = 1
    ON_WHITE = 2
    DEEP = 4
    RECOLOURED = 8
    FIRST_FRAME = 16
    REDUCED = 32
    CROPPED = 64
    MASKED = 128


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        image: upright, mode "L" or "RGB".
        traits: what was done to it.
        format: as Pillow names it.
        width_px, height_px: as stored in the file.
        stored_mode: as Pillow names it.
    """

    image: Image.Image
    traits: Trait
    format: str
    width_px: int
    height_px: int
    stored_mode: str


def decode(file: Path, channels: Literal[1, 3], *, at_least_px: int | None = None) -> Picture:
    """Read one picture file.

    Args:
        file: the file.
        channels: 1 = greyscale ("L"), 3 = colour ("RGB").
        at_least_px: for a quick look: a JPEG may be read at a fraction whose sides are still so long.

    Raises:
        Unreadable: damaged, cut off, empty, too large, or no picture.
    """
    try:
        with Image.open(file, formats=_formats()) as stored:
            return _as_seen(stored, channels, at_least_px)
    except Exception as error:  # decoders raise whatever damaged bytes lead to
        raise Unreadable(file, _reason(file, error)) from error


@lru_cache(maxsize=1)
def reads_heif() -> bool:
    """True if the package pillow-heif is installed; it brings Pillow the pictures of `HEIF_SUFFIXES`."""
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _formats() -> tuple[str, ...]:
    return (*FORMATS, "HEIF") if reads_heif() else FORMATS


def _as_seen(stored: Any, channels: Literal[1, 3], at_least_px: int | None) -> Picture:
    width, height, mode = *stored.size, stored.mode
    profile, traits = stored.info.get("icc_profile"), Trait(0)
    fraction = _fraction(width, height, at_least_px if stored.format in ("JPEG", "MPO") else None)
    if stored.format in ("JPEG", "MPO"):
        grey = "L" if channels == 1 and not profile else None
        stored.draft(grey, (max(width // fraction, 1), max(height // fraction, 1)))
    if stored.width * stored.height > LARGEST_PIXELS:
        raise ValueError(f"{width} x {height} are more than the {LARGEST_PIXELS:,} pixels that are decoded")
    if _has_more_frames(stored):
        traits |= Trait.FIRST_FRAME
    for place in ("xmp", "XML:com.adobe.xmp", "Raw profile type exif"):  # Pillow would look for a turn there
        stored.info.pop(place, None)
    turn = stored.tag_v2.get(ORIENTATION, 1) if stored.format == "TIFF" else 1
    with _one_large_picture if stored.width * stored.height > WHOLE_PIXELS else nullcontext():
        image = _eight_bits(stored)
        if fraction > 1:
            traits |= Trait.REDUCED
            if stored.size == (width, height):
                image = image.reduce(fraction)
        if mode.startswith(("I", "F")):
            traits |= Trait.DEEP
        recoloured = _in_srgb(image, profile, stored)
        if recoloured is not image:
            traits |= Trait.RECOLOURED
        image = recoloured
        if image.mode in ("LA", "RGBA"):
            image, shows_through = _on_white(image)
            traits |= Trait.ON_WHITE if shows_through else Trait(0)
        if stored.format == "TIFF":  # Pillow has turned it
            traits |= Trait.TURNED if turn in TURNS else Trait(0)
        elif (turn := _turn(stored)) in TURNS:
            image = image.transpose(TURNS[turn])
            traits |= Trait.TURNED
        image = _converted(image, "L" if channels == 1 else "RGB")
    return Picture(image, traits, stored.format, width, height, mode)


def _fraction(width: int, height: int, at_least_px: int | None) -> int:
    """1, 2, 4 or more: how often a side is divided."""
    fraction = 1
    while width * height > WHOLE_PIXELS * fraction**2:
        fraction *= 2
    while at_least_px is not None and fraction < 8 and min(width, height) >= 2 * fraction * at_least_px:
        fraction *= 2
    return fraction


def _has_more_frames(stored: Any) -> bool:
    if stored.format not in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        return False
    try:
        return stored.is_animated
    except (EOFError, OSError, SyntaxError, ValueError):  # a second frame that is damaged does not matter
        return True


def _turn(stored: Any) -> int:
    """The EXIF orientation, 1 to 8; damaged EXIF says nothing, to a viewer as to us."""
    if "exif" not in stored.info:
        return 1
    try:
        return stored.getexif().get(ORIENTATION, 1)
    except Exception:  # whatever damaged bytes lead to
        return 1


def _eight_bits(stored: Any) -> Image.Image:
    """Decoded pixels with 8 bits per value, any transparency as alpha; modes L, LA, RGB, RGBA and CMYK only."""
    sample = stored.tile[0].args if stored.format == "PNG" and stored.tile else ""
    bits = stored.tag_v2.get(BITS_PER_SAMPLE, (16,))[0] if stored.format == "TIFF" else 16
    inverted = stored.format == "TIFF" and stored.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    stored.load()
    mode, info = stored.mode, stored.info
    if mode == "F":
        return _from_unit_range(np.asarray(stored))
    if mode.startswith("I"):
        return _upper_bits(np.asarray(stored), bits, inverted=inverted, transparent=info.get("transparency"))
    if mode == "P":
        seen_through = "transparency" in info or stored.palette.mode != "RGB"
        return stored.convert("RGBA" if seen_through else "RGB")
    if "transparency" in info and mode in ("1", "L", "RGB"):
        # As written: in values of the file, which may have fewer or more bits than the decoded ones.
        scale = {"L;2": 85, "L;4": 17}.get(sample)
        if scale:
            info["transparency"] *= scale
        elif sample == "RGB;16B":
            info["transparency"] = tuple(value >> 8 for value in info["transparency"])
        return stored.convert("RGBA" if mode == "RGB" else "LA")
    return _converted(stored, EIGHT_BIT_MODES.get(mode, "RGB"))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Pillow copies the pixels even if nothing is to be converted; this does not."""
    return image if image.mode == mode else image.convert(mode)


def _upper_bits(values: Any, bits: int, *, inverted: bool, transparent: int | None) -> Image.Image:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= 2**16:
        raise ValueError(
            f"its values go from {lowest} to {highest}, and nothing says which of them is black or white; "
            "save it with 8 or 16 bits"
        )
    levels = (values >> (bits - 8 if bits in (12, 16) else 8)).astype(np.uint8)
    image = Image.fromarray(255 - levels if inverted else levels)
    if transparent is not None:
        image.putalpha(Image.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255))))
    return image


def _from_unit_range(values: Any) -> Image.Image:
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and highest <= 1):  # not a number is neither
        raise ValueError(
            f"its floating-point values go from {lowest:g} to {highest:g}, expected 0 (black) to 1 (white); "
            "save it with 8 or 16 bits"
        )
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


def _in_srgb(image: Image.Image, profile: bytes | None, stored: Any) -> Image.Image:
    """The same picture in sRGB; the very image if it is already, or if nothing usable says otherwise."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert(image.mode[:-1]) if alpha else image
    convert = _from_profile(profile, colours.mode) if profile else None
    if not profile and "gamma" in stored.info and "srgb" not in stored.info:
        convert = _from_gamma(stored.info["gamma"])
    if convert is None:
        return image
    colours = convert(colours)
    if alpha:
        colours.putalpha(alpha)
    return colours


@lru_cache(maxsize=64)
def _from_profile(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """To sRGB from an ICC profile; None if that changes nothing, or if it is damaged or of another kind of picture."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # viewers pass over such a profile, too
        return None
    if mode == "CMYK":
        return transform.apply
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    probe = steps[None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    before = Image.fromarray(probe)
    change = np.asarray(transform.apply(before), dtype=int) - np.asarray(before.convert("RGB"), dtype=int)
    return transform.apply if np.abs(change).max() > 1 else None


@lru_cache(maxsize=8)
def _from_gamma(gamma: float) -> Callable[[Image.Image], Image.Image] | None:
    """To sRGB from the exponent that a PNG was encoded with; None where it is sRGB's 1 / 2.2, or no such number."""
    if gamma <= 0 or abs(gamma * 2.2 - 1) < 0.05:
        return None
    light = (np.arange(256) / 255) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table = np.rint(255 * encoded).astype(int).tolist()
    return lambda image: image.point(table * len(image.getbands()))


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """(L or RGB, whether anything shows through)."""
    alpha, colours = image.getchannel("A"), image.convert(image.mode[:-1])
    if alpha.getextrema()[0] == 255:
        return colours, False
    background = Image.new(colours.mode, colours.size, (WHITE,) * len(colours.getbands()))
    background.paste(colours, mask=alpha)
    return background, True


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return _what_it_is_instead(file)
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0].strip(". ") or type(error).__name__


def _what_it_is_instead(file: Path) -> str:
    with file.open("rb") as opened:
        head = opened.read(512)
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "it is a damaged HEIF picture" if reads_heif() else "it is a HEIF picture, which needs pillow-heif"
    if head[128:132] == b"DICM":
        return "it is a DICOM file"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "it is a web page or a drawing"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the picture itself"
    return "its content is no picture that Pillow knows"
