import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import decoders

from distill.errors import UsageError
from distill.vision.datasets.dicom import Dicom, holds_dicom
from distill.vision.datasets.dicom.header import read_header
from distill.vision.datasets.image_files import ImageFiles, UnreadablePictures
from distill.vision.preprocess import Preprocess
from tests.distill.vision.datasets.dicom.dicom_files import as_jpeg, cine, dataset, save

PREPROCESS = Preprocess(size_px=16, channels=1, mean=(0.5,), std=(0.25,))


def settings(root: Path, **changes: Any) -> Dicom:
    return Dicom(path=str(root), channels=1, **changes)


def clips(root: Path, *, patients: int = 4, frames: int = 4, below: str = "") -> Path:
    """One clip of each class of each patient, in folders of classes."""
    for patient in range(patients):
        for bright in (False, True):
            data = dataset(cine(frames, bright=bright, seed=patient), PatientID=f"MRN-{patient:03}")
            save(data, root / below / ("bright" if bright else "dark") / f"{patient}.dcm")
    return root


def carried(name: str) -> Path:
    """A file that pydicom carries."""
    file = get_testdata_file(name, download=False)
    assert isinstance(file, str)
    return Path(file)


def test_a_clip_and_a_patient_are_on_one_side_and_frames_are_every_kth(tmp_path: Path) -> None:
    config = settings(clips(tmp_path / "data", patients=5, frames=9), every_kth_frame=4, test_share=0.2)
    splits = [config.load(name, PREPROCESS) for name in ("train", "validation", "test")]
    assert [len(set(split.groups.tolist())) for split in splits if split.groups is not None] == [3, 1, 1]
    for what in ("groups", "clips"):
        sets = [set(getattr(split, what).tolist()) for split in splits]
        assert len(set.union(*sets)) == sum(map(len, sets))
    train = splits[0]
    assert train.class_names == ("bright", "dark")
    assert train.names is not None
    assert train.clips is not None
    numbers: dict[int, list[int]] = {}
    for clip, name in zip(train.clips, train.names, strict=True):
        numbers.setdefault(int(clip), []).append(int(name.rsplit(" ", 1)[1]) - 1)
    assert all(np.diff(own).tolist() == [4] * (len(own) - 1) and own[0] < 4 for own in numbers.values())
    assert len({own[0] for own in numbers.values()}) > 1
    again = config.load("train", PREPROCESS)
    assert again.names == train.names
    assert again.sha256() == train.sha256()
    assert settings(tmp_path / "data", every_kth_frame=4, frame_seed=1).load("train", PREPROCESS).names != train.names


def test_streamed_frames_are_those_that_are_decoded_at_once(tmp_path: Path) -> None:
    root = clips(tmp_path)
    whole = settings(root, every_kth_frame=2).load("train", PREPROCESS)
    streamed = settings(root, every_kth_frame=2, memory_limit_mib=0).load("train", PREPROCESS)
    assert isinstance(whole.images, np.ndarray)
    assert isinstance(streamed.images, ImageFiles)
    assert (streamed.images[np.arange(len(streamed))] == whole.images).all()
    other = settings(root, every_kth_frame=2, memory_limit_mib=0, mask_outside_sector=False).load("train", PREPROCESS)
    assert other.sha256() != streamed.sha256()


@pytest.mark.parametrize("key", ["file", "SOPInstanceUID"])
def test_a_table_gives_classes_and_patients(tmp_path: Path, key: str) -> None:
    root = clips(tmp_path / "data")
    files = sorted(root.rglob("*.dcm"))
    keys = {
        file: file.relative_to(root).as_posix() if key == "file" else read_header(file).sop_instance_uid
        for file in files
    }
    rows = [f"{keys[file]},{'A4C' if file.parent.name == 'dark' else 'PLAX'},P{file.stem}" for file in files[:-1]]
    (tmp_path / "labels.csv").write_text("\n".join([f"{key},class,patient", *rows, "gone,A4C,P9"]))
    split = settings(root, labels_csv=str(tmp_path / "labels.csv")).load("train", PREPROCESS)
    assert split.class_names == ("A4C", "PLAX")
    assert (
        f"1 files are not used, being in no row of the table of labels ({files[-1].relative_to(root)})" in split.remarks
    )
    assert f"{tmp_path / 'labels.csv'}: 1 of 8 rows name no picture of {root}" in split.remarks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,b\n", "needs the columns 'file' or 'SOPInstanceUID', and 'class'; found file, label"),
        ("file,class\na,b\na,c\n", "gives 1 file(s) two classes or two patients"),
        ("file,class\nnowhere,b\n", "has no labelled DICOM pictures"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError) as caught:
        settings(clips(tmp_path / "data", patients=1), labels_csv=str(tmp_path / "labels.csv")).find()
    assert message in str(caught.value)


