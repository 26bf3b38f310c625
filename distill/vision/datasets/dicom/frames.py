"""Frames of DICOM files as pictures, one by one and as an `ImageSource`."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from distill.vision.datasets.dicom.header import library, read_header
from distill.vision.datasets.dicom.pixels import Frames, Window
from distill.vision.datasets.dicom.sector import Sector, outline, region
from distill.vision.datasets.image_files import ImageFiles
from distill.vision.pictures import Picture, Trait, Unreadable

SECTOR_FRAMES = 8
"""So many frames of a recording, evenly over it, show where its sector is."""

RULE_VERSION = 1
"""Of how frames become pictures; another number checks all of them again."""


@dataclass(frozen=True)
class Look:
    """How frames are shown.

    Attributes:
        crops: to the 2-D region of an ultrasound picture.
        masks: what lies outside its sector.
        window: centre and width for all greys, instead of the file's.
    """

    crops: bool
    masks: bool
    window: Window | None


@dataclass(frozen=True, order=True)
class Frame:
    """One frame of a file.

    Attributes:
        file: which.
        number: counted from 0.
        name: for people; has no value of an identifying tag in it.
    """

    file: Path
    number: int
    name: str

    def __str__(self) -> str:
        return self.name

    def stat(self) -> os.stat_result:
        """Of the file."""
        return self.file.stat()


def picture(frame: Frame, channels: Literal[1, 3], look: Look) -> Picture:
    """A frame as the network sees it before it is resized.

    Raises:
        Unreadable: its header or its pixels cannot be decoded, or need a package that is not installed.
    """
    header = read_header(frame.file)
    if header.fault:
        raise Unreadable(frame.file, header.fault)
    try:
        frames = _open(frame.file, look)
        pixels = frames.frame(frame.number)
        sector = _sector(frame.file, frame.stat().st_mtime_ns, look) if header.is_ultrasound else Sector()
        whole = Image.fromarray(pixels)
        image, hides = sector.cut(whole)
        data = frames.data
        deep = Trait.DEEP if int(data.BitsStored) > 8 else Trait(0)
        traits = deep | (Trait.CROPPED if sector.box else Trait(0)) | (Trait.MASKED if hides else Trait(0))
        mode = str(data.PhotometricInterpretation)
    except Exception as error:  # decoders raise whatever damaged bytes lead to
        raise Unreadable(frame.file, _reason(error)) from error
    return Picture(image.convert("L" if channels == 1 else "RGB"), traits, "DICOM", whole.width, whole.height, mode)


def _open(file: Path, look: Look) -> Frames:
    return Frames(file, starts_plainly=read_header(file).starts_plainly, window=look.window)


@lru_cache(maxsize=200_000)
def _sector(file: Path, changed_ns: int, look: Look) -> Sector:
    """Of all frames of a file alike."""
    del changed_ns
    frames = _open(file, look)
    box = region(frames.data)[0] if look.crops else None
    if not look.masks:
        return Sector(box)
    count = read_header(file).frames
    numbers = np.unique(np.linspace(0, count - 1, min(SECTOR_FRAMES, count)).round().astype(int))
    inside = [np.asarray(Image.fromarray(frames.frame(int(number))).crop(box)) for number in numbers]
    return Sector(box, outline(inside))


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    lines = [line.strip(" .") for line in str(error).split("\n") if line.strip()]
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else (lines[0] if lines else type(error).__name__)


@dataclass(frozen=True)
class DicomFrames(ImageFiles):
    """Frames on disk as an `ImageSource`; `files` holds the file of each of `frames`."""

    frames: tuple[Frame, ...]
    look: Look

    def _picture(self, index: int) -> Picture:
        return picture(self.frames[index], self.preprocess.channels, self.look)

    def _rule(self) -> list[object]:
        numbers = [frame.number for frame in self.frames]
        look = [self.look.crops, self.look.masks, self.look.window]
        return [*super()._rule(), numbers, look, RULE_VERSION, library().__version__]
