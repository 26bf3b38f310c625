"""What a DICOM file says of itself, without its pixels."""

import logging
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from distill.errors import UsageError
from distill.vision.datasets.dicom.sector import region

EXTRA = "pip install 'pocket-distill[dicom]'"

NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored")
"""Without them no pixel means anything."""

ALWAYS_THERE = {"PixelRepresentation": 0}
"""What writers leave out, and what it is then."""

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP classes that begin with it are pictures of unknown origin: screens, scans, exports."""

DEFLATED = "1.2.840.10008.1.2.1.99"

ULTRASOUND = ("US", "IVUS")
"""Values of Modality."""

SHORTEST_IDENTITY = 3
"""An identifying value of fewer characters stands in every second path by chance."""

PACKAGES = {
    "1.2.840.10008.1.2.4.5": "pylibjpeg and pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.7": "pylibjpeg and pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.8": "pylibjpeg and pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.9": "pylibjpeg and pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.20": "pylibjpeg and pylibjpeg-openjpeg",
}
"""How a compressed transfer syntax begins -> what decodes it."""


@dataclass(frozen=True)
class Header:
    """What is known of one file.

    Attributes:
        file: which.
        kind: `picture`, the name of what else it is, or None if it is no DICOM file.
        sop_instance_uid, patient, study: identify; never shown. Empty where the file does not say.
        identifying: values of PatientID and PatientName in small letters, for finding them in paths.
        modality: of the acquisition, as "US"; empty where the file does not say.
        is_capture: True of a secondary capture.
        frames: how many.
        fault: why its pixels cannot be decoded; None if nothing speaks against it.
        has_window: False if greys of more than 8 bits come without window and table.
        says_burned_in: True if it says that identifying text stands in its pixels.
        region_fault: why ultrasound regions that it names cannot be used; None if they can, or there are none.
        starts_plainly: False if it lacks preamble or transfer syntax or is deflated, so that only the whole file can be
            read.
    """

    file: Path
    kind: str | None
    sop_instance_uid: str = ""
    patient: str = ""
    study: str = ""
    identifying: tuple[str, ...] = ()
    modality: str = ""
    is_capture: bool = False
    frames: int = 1
    fault: str | None = None
    has_window: bool = True
    says_burned_in: bool = False
    region_fault: str | None = None
    starts_plainly: bool = True

    @property
    def is_ultrasound(self) -> bool:
        """True of pictures that have a sector."""
        return self.modality in ULTRASOUND


def library() -> ModuleType:
    """pydicom, kept from writing values of tags into warnings and logs; raises UsageError where it is missing."""
    try:
        import pydicom
        import pydicom.config
    except ModuleNotFoundError as error:
        raise UsageError(f"a data set of DICOM files needs {error.name}, which is not installed: {EXTRA}") from error
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def is_dicom(file: Path) -> bool:
    """True if the file has the preamble of DICOM, or its suffix."""
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM" or file.suffix.lower() in (".dcm", ".dicom")
    except OSError:
        return False


def read_header(file: Path) -> Header:
    """The header of a file; kept in memory while size and date stay."""
    try:
        status = file.stat()
    except OSError as error:
        return Header(file, "picture", fault=error.strerror or str(error))
    return _read_header(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=200_000)
def _read_header(file: Path, size_bytes: int, changed_ns: int) -> Header:
    del changed_ns
    if size_bytes == 0:
        return Header(file, "picture", fault="the file is empty") if is_dicom(file) else Header(file, None)
    named = is_dicom(file)
    try:
        data = library().dcmread(file, stop_before_pixels=True, force=True)
        known = "SOPClassUID" in data or "Rows" in data or "MediaStorageSOPClassUID" in data.file_meta
        if known:
            return _of_data(file, data)
        return Header(file, "picture", fault="its content is no DICOM data") if named else Header(file, None)
    except UsageError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        return (
            Header(file, "picture", fault=f"its header is damaged: {type(error).__name__}")
            if named
            else Header(file, None)
        )


def _of_data(file: Path, data: Any) -> Header:
    kind, modality = _kind(data), str(data.get("Modality") or "").strip().upper()
    sop_class = _sop_class(data)
    if not modality and "Ultrasound" in getattr(sop_class, "name", ""):
        modality = "US"
    name, patient = str(data.get("PatientName") or ""), str(data.get("PatientID") or "").strip()
    identifying = [patient, *name.replace("^", " ").replace("=", " ").split()]
    deep = data.get("SamplesPerPixel") == 1 and (data.get("BitsStored") or 0) > 8
    return Header(
        file,
        kind,
        sop_instance_uid=str(data.get("SOPInstanceUID") or ""),
        patient=patient.casefold(),
        study=str(data.get("StudyInstanceUID") or ""),
        identifying=tuple(value.casefold() for value in identifying if len(value) >= SHORTEST_IDENTITY),
        modality=modality,
        is_capture=str(sop_class).startswith(SECONDARY_CAPTURE),
        frames=_frames(data),
        fault=_fault(data) if kind == "picture" else None,
        has_window=not deep or data.get("PhotometricInterpretation") == "PALETTE COLOR" or _has_window(data),
        says_burned_in=str(data.get("BurnedInAnnotation") or "").strip().upper() == "YES",
        region_fault=_region_fault(data) if modality in ULTRASOUND else None,
        starts_plainly=bool(data.preamble) and data.file_meta.get("TransferSyntaxUID") not in (None, "", DEFLATED),
    )


def _sop_class(data: Any) -> Any:
    return data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or ""


def _kind(data: Any) -> str:
    """`picture`, or what else the SOP class says the file is."""
    sop_class = _sop_class(data)
    name = getattr(sop_class, "name", "")
    if not sop_class or name == sop_class:  # not said, or a class that is private or newer than the library
        return "picture" if "Rows" in data or not sop_class else "unknown SOP class"
    if "Directory" in name:
        return "DICOMDIR"
    return "picture" if "Image" in name or "US Volume" in name else name.removesuffix(" Storage")


def _frames(data: Any) -> int:
    try:
        return max(int(data.get("NumberOfFrames") or 1), 1)
    except (TypeError, ValueError):
        return 1


def _fault(data: Any) -> str | None:
    missing = [name for name in NEEDED if data.get(name) in (None, "")]
    if missing:
        return f"it has no {', '.join(missing)}"
    syntax = data.file_meta.get("TransferSyntaxUID")
    return _unsupported(syntax) if syntax else None


def _unsupported(syntax: Any) -> str | None:
    """What a transfer syntax lacks; None if it can be decoded."""
    from pydicom.pixels.decoders.base import get_decoder

    what = f"its transfer syntax is {syntax.name} ({syntax})"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"{what}, which pydicom does not decode; save it uncompressed or as JPEG"
    if decoder.is_available:
        return None
    package = next((needed for start, needed in PACKAGES.items() if syntax.startswith(start)), "pylibjpeg")
    return f"{what}, which needs {package}: {EXTRA}"


def _region_fault(data: Any) -> str | None:
    return None if _fault(data) else region(data)[1]


def _has_window(data: Any) -> bool:
    groups = [
        *(data.get("SharedFunctionalGroupsSequence") or []),
        *(data.get("PerFrameFunctionalGroupsSequence") or []),
    ]
    return any(name in data for name in ("WindowCenter", "VOILUTSequence")) or any(
        "FrameVOILUTSequence" in group for group in groups[:2]
    )
