"""What a store refuses is refused here first, by name; what it takes is not."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from android_demo.__main__ import app
from android_demo.preflight.apk import bytes_by_part, read_apk
from android_demo.preflight.binary_xml import parse
from android_demo.preflight.elf import load_segments
from android_demo.preflight.rules import Asked, examine
from distill.errors import UsageError
from tests.android_demo.preflight.made_apk import activity, binary, intent, manifest, write_apk

CAMERA = "android.permission.CAMERA"
VIEW = "android.intent.action.VIEW"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Real libraries by the size of page that they were linked for."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("libraries")
    (folder / "x.cpp").write_text('int data[4] = {1, 2, 3, 4};\nextern "C" int f() { return data[1]; }\n')
    made: dict[int, Path] = {}
    for page in (4096, 16384, 65536):
        made[page] = folder / f"lib{page}.so"
        words = ["g++", "-shared", "-fPIC", f"-Wl,-z,max-page-size={page}", "-Wl,-z,common-page-size=4096"]
        subprocess.run([*words, "-o", made[page], folder / "x.cpp"], check=True)
    return made


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words, standalone_mode=False)


def broken(path: Path, **asked: Any) -> dict[str, str]:
    """Rules that an APK breaks, with what was found."""
    findings = examine(read_apk(path), Asked(**({"permissions": (CAMERA,)} | asked)))
    return {finding.rule: finding.found for finding in findings if not finding.is_kept}


def test_an_app_that_keeps_every_rule_goes_out(tmp_path: Path, libraries: dict[int, Path]) -> None:
    guarded = activity(".Bench", exported=True, permission="android.permission.DUMP")
    hidden = activity(".Models", exported=False)
    files = {"lib/arm64-v8a/libonnxruntime.so": libraries[16384], "lib/arm64-v8a/libx.so": libraries[65536]}
    path = write_apk(tmp_path / "good.apk", manifest(guarded, hidden, permissions=(CAMERA,)), files)
    assert broken(path) == {}
    assert call("preflight", str(path)).return_value == 0
    parts = bytes_by_part(read_apk(path))
    assert parts["onnx, arm64-v8a"] == libraries[16384].stat().st_size
    assert parts["other libraries, arm64-v8a"] == libraries[65536].stat().st_size


def test_a_library_for_pages_of_4_kb_is_refused_on_64_bits_alone(tmp_path: Path, libraries: dict[int, Path]) -> None:
    assert {segment.align for segment in load_segments(libraries[4096].read_bytes(), "x")} == {4096}
    bad = write_apk(tmp_path / "bad.apk", manifest(), {"lib/arm64-v8a/libold.so": libraries[4096]})
    assert broken(bad) == {"16 KB pages in libraries": "lib/arm64-v8a/libold.so (aligned to 4096 bytes)"}
    old = write_apk(tmp_path / "old.apk", manifest(), {"lib/x86/libold.so": libraries[4096]})
    assert broken(old) == {}


def test_a_library_that_does_not_lie_on_a_page_of_the_archive_is_refused(
    tmp_path: Path, libraries: dict[int, Path]
) -> None:
    files = {"lib/arm64-v8a/libx.so": libraries[16384]}
    path = write_apk(tmp_path / "bad.apk", manifest(), files, align=4096)
    (found,) = broken(path).values()
    assert found.startswith("lib/arm64-v8a/libx.so (at byte 4096)")


@pytest.mark.parametrize(
    ("tree", "rule", "found"),
    [
        (
            manifest(activity(".Bench", exported=True)),
            "components",
            "activity .Bench is exported without a permission",
        ),
        (
            manifest(("receiver", {"name": ".R", "exported": True}, [intent(VIEW)])),
            "components",
            "receiver .R is exported without a permission",
        ),
        (
            manifest(("provider", {"name": ".P", "exported": True, "readPermission": "x"}, [])),
            "components",
            "provider .P is exported without a permission",
        ),
        (
            manifest(activity(".View", intent(VIEW))),
            "components",
            "activity .View does not say whether it is exported",
        ),
        (manifest(application={"debuggable": True}), "debugging", "android:debuggable is set"),
        (manifest(application={"testOnly": True}), "debugging", "android:testOnly is set"),
        (
            manifest(permissions=(CAMERA, "android.permission.INTERNET")),
            "permissions",
            "asks for android.permission.INTERNET",
        ),
        (manifest(versionCode=0), "version", "1.0 (0)"),
        (manifest(versionName=""), "version", " (1)"),
        (manifest(target=35), "target level", "target 35, from 26 on"),
    ],
)
def test_each_broken_rule_is_named_and_no_other(tmp_path: Path, tree: Any, rule: str, found: str) -> None:
    assert broken(write_apk(tmp_path / "bad.apk", tree)) == {rule: found}


def test_what_is_asked_for_is_taken(tmp_path: Path) -> None:
    path = write_apk(tmp_path / "other.apk", manifest(permissions=("android.permission.INTERNET",), target=35))
    words = ["preflight", str(path), "--permission", "android.permission.INTERNET", "--target-level", "35"]
    assert call(*words).return_value == 0
    asked = call(*words, "--version", "2.0", "--json")
    assert asked.return_value == 1
    told = json.loads(asked.stdout)
    assert [each["rule"] for each in told["findings"] if not each["is_kept"]] == ["version"]


def test_an_unsigned_app_is_refused(tmp_path: Path) -> None:
    assert "signature" in broken(write_apk(tmp_path / "bad.apk", manifest(), signed=False))


@pytest.mark.parametrize("utf8", [False, True])
def test_the_manifest_is_read_in_both_encodings(utf8: bool) -> None:
    long = "x" * 200
    root = parse(binary(manifest(activity(f".Ärger{long}", exported=False)), utf8=utf8))
    (application,) = root.all("application")
    assert [each.attributes.get("name") for each in application.all("activity")] == [".Main", f".Ärger{long}"]


@pytest.mark.parametrize("data", [b"", b"<manifest/>", binary(manifest())[:300], b"\3\0\10\0\xff\xff\0\0"])
def test_a_damaged_manifest_is_an_error_in_words(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"AndroidManifest\.xml"):
        parse(data)


def test_no_apk_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "x.apk").write_bytes(b"no archive")
    for path in (tmp_path / "nothing.apk", tmp_path / "x.apk"):
        assert isinstance(call("preflight", str(path)).exception, UsageError)
