import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distill.errors import UsageError
from export.artifact.manifest import MANIFEST_FILE, SINCE_VERSION_5, SINCE_VERSION_6, Manifest, read_artifact

GOLDEN = Path(__file__).parent.parent / "golden" / "manifest.json"


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(GOLDEN.read_text()), **fields})


def with_file(**fields: object) -> str:
    raw = json.loads(GOLDEN.read_text())
    raw["files"][0].update(fields)
    return json.dumps(raw)


def test_the_golden_manifest_is_written_back_letter_by_letter(tmp_path: Path) -> None:
    manifest = Manifest.read(GOLDEN)
    manifest.write(tmp_path / MANIFEST_FILE)
    assert (tmp_path / MANIFEST_FILE).read_text() == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(colour="red"), "colour: unknown key"),
        (changed(parity=None), "parity: "),
        (changed(schema_version=8), "has schema version 8, but this version of the toolkit reads 7"),
        (changed(schema_version=3), "has schema version 3, but this version of the toolkit reads 7"),
        (changed(schema_version=4, parity=None), "has schema version 4, but this version of the toolkit reads 7"),
        (changed(schema_version=None), "has schema version None"),
        (changed(num_parameters="many"), "num_parameters: input should be a valid integer"),
        (changed(format="tflite"), "format: "),
        (changed(files=[]), "must name at least one file with the role model"),
        (changed(task="segmentation"), "by preprocess and class_names"),
        (changed(task="weather"), "task: "),
        (changed(class_names=["one", "two"]), "by preprocess and class_names"),
        (with_file(path="golden_input.npy"), "must not name a path twice"),
        (with_file(sha256="abc"), "files.0.sha256: "),
        (with_file(size_bytes=-1), "files.0.size_bytes: "),
        ("[" * 100_000, "is not valid JSON"),
        ('{"schema_version": ' + "9" * 10_000 + "}", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[]", "has schema version None"),
    ],
)
def test_a_manifest_that_breaks_the_schema_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Manifest.from_json(text, source="artifact/manifest.json")
    assert message in str(caught.value)
    assert "artifact/manifest.json" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "since"), [(4, (*SINCE_VERSION_5, *SINCE_VERSION_6)), (5, SINCE_VERSION_6), (6, ())]
)
def test_a_manifest_of_an_older_version_is_read_and_knows_nothing_of_what_is_new(
    version: int, since: tuple[str, ...]
) -> None:
    old = json.loads((GOLDEN.parent / f"manifest-{version}.json").read_text())
    manifest = Manifest.from_json(json.dumps(old), source="manifest.json")
    parity = manifest.model_dump(mode="json")["parity"]
    assert parity == old["parity"] | dict.fromkeys(since)
    assert set(parity) - set(old["parity"]) == set(since)
    assert manifest.schema_version == 7
    assert (manifest.preprocess.crop_share, manifest.preprocess.interpolation) == (None, "bilinear")
    assert manifest.task == "classification"


@pytest.mark.parametrize("key", sorted(set(json.loads(GOLDEN.read_text())) - {"schema_version"}))
def test_every_missing_key_is_named(key: str) -> None:
    raw = json.loads(GOLDEN.read_text())
    del raw[key]
    with pytest.raises(UsageError, match=f"{key}: missing key"):
        Manifest.from_json(json.dumps(raw), source="manifest.json")


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "a/../../secret", "..", "", "a\\..\\b", "a\0b", "./../x"])
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    with pytest.raises(UsageError, match="must be a relative path inside the artifact"):
        Manifest.from_json(with_file(path=path), source="manifest.json")


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, artifact) -> None:
    folder = copy_of(artifact, tmp_path)
    (tmp_path / "outside").write_bytes((folder / "weights.safetensors").read_bytes())
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="is incomplete"):
        read_artifact(folder)


def test_a_manifest_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path, artifact) -> None:
    folder = copy_of(artifact, tmp_path)
    (folder / MANIFEST_FILE).rename(tmp_path / "outside.json")
    (folder / MANIFEST_FILE).symlink_to(tmp_path / "outside.json")
    with pytest.raises(UsageError, match="is not an artifact"):
        read_artifact(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "golden_output.npy", "card.json"])
def test_a_tampered_artifact_is_refused(tmp_path: Path, artifact, name: str) -> None:
    folder = copy_of(artifact, tmp_path)
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UsageError, match=rf"{name} was changed after it was exported: SHA-256"):
        read_artifact(folder)


def test_a_cut_off_and_a_missing_file_are_refused(tmp_path: Path, artifact) -> None:
    folder = copy_of(artifact, tmp_path)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UsageError, match=r"was changed after it was exported: it has \d+ bytes"):
        read_artifact(folder)
    weights.unlink()
    with pytest.raises(UsageError, match=r"names 'weights.safetensors', which is not there"):
        read_artifact(folder)


def test_a_folder_without_manifest_is_not_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="python -m export"):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    "module", ["export.artifact.manifest", "export.artifact.runner", "export.__main__", "distill.checkpoint"]
)
def test_what_needs_no_torch_does_not_import_it(module: str) -> None:
    heavy = ("torch", "onnx", "onnxruntime", "executorch", "coremltools", "litert_torch", "ai_edge_litert")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def copy_of(artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact("eager", "fp32")[0], tmp_path / "copy"))
