"""DICOM files as scanners write them, small and drawn here."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, UltrasoundMultiFrameImageStorage, generate_uid

HEIGHT_PX, WIDTH_PX = 96, 128
APEX = (64, 8)
TEXT = (slice(4, 10), slice(4, 44))
"""Where `cine` burns a patient's name into the pixels."""


def fan() -> NDArray[np.bool_]:
    """The sector of the probe: [HEIGHT_PX, WIDTH_PX]."""
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    across, down = x - APEX[0], y - APEX[1]
    return (np.hypot(across, down) < 80) & (np.abs(across) <= 0.6 * down)


def cine(frames: int, *, bright: bool, seed: int) -> NDArray[np.uint8]:
    """Speckle in a moving sector with text beside it: uint8 [frames, HEIGHT_PX, WIDTH_PX]."""
    rng = np.random.default_rng(seed)
    low = 130 if bright else 30
    images = np.where(fan(), rng.integers(low, low + 80, (frames, HEIGHT_PX, WIDTH_PX)), 0).astype(np.uint8)
    images[(slice(None), *TEXT)] = np.where(np.arange(40) % 4 < 2, 255, 0)
    return images


def dataset(pixels: NDArray[Any], *, photometric: str = "MONOCHROME2", bits: int = 8, **tags: Any) -> Dataset:
    """A file of ultrasound from pixels [H, W], [frames, H, W] or, for colours, with three values per pixel."""
    colours = pixels.shape[-1] == 3
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.Modality = generate_uid(), "US"
    data.PatientID, data.PatientName = "MRN-000", "Doe^Jane"
    shape = pixels.shape[:-1] if colours else pixels.shape
    if len(shape) == 3:
        data.NumberOfFrames = shape[0]
    data.Rows, data.Columns = shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = (3 if colours else 1), photometric
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.itemsize, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if colours:
        data.PlanarConfiguration = 0
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def region(box: tuple[int, int, int, int], *, spatial_format: int = 1) -> Dataset:
    """An ultrasound region: left, top, right, bottom, the last two inclusive."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = spatial_format, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box
    return item


def with_regions(data: Dataset, *items: Dataset) -> Dataset:
    """The same file, naming these regions."""
    data.SequenceOfUltrasoundRegions = Sequence(items)
    return data


def as_jpeg(data: Dataset, frames: NDArray[np.uint8]) -> Dataset:
    """The same file with frames uint8 [frames, H, W, 3], RGB, as baseline JPEG in YCbCr."""
    from io import BytesIO

    from PIL import Image

    parts: list[bytes] = []
    for frame in frames:
        buffer = BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=95)
        parts.append(buffer.getvalue())
    data.PixelData = encapsulate(parts)
    data["PixelData"].is_undefined_length = True
    data.PhotometricInterpretation = "YBR_FULL_422"
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return data


def save(data: Dataset, file: Path) -> Path:
    """Write the file, with its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file, enforce_file_format=True)
    return file
