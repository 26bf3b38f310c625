"""dicom: what a hospital's archive or scanner hands over, stills and cine loops, as frames of clips of patients."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from distill.errors import UsageError
from distill.vision.datasets import folder_tree
from distill.vision.datasets.dicom.frames import DicomFrames, Frame, Look, picture
from distill.vision.datasets.dicom.header import Header, is_dicom, library, read_header
from distill.vision.datasets.dicom.labels import LabelTable
from distill.vision.datasets.dicom.remarks import Remarks, readable_names
from distill.vision.datasets.divide import divide
from distill.vision.datasets.image_files import fits_in_memory
from distill.vision.datasets.patients import person
from distill.vision.datasets.split import DatasetSettings, Split, SplitName
from distill.vision.pictures import Picture
from distill.vision.preprocess import Preprocess

__all__ = ["Dicom", "Frame", "holds_dicom"]

LOOKED_AT = 200
"""So many files of a folder say what it holds."""

Share = Annotated[float, Field(gt=0, lt=1)]


class Dicom(DatasetSettings):
    """DICOM files, stills and cine loops: `<class>/*.dcm`, `<split>/<class>/*.dcm`, or any tree and a table of labels.

    Values of identifying tags serve to keep patients together and are shown nowhere: patients are numbers in order of
    their PatientID, and a path that holds a PatientID or a name is shown as `patient-N/file-M`. Errors name files by
    their paths, so that they can be found.

    Attributes:
        path: the folder.
        channels: 1 = read everything as greyscale, 3 = as RGB.
        labels_csv: table with the columns `file` (relative to `path`) or `SOPInstanceUID`, and `class`; optionally
            `patient`, which replaces PatientID. Files in no row are not used. Without a table, folders are classes.
        every_kth_frame: a recording gives every k-th of its frames, beginning with one of its first k, drawn by
            `frame_seed` and its path.
        split_by: `patient`: each patient goes to one split. `clip`: each file does; only where patients are not known.
            `folder`: the first folders below `path` are the splits.
        validation_share: part of the patients (or clips) of each class that goes to validation.
        test_share: part that is kept for a test.
        split_seed: decides who goes where.
        modality: use only files of this Modality, e.g. "US".
        secondary_captures: use pictures of unknown origin, too (screens, scans, exports).
        crop_to_region: crop ultrasound to the largest 2-D region of SequenceOfUltrasoundRegions.
        mask_outside_sector: black out what lies around the sector of an ultrasound picture: names, dates, scales.
        window: centre and width for all greys, in units of the modality (as Hounsfield), instead of the files' own.
        memory_limit_mib: a split that is larger once decoded and resized, or than half of the memory that is free, is
            streamed from disk instead.
    """

    kind: Literal["dicom"] = "dicom"
    path: str
    channels: Literal[1, 3] = 3
    labels_csv: str | None = None
    every_kth_frame: Annotated[int, Field(ge=1)] = 5
    frame_seed: int = 0
    split_by: Literal["patient", "clip", "folder"] = "patient"
    validation_share: Share = 0.2
    test_share: Share | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    modality: str | None = None
    secondary_captures: bool = True
    crop_to_region: bool = True
    mask_outside_sector: bool = True
    window: tuple[float, Annotated[float, Field(ge=1)]] | None = None
    memory_limit_mib: Annotated[int, Field(ge=0)] = 4096

    @property
    def has_test(self) -> bool:
        """True if there is a share for a test, or a folder."""
        if self.split_by != "folder":
            return self.test_share is not None
        return "test" in folder_tree.split_folders(Path(self.path))

    def load(self, split: SplitName, preprocess: Preprocess) -> Split:
        """Read one split, resized by `preprocess`; decoded at once if it fits the memory limit, else on demand.

        Raises:
            UsageError: pydicom is missing, no labelled files, less than two classes, too few patients to divide, a
                patient in two splits, or files that cannot be decoded (all of them are named).
        """
        recordings = self.find()
        if split not in recordings.parts:
            raise UsageError(f"data set {self.path} has no {split} split; --set dataset.{split}_share=0.2 makes one.")
        part = recordings.parts[split]
        source = DicomFrames(
            Path(self.path), tuple(frame.file for frame in part.files), preprocess, part.files, self._look
        )
        fits = fits_in_memory(int(np.prod(source.shape)), self.memory_limit_mib)
        images = source.decode_all() if fits else source
        if not fits:
            _ = source.check  # names all that cannot be decoded before anything begins
        return Split(
            images,
            part.labels,
            recordings.class_names,
            part.owners,
            tuple(frame.name for frame in part.files),
            recordings.remarks if split == "train" else (),
            part.clips,
        )

    def find(self) -> "Recordings":
        """Which frame belongs to which split, class, clip and patient, from the headers alone; errors as `load`."""
        library()
        root = Path(self.path)
        folders: dict[SplitName, Path] = folder_tree.split_folders(root) if root.is_dir() else {}
        if self.split_by == "folder":
            for split in ("train", "validation"):
                if split not in folders:
                    raise UsageError(f"data set {root} has no {split}/ folder. Expected <path>/{split}/<class>/*.dcm.")
        elif "train" in folders and "validation" in folders:
            raise UsageError(f"data set {root} is divided already: --set dataset.split_by=folder")
        remarks = Remarks(root)
        pictures = self._pictures(root, remarks)
        clips = list(self._labelled(root, pictures, folders, remarks))
        if not clips:
            raise UsageError(
                f"data set {root} has no labelled DICOM pictures{remarks.in_brackets()}. Expected a folder for each "
                "class, or --set dataset.labels_csv=FILE with the columns file or SOPInstanceUID, and class."
            )
        class_names = tuple(sorted({clip.label for clip in clips}))
        if len(class_names) < 2:
            raise UsageError(f"data set {root} has one class only ({clips[0].label}); there is nothing to tell apart.")
        parts = self._parts(clips, class_names)
        if self.split_by == "folder":
            _check_patients(root, parts)
            for split, part in parts.items():
                lacking = [name for label, name in enumerate(class_names) if label not in part.labels]
                if lacking and split != "test":
                    raise UsageError(f"{root}: no {split} picture shows {', '.join(lacking)}. Each class needs some.")
        used = [clip.header for clip in clips]
        remarks.sentences += folder_tree.alike(class_names)
        remarks.add_of_pictures(used)
        if self.window is None:
            remarks.add_of_greys(used)
        if self.crop_to_region:
            remarks.add_of_regions(used)
        remarks.add_of_burned_in_text(used, masks=self.mask_outside_sector)
        return Recordings(class_names, parts, tuple(remarks.sentences))

    def decode(self, frame: Frame, channels: Literal[1, 3], *, at_least_px: int | None = None) -> Picture:
        """A frame as the network sees it before it is resized; raises Unreadable."""
        del at_least_px  # a frame is small
        return picture(frame, channels, self._look)

    def name(self, frame: Frame) -> str:
        """Of a frame, for people."""
        return frame.name

    def everything(self) -> tuple[Frame, ...]:
        """The first frame of every picture there is, labelled or not."""
        library()
        root = Path(self.path)
        headers = self._pictures(root, Remarks(root))
        patients = _patients(headers, {})
        return tuple(
            Frame(header.file, 0, name)
            for header, name in zip(headers, readable_names(root, headers, patients), strict=True)
        )

    @property
    def _look(self) -> Look:
        return Look(self.crop_to_region, self.mask_outside_sector, self.window)

    def _pictures(self, root: Path, remarks: Remarks) -> list[Header]:
        """The headers of all files that may be used, sorted by path."""
        table = None if self.labels_csv is None else Path(self.labels_csv).absolute()
        headers = [read_header(file) for file in _files(root) if file.absolute() != table]
        others = [header for header in headers if header.kind != "picture"]
        remarks.add([header for header in others if header.kind is None], "are not used, being no DICOM files")
        for kind in sorted({header.kind for header in others if header.kind}):
            remarks.add([each for each in others if each.kind == kind], f"are not used, being no pictures: {kind}")
        pictures = [header for header in headers if header.kind == "picture"]
        if not self.secondary_captures:
            captures = [header for header in pictures if header.is_capture]
            remarks.add(captures, "are not used, being secondary captures")
            pictures = [header for header in pictures if not header.is_capture]
        if self.modality is not None:
            strange = [header for header in pictures if header.modality != self.modality.upper() and not header.fault]
            modalities = ", ".join(sorted({header.modality or "none" for header in strange}))
            remarks.add(strange, f"are not used, their Modality being another than {self.modality} ({modalities})")
            left_out = {header.file for header in strange}
            pictures = [header for header in pictures if header.file not in left_out]
        return pictures

    def _labelled(
        self, root: Path, pictures: Sequence[Header], folders: Mapping[SplitName, Path], remarks: Remarks
    ) -> Iterator["_Clip"]:
        table = None if self.labels_csv is None else LabelTable(Path(self.labels_csv))
        sides: dict[Path, SplitName | None] = {header.file: _side(header.file, folders) for header in pictures}
        labels = {header.file: self._label(root, header, table, sides[header.file]) for header in pictures}
        if self.split_by == "folder":
            labels = {file: label if sides[file] else None for file, label in labels.items()}
        outside = [header for header in pictures if labels[header.file] is None]
        where = "in no row of the table of labels" if table else "outside the folders of classes"
        remarks.add(outside, f"are not used, being {where}")
        if table is not None and table.unused:
            remarks.sentences.append(f"{table.path}: {table.unused} of {table.rows} rows name no picture of {root}")
        chosen = [header for header in pictures if labels[header.file] is not None]
        told = {} if table is None else {header.file: table.patient(*_keys(root, header)) for header in chosen}
        patients = _patients(chosen, told)
        remarks.add_of_patients([header for header in chosen if not (header.patient or told.get(header.file))])
        names = readable_names(root, chosen, patients)
        remarks.add_of_names(chosen)
        for number, (header, name) in enumerate(zip(chosen, names, strict=True)):
            frames = tuple(self._frames(root, header, name))
            label, side = labels[header.file], sides[header.file]
            assert label is not None
            yield _Clip(header, label, side, patients[header.file], number, frames)

    def _label(self, root: Path, header: Header, table: LabelTable | None, side: SplitName | None) -> str | None:
        """The class of a file: in its row, else the folder below `path` (or below its split's) that it lies in."""
        if table is not None:
            return table.label(*_keys(root, header))
        folders = folder_tree.relative_name(header.file, root).split("/")[:-1]
        below = folders[1:] if side is not None and (self.split_by == "folder" or side == "train") else folders
        return below[0] if below else None

    def _frames(self, root: Path, header: Header, name: str) -> Iterator[Frame]:
        if header.frames == 1:
            yield Frame(header.file, 0, name)
            return
        step = min(self.every_kth_frame, header.frames)
        path = folder_tree.relative_name(header.file, root)
        digest = hashlib.blake2b(f"{self.frame_seed} {path}".encode(), digest_size=8).digest()
        for number in range(int.from_bytes(digest) % step, header.frames, step):
            yield Frame(header.file, number, f"{name} frame {number + 1}")

    def _parts(self, clips: Sequence["_Clip"], class_names: tuple[str, ...]) -> dict[SplitName, "Part"]:
        counts = [len(clip.frames) for clip in clips]
        numbers = np.repeat([clip.number for clip in clips], counts).astype(np.int64)
        patients = np.repeat([clip.patient for clip in clips], counts).astype(np.int64)
        whole = Part(
            files=tuple(frame for clip in clips for frame in clip.frames),
            labels=np.repeat([class_names.index(clip.label) for clip in clips], counts).astype(np.int64),
            owners=numbers if self.split_by == "clip" else patients,
            clips=numbers,
        )
        if self.split_by == "folder":
            sides = np.repeat([str(clip.side) for clip in clips], counts)
            splits: list[SplitName] = ["train", "validation", "test"]
            return {side: whole.only(np.flatnonzero(sides == side)) for side in splits if (sides == side).any()}
        shares: dict[SplitName, float] = {"validation": self.validation_share}
        if self.test_share is not None:
            shares["test"] = self.test_share
        if sum(shares.values()) >= 1:
            raise UsageError("validation_share and test_share leave nothing to train on; together they are below 1.")
        unit = "clips" if self.split_by == "clip" else "patients"
        sides = divide(whole.labels, whole.owners, shares, class_names, seed=self.split_seed, unit=unit)
        return {split: whole.only(indices) for split, indices in sides.items()}


@dataclass(frozen=True)
class Part:
    """The frames of one split.

    Attributes:
        files: clip by clip.
        labels: int64 [N].
        owners: int64 [N], the patient of each frame (the clip, where clips are divided).
        clips: int64 [N], the file of each frame.
    """

    files: tuple[Frame, ...]
    labels: NDArray[np.int64]
    owners: NDArray[np.int64]
    clips: NDArray[np.int64]

    def only(self, indices: NDArray[np.int64]) -> "Part":
        """The frames at these positions."""
        files = tuple(self.files[index] for index in indices)
        return Part(files, self.labels[indices], self.owners[indices], self.clips[indices])

    def about_files(self, split: SplitName, root: Path) -> Iterator[str]:
        """Nothing: `Recordings.remarks` says it of all splits at once."""
        del split, root
        yield from ()


@dataclass(frozen=True)
class Recordings:
    """Everything in a tree of DICOM files, found but not decoded."""

    class_names: tuple[str, ...]
    parts: dict[SplitName, Part]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Clip:
    header: Header
    label: str
    side: SplitName | None
    patient: int
    number: int
    frames: tuple[Frame, ...]


def holds_dicom(root: Path) -> bool:
    """True if the first files below a folder are DICOM and no other pictures."""
    if not root.is_dir():
        return False
    listing = folder_tree.list_pictures(root)
    return not listing.pictures and any(is_dicom(file) for file in listing.not_used[:LOOKED_AT])


def _files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise UsageError(f"data set {root}: there is no such folder. Set dataset.path to your DICOM files.")
    listing = folder_tree.list_pictures(root)
    return sorted((*listing.pictures, *listing.not_used))


def _side(file: Path, folders: Mapping[SplitName, Path]) -> SplitName | None:
    """The split whose folder a file lies in."""
    return next((split for split, folder in folders.items() if file.is_relative_to(folder)), None)


def _keys(root: Path, header: Header) -> tuple[str, str]:
    """What a table of labels may know a file by."""
    return folder_tree.relative_name(header.file, root), header.sop_instance_uid


def _patients(headers: Sequence[Header], told: Mapping[Path, str]) -> dict[Path, int]:
    """A number for each patient: in order of PatientID, or of what is told instead of it."""
    keys: dict[Path, tuple[int, str]] = {}
    for header in headers:
        patient = person(told.get(header.file, "")) or person(header.patient)
        ways = ((0, patient), (1, header.study), (2, str(header.file)))
        keys[header.file] = next(way for way in ways if way[1])
    numbers = {key: number for number, key in enumerate(sorted(set(keys.values())))}
    return {file: numbers[key] for file, key in keys.items()}


def _check_patients(root: Path, parts: Mapping[SplitName, Part]) -> None:
    for first, second in combinations(parts, 2):
        shared = np.intersect1d(parts[first].owners, parts[second].owners)
        if len(shared):
            places = [
                next(frame.name for frame, owner in zip(part.files, part.owners, strict=True) if owner == shared[0])
                for part in (parts[first], parts[second])
            ]
            raise UsageError(
                f"{root}: {len(shared)} patient(s) are in both {first} and {second} (one of them in "
                f"{places[0]} and {places[1]}), so the {second} figures would be too good. Move each patient's files "
                "to one side, or let --set dataset.split_by=patient divide one tree."
            )