def test_splits_may_be_folders_and_a_patient_in_two_is_refused(tmp_path: Path) -> None:
    root = clips(tmp_path, patients=2, below="train")
    for bright in (False, True):
        data = dataset(cine(2, bright=bright, seed=9), PatientID="MRN-777")
        save(data, root / "val" / ("bright" if bright else "dark") / "9.dcm")
    config = settings(root, split_by="folder")
    assert not config.has_test
    assert {name: len(part.labels) for name, part in config.find().parts.items()} == {"train": 4, "validation": 2}
    with pytest.raises(UsageError, match="is divided already"):
        settings(root).find()
    save(dataset(cine(2, bright=True, seed=1), PatientID=" mrn-001 "), root / "val" / "bright" / "1.dcm")
    with pytest.raises(UsageError, match=r"1 patient\(s\) are in both train and validation") as caught:
        config.find()
    assert "mrn" not in str(caught.value).lower()


def test_values_that_identify_are_in_no_name_and_no_remark(tmp_path: Path) -> None:
    root = clips(tmp_path)
    (root / "dark" / "0.dcm").rename(root / "dark" / "Doe_mrn-000.dcm")
    split = settings(root, every_kth_frame=2).load("train", PREPROCESS)
    everything = f"{settings(root).find()} {split.names} {split.remarks}"
    assert "patient-1/file-" in everything
    assert "1 of 8 paths hold a PatientID or a PatientName and are shown as patient-N/file-M" in split.remarks
    told = " ".join([*(split.names or ()), *split.remarks]).lower()
    assert "mrn" not in told
    assert "doe" not in told
    assert split.groups is not None
    assert set(split.groups.tolist()) <= {0, 1, 2, 3}


def test_what_is_no_picture_or_odd_is_named_and_counted(tmp_path: Path) -> None:
    root = clips(tmp_path)
    for name in ("reportsi.dcm", "rtplan.dcm", "DICOMDIR"):
        shutil.copy(carried(name), root / "dark" / name)
    (root / "dark" / "notes.txt").write_text("no picture")
    shutil.copy(root / "dark" / "0.dcm", root / "loose.dcm")
    shutil.copy(carried("SC_rgb_rle.dcm"), root / "dark" / "screen.dcm")
    unknown = dataset(cine(1, bright=False, seed=7)[0], Modality="", BurnedInAnnotation="YES")
    del unknown.PatientID
    unknown.SOPClassUID = unknown.file_meta.MediaStorageSOPClassUID = carried_class("CT_small.dcm")
    save(unknown, root / "dark" / "unknown.dcm")
    deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    save(dataset(deep, bits=12, PatientID="MRN-100"), root / "dark" / "deep.dcm")
    assert set(settings(root).find().remarks) == {
        "1 files are not used, being no DICOM files (dark/notes.txt)",
        "1 files are not used, being no pictures: Basic Text SR (dark/reportsi.dcm)",
        "1 files are not used, being no pictures: DICOMDIR (dark/DICOMDIR)",
        "1 files are not used, being no pictures: RT Plan (dark/rtplan.dcm)",
        "1 files are not used, being outside the folders of classes (loose.dcm)",
        "1 files are secondary captures, which may be screens or reports (dark/screen.dcm)",
        "modalities are mixed (9 US, 1 OT, 1 none); --set dataset.modality=NAME takes one of them",
        "1 files have no Modality (dark/unknown.dcm)",
        "1 files have no PatientID; those of one StudyInstanceUID are taken for one patient (dark/unknown.dcm)",
        "1 files have greys of more than 8 bits and no window; black and white are the ends of what their bits can "
        "hold, and --set 'dataset.window=[CENTRE,WIDTH]' sets others (dark/deep.dcm)",
        "1 files say that identifying text stands in their pixels; it is masked in ultrasound only (dark/unknown.dcm)",
    }
    only = settings(root, modality="us", secondary_captures=False).find()
    assert "1 files are not used, being secondary captures (dark/screen.dcm)" in only.remarks
    assert "1 files are not used, their Modality being another than us (none) (dark/unknown.dcm)" in only.remarks
    assert not [remark for remark in only.remarks if "mixed" in remark]


