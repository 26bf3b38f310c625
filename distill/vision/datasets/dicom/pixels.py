"""From the stored values of one frame to the greys or colours that a viewer shows.

| in the file | becomes |
| --- | --- |
| YBR_FULL, YBR_FULL_422, YBR_RCT, YBR_ICT, palettes | RGB |
| colours of more than 8 bits | their upper 8 bits |
| greys | modality LUT or rescale, then the first VOI LUT or window, then 8 bits |
| greys without VOI LUT and window | what the range of the stored bits makes of them, black to white |
| MONOCHROME1 | inverted |
| padding values | black |
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.vision.datasets.dicom.header import ALWAYS_THERE, library

GREYS = ("MONOCHROME1", "MONOCHROME2")

FAR = 100
"""Windows away from its centre every window has reached black or white."""

Window = tuple[float, float]


class Frames:
    """The frames of one file, decoded one by one.

    Attributes:
        window: centre and width of all greys, in modality units, instead of what the file says.
    """

    def __init__(self, file: Path, *, starts_plainly: bool, window: Window | None) -> None:
        """Read the header; raises whatever a damaged file makes pydicom raise."""
        self.file = file
        self.window = window
        self.data = library().dcmread(file, force=True, stop_before_pixels=starts_plainly)
        self.whole = None if starts_plainly else _with_syntax(self.data)
        for name, value in ALWAYS_THERE.items():
            if name not in self.data:
                setattr(self.data, name, value)

    def stored(self, number: int) -> NDArray[Any]:
        """The frame as stored, [H, W] or [H, W, 3], YBR made RGB."""
        from pydicom.pixels.utils import pixel_array

        count = int(self.data.get("NumberOfFrames") or 1)
        source = self.file if self.whole is None else self.whole
        values = pixel_array(source, index=number)
        if values.ndim == 4 or (values.ndim == 3 and values.shape[2] not in (3, 4)):
            raise ValueError(f"frame {number + 1} of {count} is {' x '.join(map(str, values.shape))} values")
        return values

    def frame(self, number: int) -> NDArray[np.uint8]:
        """The frame as shown: uint8 [H, W] or [H, W, 3]."""
        values = self.stored(number)
        kind = str(self.data.PhotometricInterpretation)
        if kind == "PALETTE COLOR":
            return _of_palette(values, self.data)
        if values.ndim == 3:
            return _upper_bits(values[..., :3], int(self.data.BitsStored))
        if kind not in GREYS:
            raise ValueError(f"its photometric interpretation {kind} has no meaning for one value per pixel")
        return self._greys(values, number, inverted=kind == "MONOCHROME1")

    def _greys(self, values: NDArray[Any], number: int, *, inverted: bool) -> NDArray[np.uint8]:
        from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

        rules = self._rules(number)
        padding = _padding(values, rules)
        signed, bits = bool(rules.PixelRepresentation), int(rules.BitsStored)
        if values.dtype.kind == "u" and bits < 8 * values.dtype.itemsize:
            values = values & ((1 << bits) - 1)  # what old files keep above are overlays
        ends = np.asarray([-(1 << (bits - 1)), (1 << (bits - 1)) - 1] if signed else [0, (1 << bits) - 1])
        modality = apply_modality_lut(values, rules)
        if "VOILUTSequence" in rules and self.window is None:
            shown = apply_voi_lut(np.asarray(modality), rules, prefer_lut=True)
            depth = int(rules.VOILUTSequence[0].LUTDescriptor[2])
            black, white = 0.0, float((1 << depth) - 1)
        elif "WindowCenter" in rules and "WindowWidth" in rules:
            centre, width = _first(rules.WindowCenter), _first(rules.WindowWidth)
            shown = apply_voi_lut(modality, rules, prefer_lut=False)
            outside = np.asarray([centre - FAR * width, centre + FAR * width])
            black, white = apply_voi_lut(outside, rules, prefer_lut=False)
        else:
            shown = modality
            black, white = _range_of(ends, rules)
        grey = np.clip((np.asarray(shown, dtype=np.float64) - black) / ((white - black) or 1), 0, 1)
        grey = np.rint(255 * (1 - grey if inverted else grey)).astype(np.uint8)
        grey[padding] = 0
        return grey

    def _rules(self, number: int) -> Any:
        """What says how values become greys: of the file, or of the frame in an enhanced multi-frame file."""
        from pydicom.dataset import Dataset

        rules = Dataset()
        rules.file_meta = self.data.file_meta  # says how words of tables are written
        rules.set_original_encoding(*self.data.original_encoding)
        for name in (
            *("PhotometricInterpretation", "BitsStored", "PixelRepresentation", "PixelPaddingValue"),
            *("PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
            *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
        ):
            if self.data.get(name) not in (None, ""):
                setattr(rules, name, self.data.get(name))
        shared = self.data.get("SharedFunctionalGroupsSequence") or []
        own = self.data.get("PerFrameFunctionalGroupsSequence") or []
        for group in (*shared[:1], *own[number : number + 1]):
            for sequence in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in (group.get(sequence) or [])[:1]:
                    for element in item:
                        rules.add(element)
        if self.window is not None:
            rules.WindowCenter, rules.WindowWidth = self.window
        return rules


def _with_syntax(data: Any) -> Any:
    """A dataset whose file has no preamble says by how it was read in which transfer syntax it is."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not data.file_meta.get("TransferSyntaxUID"):
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data


def _range_of(ends: NDArray[np.int64], rules: Any) -> tuple[float, float]:
    """What the smallest and the largest stored value become by the modality's rule."""
    from pydicom.pixels.processing import apply_modality_lut

    if "ModalityLUTSequence" in rules:
        return 0.0, float((1 << int(rules.ModalityLUTSequence[0].LUTDescriptor[2])) - 1)
    low, high = np.asarray(apply_modality_lut(ends, rules), dtype=np.float64)
    return float(min(low, high)), float(max(low, high))


def _padding(values: NDArray[Any], rules: Any) -> NDArray[np.bool_]:
    if "PixelPaddingValue" not in rules:
        return np.zeros(values.shape, dtype=bool)
    limits = sorted((int(rules.PixelPaddingValue), int(rules.get("PixelPaddingRangeLimit", rules.PixelPaddingValue))))
    return (values >= limits[0]) & (values <= limits[1])


def _of_palette(values: NDArray[Any], data: Any) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(values, data)[..., :3]
    if colours.dtype == np.uint8 or _table_end(data) < 256:  # 8 bits in words of 16
        return colours.astype(np.uint8)
    return (colours >> 8).astype(np.uint8)


def _table_end(data: Any) -> int:
    """The largest value of the red palette; what matters is only whether it has more than 8 bits."""
    table = data.get("RedPaletteColorLookupTableData") or data.get("SegmentedRedPaletteColorLookupTableData") or b""
    return int(np.frombuffer(table[: len(table) // 2 * 2], dtype="<u2").max(initial=0))


def _upper_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if bits < 8:
        return np.rint(values * (255 / ((1 << bits) - 1))).astype(np.uint8)
    return (values >> (bits - 8)).astype(np.uint8)


def _first(value: Any) -> float:
    """A number, or the first of several."""
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
