"""Whatever lies in an artifact's folder: reading it gives the manifest or a UsageError, and touches nothing else."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.contract import sha256_of_file
from distill.errors import UsageError
from export.artifact.manifest import MANIFEST_FILE, Manifest, read_artifact

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "manifest.json").read_text())
RELAXED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 10**400, 1e308, -0.0, 1e-320]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["", ".", "..", "../secret", "/etc/passwd", "a\0b", "\\", "x" * 5000, "\ud800", "~", "C:\\x"]),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))
PATHS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["..", "../secret", "/secret", "link", "link/secret", "loop", "model.onnx/x", "a\0b", "x" * 300, ".", "//"]
    ),
    st.lists(st.sampled_from(["..", ".", "link", "loop", "secret", "model.onnx", ""]), max_size=5).map("/".join),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, from the root down."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


PLACES = sorted(places(GOLDEN), key=str)


def mutated(raw: Any, path: tuple[Any, ...], action: str, value: Any) -> Any:
    """A copy of `raw` with one place replaced, removed, or given a new neighbour."""
    if not path:
        return value
    result = copy.deepcopy(raw)
    parent = result
    for step in path[:-1]:
        parent = parent[step]
    if action == "remove":
        del parent[path[-1]]
    elif action == "replace":
        parent[path[-1]] = value
    elif isinstance(parent, dict):
        parent["extra"] = value
    else:
        parent.append(value)
    return result


def read_or_refused(text: str | bytes) -> Manifest | None:
    """The manifest, or None where a UsageError names its source; anything else is a defect."""
    try:
        return Manifest.from_json(text, source="here")
    except UsageError as error:
        return None if "here" in str(error) else pytest.fail(f"names no source: {error}")


@RELAXED
@given(st.sampled_from(PLACES), st.sampled_from(["remove", "replace", "add"]), VALUES)
def test_a_manifest_with_anything_anywhere_is_read_or_refused(path: tuple[Any, ...], action: str, value: Any) -> None:
    manifest = read_or_refused(json.dumps(mutated(GOLDEN, path, action, value)))
    assert manifest is None or Manifest.from_json(manifest.to_json(), source="again") == manifest


@RELAXED
@given(st.binary(max_size=60), st.integers(0, 3000), st.integers(0, 60))
def test_a_manifest_with_bytes_replaced_is_read_or_refused(junk: bytes, start: int, length: int) -> None:
    whole = json.dumps(GOLDEN).encode()
    read_or_refused(whole[:start] + junk + whole[start + length :])


OPENED: list[str] = []
"""Files that were opened while a test watched."""
WATCHING = [False]


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if WATCHING[0] and event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(watch)


@pytest.fixture
def prison(tmp_path: Path) -> Path:
    """An artifact folder with links that lead out of it, a loop of links, and a secret outside."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.onnx").write_text("model")
    (folder / "link").symlink_to(tmp_path)
    (folder / "file-link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    return folder


@RELAXED
@given(PATHS | st.just("file-link"), st.sampled_from(["model", "golden-input"]))
def test_no_path_leads_out_of_the_folder(prison: Path, path: str, role: str) -> None:
    raw = copy.deepcopy(GOLDEN)
    secret = prison.parent / "secret"
    model = {"path": "model.onnx", "role": "model", **identity(prison / "model.onnx")}
    raw["files"] = [model, {"path": path, "role": role, **identity(secret)}]
    (prison / MANIFEST_FILE).write_text(json.dumps(raw))
    OPENED.clear()
    WATCHING[0] = True
    try:
        with pytest.raises(UsageError):  # the secret's own hash is right, so only the path can be refused
            read_artifact(prison)
    finally:
        WATCHING[0] = False
    assert OPENED
    assert {Path(name).resolve().parent for name in OPENED} == {prison}
    assert sorted(entry.name for entry in prison.parent.iterdir()) == ["artifact", "secret"]


def identity(path: Path) -> dict[str, object]:
    return {"sha256": sha256_of_file(path), "size_bytes": path.stat().st_size}


READ_AND_RUN = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import numpy as np
from distill.errors import UsageError, WorkFailed
from export.artifact.manifest import read_artifact
from export.artifact.runner import open_runner
for folder in map(Path, sys.argv[1:]):
    manifest = read_artifact(folder)
    try:
        open_runner(folder, manifest, threads=1)
    except (UsageError, WorkFailed) as error:
        print("refused", folder, str(error)[:200], flush=True)
    else:
        print("loaded", folder, flush=True)
"""
SHARES = (0.0, 0.01, 0.5, 0.98)


def cut_off(whole: Path, manifest: Manifest, folder: Path, share: float) -> Path:
    """A copy of an artifact whose model ends after a share of its bytes, and whose manifest says so."""
    shutil.copytree(whole, folder)
    model = folder / manifest.file("model")
    data = model.read_bytes()
    model.write_bytes(data[: int(len(data) * share)])
    files = [{"path": file.path, "role": file.role, **identity(folder / file.path)} for file in manifest.files]
    raw = json.loads((folder / MANIFEST_FILE).read_text()) | {"files": files}
    (folder / MANIFEST_FILE).write_text(json.dumps(raw))
    return folder


@pytest.mark.slow
def test_a_cut_off_model_whose_manifest_agrees_is_refused_by_its_runner(tmp_path: Path, artifact) -> None:
    """A hash says that a file is the one that was written, not that it is any good. One interpreter opens all."""
    folders = [
        cut_off(*artifact(format, "fp32"), tmp_path / f"{format}-{share}", share)
        for format in ("eager", "torchscript", "executorch", "onnx", "litert")
        for share in SHARES
    ]
    command = [sys.executable, "-c", READ_AND_RUN, *map(str, folders)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["refused", str(folder)] for folder in folders
    ], result.stdout