def carried_class(name: str) -> str:
    from pydicom import dcmread

    return dcmread(carried(name), stop_before_pixels=True).SOPClassUID


def test_all_that_cannot_be_decoded_is_named_at_once(tmp_path: Path) -> None:
    root = clips(tmp_path)
    (root / "dark" / "empty.dcm").touch()
    (root / "dark" / "text.dcm").write_text("no DICOM at all, whatever it is called")
    without = dataset(cine(1, bright=True, seed=0)[0], PatientID="MRN-000")
    del without.Rows, without.PhotometricInterpretation
    save(without, root / "bright" / "without.dcm")
    cut = (root / "bright" / "0.dcm").read_bytes()
    (root / "bright" / "cut.dcm").write_bytes(cut[: len(cut) // 2])
    messages: dict[str, str] = {}
    for name in ("train", "validation"):
        try:
            settings(root, every_kth_frame=1).load(name, PREPROCESS)
        except UnreadablePictures as error:
            messages.update({each.file.name: each.reason for each in error.pictures})
    assert messages["empty.dcm"] == "the file is empty"
    assert messages["text.dcm"] == "its content is no DICOM data"
    assert messages["without.dcm"] == "it has no Rows, PhotometricInterpretation"
    assert set(messages) >= {"empty.dcm", "text.dcm", "without.dcm", "cut.dcm"}


def test_an_unsupported_syntax_names_the_package_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JPEGLSNearLossless_08.dcm", "693_J2KI.dcm"):
        shutil.copy(carried(name), tmp_path / name)
    for name in ("JPEGLSNearLosslessDecoder", "JPEG2000Decoder"):
        monkeypatch.setattr(getattr(decoders, name), "_available", {})
    assert read_header(tmp_path / "JPEGLSNearLossless_08.dcm").fault == (
        "its transfer syntax is JPEG-LS Lossy (Near-Lossless) Image Compression (1.2.840.10008.1.2.4.81), which needs "
        "pylibjpeg and pylibjpeg-libjpeg: pip install 'pocket-distill[dicom]'"
    )
    fault = read_header(tmp_path / "693_J2KI.dcm").fault
    assert fault is not None
    assert "needs pylibjpeg and pylibjpeg-openjpeg" in fault


def test_a_video_is_told_from_what_needs_a_package(tmp_path: Path) -> None:
    from pydicom.uid import MPEG2MPML

    data = dataset(cine(1, bright=True, seed=0)[0])
    data = as_jpeg(data, cine(1, bright=True, seed=0)[..., None].repeat(3, axis=3))
    data.file_meta.TransferSyntaxUID = MPEG2MPML
    fault = read_header(save(data, tmp_path / "video.dcm")).fault
    assert fault is not None
    assert "MPEG2 Main Profile" in fault
    assert "which pydicom does not decode; save it uncompressed or as JPEG" in fault


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(
        UsageError, match=r"needs pydicom, which is not installed: pip install 'pocket-distill\[dicom\]'"
    ):
        settings(tmp_path).find()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (SimpleNamespace(patients=0), "has no labelled DICOM pictures"),
        (SimpleNamespace(patients=1), "has 1 patients, too few for 2 splits"),
    ],
)
def test_too_little_is_refused(tmp_path: Path, make: SimpleNamespace, message: str) -> None:
    tmp_path.joinpath("data").mkdir()
    with pytest.raises(UsageError, match=message):
        settings(clips(tmp_path / "data", patients=make.patients)).find()


def test_one_class_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        settings(tmp_path / "nowhere").find()
    shutil.rmtree(clips(tmp_path) / "dark")
    with pytest.raises(UsageError, match=r"has one class only \(bright\)"):
        settings(tmp_path).find()


def test_clips_are_divided_where_patients_are_not_known(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(3):
        for name in ("a", "b"):
            save(dataset(cine(2, bright=name == "a", seed=number)), root / name / f"{number}.dcm")
    with pytest.raises(UsageError, match=r"has [01] patients, too few"):
        settings(root).find()
    split = settings(root, split_by="clip", every_kth_frame=1).load("validation", PREPROCESS)
    assert len(split) == 4
    assert split.groups is not None
    assert split.clips is not None
    assert (split.groups == split.clips).all()


def test_a_folder_says_whether_it_holds_dicom(tmp_path: Path) -> None:
    assert not holds_dicom(tmp_path)
    assert holds_dicom(clips(tmp_path, patients=1))
