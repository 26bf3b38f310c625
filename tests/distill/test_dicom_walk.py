"""From files as scanners write them to an exported network: data page, training, evaluation per clip, parity."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from distill import checkpoint, terminal
from distill.__main__ import app
from export.convert import convert
from export.formats import Target
from export.proof.evidence import gather
from tests.distill.vision.datasets.dicom import dicom_files
from tests.distill.vision.datasets.dicom.dicom_files import as_jpeg, cine, dataset, save, with_regions

Pixels = NDArray[np.uint8]

NAME, IDENTITY = "Doe^Jane", "MRN-7"
SETTINGS = (
    "dataset.every_kth_frame=2",
    "dataset.channels=1",
    "dataset.validation_share=0.4",
    "image.size_px=32",
    "training.epochs=20",
    "model=resnet8",
    "training.batch_size=16",
)


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `python -m distill WORDS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["distill", *words])
    with pytest.raises(SystemExit) as ended:
        terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def _coloured(frames: Pixels) -> Pixels:
    return frames[..., None].repeat(3, axis=3)


def _rle(frames: Pixels) -> Dataset:
    data = dataset(frames)
    data.compress(RLELossless)
    return data


def _palette(frames: Pixels) -> Dataset:
    data = dataset(frames[0], photometric="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(data, f"{colour}PaletteColorLookupTableData", (np.arange(256) * 257).astype("<u2").tobytes())
    return data


def _anonymous(frames: Pixels) -> Dataset:
    data = dataset(frames)
    del data.PatientID, data.PatientName
    return data


WRITERS: tuple[Callable[[Pixels], Dataset], ...] = (
    dataset,
    _rle,
    lambda frames: as_jpeg(dataset(_coloured(frames)), _coloured(frames)),
    lambda frames: dataset(255 - frames, photometric="MONOCHROME1"),
    lambda frames: dataset(frames.astype(np.uint16) << 4, bits=12, WindowCenter=2048, WindowWidth=4096),
    lambda frames: with_regions(
        dataset(frames), dicom_files.region((8, 4, 119, 91)), dicom_files.region((0, 0, 5, 95), spatial_format=2)
    ),
    _palette,
    lambda frames: dataset(_coloured(frames)[0], photometric="RGB"),
    lambda frames: dataset(_coloured(frames), photometric="RGB", SOPClassUID=SecondaryCaptureImageStorage),
    _anonymous,
)
"""One file of each kind for each class; each kind is another patient."""


def write(root: Path) -> Path:
    for number, writer in enumerate(WRITERS):
        for bright in (False, True):
            data = writer(cine(6, bright=bright, seed=number))
            if "PatientID" in data:
                data.PatientID, data.PatientName = f"{IDENTITY}{number}", NAME
            data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
            save(data, root / ("bright" if bright else "dark") / f"kind {number}.dcm")
    for name, folder in (("examples_ybr_color.dcm", "dark"), ("examples_palette.dcm", "bright")):
        file = get_testdata_file(name, download=False)
        assert isinstance(file, str)
        shutil.copy(file, root / folder / name)
    return root


def test_from_files_of_scanners_to_an_exported_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "hospital")
    monkeypatch.chdir(tmp_path)
    assert (
        call(monkeypatch, "data", "hospital", "--set", "dataset.every_kth_frame=2", "--out", "page.html", "--json") == 0
    )
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    assert summary["unreadable"] == []
    assert summary["formats"].keys() == {"DICOM"}
    assert summary["treated"]["something outside the sector made black"] > 40
    assert summary["treated"]["cropped to the 2-D region of the ultrasound picture"] == 6
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/webp;base64,") > 40

    options = [word for setting in SETTINGS for word in ("--set", setting)]
    words = ("run", "echo-dicom-scratch", "--set", "dataset.path=hospital", *options, "--out", "run")
    assert call(monkeypatch, *words) == 0
    log = capsys.readouterr()
    assert "have no PatientID" in " ".join(log.err.split())

    assert call(monkeypatch, "evaluate", "run", "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    card = checkpoint.load(tmp_path / "run").card
    assert card.training is not None
    assert found["accuracy"] == pytest.approx(card.training.best.accuracy)
    assert found["count"] == card.training.data.num_validation > found["clips"]["count"] > 1
    for facts in (found, found["clips"]):
        low, high = facts["accuracy_interval"]
        assert low <= facts["accuracy"] <= high
        assert facts["patients"] > 1

    texts = [page, shown.err, log.out, log.err, said.out, said.err, shown.out]
    texts += [file.read_text() for pattern in ("*.json*", "*.html") for file in (tmp_path / "run").rglob(pattern)]

    loaded = checkpoint.load(tmp_path / "run")
    evidence = gather(loaded, num_parity=20, num_calibration=0, seed=0)
    manifest = convert(loaded, Target("onnx", "fp32"), evidence, tmp_path / "artifact")
    assert manifest.parity.verdict == "pass", manifest.parity.reason
    assert manifest.parity.top1_agreement == 1
    texts.append((tmp_path / "artifact" / "manifest.json").read_text())
    assert not [word for word in ("Doe", "Jane", "MRN", "11-05-25-142825") for text in texts if word in text]
