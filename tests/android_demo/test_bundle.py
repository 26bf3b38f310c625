"""From artifacts and a journal to the folder that the app packs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.vision.painting import class_colour, depth_colours
from export.artifact.manifest import MANIFEST_FILE, read_artifact
from export.bundle import Bundle, find_artifacts, read_medians, write_bundle

pytest.importorskip("onnxruntime")

from tests.android_demo.networks import artifact

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return artifact(tmp_path / "artifacts/tiny")


def row(manifest_sha256: str, **changes: object) -> str:
    golden = json.loads((ROOT / "tests/bench/golden/measurement.json").read_text())
    golden["subject"]["manifest_sha256"] = manifest_sha256
    device = {"kind": "android", "name": "Pixel 8", "instrument": "app"}
    golden |= {"samples_ms": [3.0, 1.0, 2.0], "validity": "valid", "threads": 2, "batch": 1}
    golden["device"] |= {**device, **{key: changes.pop(key) for key in device if key in changes}}
    return json.dumps(golden | changes)


def test_artifacts_are_copied_whole_and_listed(tiny: Path, tmp_path: Path) -> None:
    index = write_bundle([tiny, tiny], tmp_path / "bundle", ())
    assert Bundle.read(tmp_path / "bundle/bundle.json") == index
    assert [item.folder for item in index.artifacts] == ["00-onnx-fp32", "01-onnx-fp32"]
    for item in index.artifacts:
        copy = tmp_path / "bundle" / item.folder
        assert read_artifact(copy) == read_artifact(tiny)
        assert sorted(item.files) == sorted(path.name for path in copy.iterdir())
        assert item.manifest_sha256 == sha256_of_file(tiny / MANIFEST_FILE)


def test_answers_for_every_pixel_come_with_the_colours_of_the_run_page(tiny: Path, tmp_path: Path) -> None:
    folders = [tiny, artifact(tmp_path / "masks", "segmentation"), artifact(tmp_path / "depth", "depth")]
    none, mask, depth = (item.colours for item in write_bundle(folders, tmp_path / "bundle", ()).artifacts)
    assert none == ()
    assert [bytes.fromhex(colour[1:]) for colour in mask] == [bytes(class_colour(label)) for label in range(11)]
    assert len(depth) == 256
    assert depth[0] == "#{:02x}{:02x}{:02x}".format(*depth_colours()[0])


def test_a_bundle_of_the_version_before_is_read(tiny: Path, tmp_path: Path) -> None:
    index = write_bundle([tiny], tmp_path / "bundle", ())
    raw = json.loads(index.to_json())
    raw["schema_version"] = 1
    del raw["artifacts"][0]["colours"]
    assert Bundle.from_json(json.dumps(raw), source="old") == index
    raw["schema_version"] = 3
    with pytest.raises(UsageError, match="schema version 3"):
        Bundle.from_json(json.dumps(raw), source="new")


def test_an_older_bundle_is_replaced_and_other_folders_are_not(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    write_bundle([tiny, tiny], out, ())
    write_bundle([tiny], out, ())
    assert sorted(path.name for path in out.iterdir()) == ["00-onnx-fp32", "bundle.json"]
    with pytest.raises(UsageError, match="holds other things"):
        write_bundle([tiny], tiny, ())
    read_artifact(tiny)


def test_formats_without_an_engine_are_left_out_or_refused(tiny: Path) -> None:
    other = artifact(tiny.parent / "other")
    manifest = other / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"format": "onnx"', '"format": "coreml"'))
    assert find_artifacts([tiny.parent]) == [tiny]
    with pytest.raises(UsageError, match="is coreml; the app runs"):
        find_artifacts([other])
    with pytest.raises(UsageError, match="found no artifact"):
        find_artifacts([other.parent / "nothing"])


def test_the_app_shows_the_latest_valid_rows_that_it_measured_itself(tmp_path: Path) -> None:
    journal = tmp_path / "measurements.jsonl"
    lines = [
        row("a", samples_ms=[9.0]),
        row("a"),
        row("b", validity="throttled"),
        row("c", kind="cpu"),
        row("d", batch=8),
        row("e", instrument="native"),
        row("f", name="Other"),
    ]
    journal.write_text("\n".join(lines) + '\n{"schema_version": 1, "cut')
    medians = read_medians(journal)
    assert [(m.manifest_sha256, m.device, m.threads, m.median_ms) for m in medians] == [
        ("a", "Pixel 8", 2, 2.0),
        ("f", "Other", 2, 2.0),
    ]


def test_journals_of_every_version_are_read(tmp_path: Path) -> None:
    journal = tmp_path / "measurements.jsonl"
    goldens = sorted((ROOT / "tests/bench/golden").glob("measurement*.json"))
    journal.write_text("".join(json.dumps(json.loads(path.read_text())) + "\n" for path in goldens))
    assert len(goldens) >= 4
    read_medians(journal)


def test_a_line_that_is_no_measurement_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "measurements.jsonl"
    journal.write_text(row("a") + '\n{"schema_version": 1}\n')
    with pytest.raises(UsageError, match=r"line 2 is not a measurement"):
        read_medians(journal)


def test_medians_of_other_artifacts_are_left_out(tiny: Path, tmp_path: Path) -> None:
    journal = tmp_path / "measurements.jsonl"
    journal.write_text(row(sha256_of_file(tiny / MANIFEST_FILE)) + "\n" + row("other") + "\n")
    index = write_bundle([tiny], tmp_path / "bundle", read_medians(journal))
    assert [m.manifest_sha256 for m in index.measurements] == [index.artifacts[0].manifest_sha256]


def test_the_command_says_what_comes_next(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export", "bundle", str(tiny.parent), "--out", str(tmp_path / "bundle")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(tmp_path / "bundle")
    assert "make app BUNDLE=" in result.stderr


def test_the_command_answers_programs_with_the_index(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "export", "bundle", str(tiny), "--out", str(out), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT)
    assert Bundle.from_json(result.stdout, source="stdout") == Bundle.read(out / "bundle.json")
