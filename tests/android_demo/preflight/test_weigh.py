"""What runtimes add to an app: from the app where there is one, else from their packages."""

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from android_demo.__main__ import app
from android_demo.preflight import weigh as weighing
from bench.record.carried import RuntimeBytes
from distill.errors import UsageError
from tests.android_demo.preflight.made_apk import manifest, write_apk

RUNTIMES = {"onnx": "org.onnx:onnx-android:1.0", "executorch": "org.torch:executorch-android:2.0"}


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of two runtimes, no app that was built, and no package."""
    listed = tmp_path / "runtimes.properties"
    listed.write_text("# pinned\n" + "".join(f"{name} = {archive}\n" for name, archive in RUNTIMES.items()))
    monkeypatch.setattr(weighing, "RUNTIMES_FILE", listed)
    monkeypatch.setattr(weighing, "BUILT", tmp_path / "built")
    monkeypatch.setattr(weighing, "PACKAGES", (tmp_path / "gradle", tmp_path / "maven"))


def package(path: Path, **size_of: int) -> Path:
    """An .aar with libraries for two ABIs, compressed as packages are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("classes.jar", bytes(99))
        for abi, size in size_of.items():
            archive.writestr(f"jni/{abi.replace('arm64_v8a', 'arm64-v8a')}/libexecutorch.so", bytes(size))
    return path


def built(tmp_path: Path) -> Path:
    """An app with ONNX Runtime and a library that no runtime has to itself."""
    sizes = {"libonnxruntime.so": 5000, "libonnxruntime4j_jni.so": 300, "libc++_shared.so": 70}
    files = {"assets/runtimes.properties": tmp_path / "packed.properties"}
    files["assets/runtimes.properties"].write_text(f"onnx = {RUNTIMES['onnx']}\n")
    for name, size in sizes.items():
        files[f"lib/arm64-v8a/{name}"] = tmp_path / name
        (tmp_path / name).write_bytes(bytes(size))
    files["lib/x86_64/libonnxruntime.so"] = tmp_path / "libonnxruntime.so"
    (tmp_path / "built").mkdir(exist_ok=True)
    return write_apk(tmp_path / "built" / "demo-release.apk", manifest(), files)


def test_the_app_is_weighed_for_one_abi_and_the_others_runtimes_in_their_packages(tmp_path: Path) -> None:
    built(tmp_path)
    package(tmp_path / "gradle/org.torch/executorch-android/2.0/0a1b/executorch-android-2.0.aar", arm64_v8a=9000)
    weighed, missing = weighing.weigh()
    assert missing == {}
    assert weighed.abi == "arm64-v8a"
    assert weighed.of("onnx") == 5370
    assert weighed.runtimes["onnx"].weighed_in == "demo-release.apk"
    assert weighed.of("executorch") == weighed.of("executorch-vulkan") == 9000
    assert weighed.runtimes["executorch"].archive == RUNTIMES["executorch"]
    assert weighed.of("litert") is None


@pytest.mark.parametrize(
    "place", ["flat/executorch-android-2.0.aar", "maven/org/torch/executorch-android/2.0/executorch-android-2.0.aar"]
)
def test_a_package_is_found_where_tools_keep_it(tmp_path: Path, place: str) -> None:
    package(tmp_path / place, arm64_v8a=9000, x86_64=8000)
    folders = [tmp_path / "flat"] if place.startswith("flat") else None
    weighed, missing = weighing.weigh(packages=folders)
    assert (weighed.of("executorch"), missing) == (9000, {"onnx": RUNTIMES["onnx"]})


def test_the_command_writes_what_bench_reads_and_names_what_is_missing(tmp_path: Path) -> None:
    package(tmp_path / "aars/executorch-android-2.0.aar", arm64_v8a=9000)
    out = tmp_path / "runtime-bytes.json"
    words = ["weigh", "--packages", str(tmp_path / "aars"), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, words, standalone_mode=False)
    assert done.exception is None
    assert RuntimeBytes.read(out).of("executorch") == 9000
    assert json.loads(done.stdout)["abi"] == "arm64-v8a"
    assert "not weighed: onnx" in " ".join(done.stderr.split())


def test_nothing_to_weigh_and_a_broken_package_are_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["weigh", "--out", str(tmp_path / "x.json")], standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    assert "no runtime could be weighed" in str(done.exception)
    (tmp_path / "aars").mkdir()
    (tmp_path / "aars/executorch-android-2.0.aar").write_text("no archive")
    with pytest.raises(UsageError, match="cannot be read as an Android package"):
        weighing.weigh(packages=[tmp_path / "aars"])


def test_the_apps_own_list_is_understood() -> None:
    listed = weighing._listed((Path(weighing.__file__).parents[1] / "runtimes.properties").read_text())
    assert set(listed) == {"executorch", "onnx", "litert", "torchscript"}
    assert all(archive.count(":") == 2 for archive in listed.values())
