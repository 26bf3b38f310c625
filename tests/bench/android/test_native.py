"""The C++ instrument, built from the libraries of executorch's own package, on a loopback phone."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from bench.android.adb import Phone
from bench.android.instruments import NativeRunner
from bench.android.runtimes import of_native
from bench.instruments.native.build import build, installed
from distill.errors import UsageError
from tests.bench.android.conftest import measure

VERSION = version("executorch")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built() -> Path:
    """The runner's folder: built from the package that the programs are exported with."""
    return build(installed())


def test_before_it_is_built_it_is_said_how(start_phone, adb, make_bench, make_artifact, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bench = make_bench(start_phone(), instrument=NativeRunner())
    with pytest.raises(UsageError, match=r"is not built for x86_64\. Build it: python -m bench\.instruments\.native"):
        measure(bench, make_artifact("one", format="executorch"))


def test_a_package_without_libraries_and_a_missing_compiler_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"has no lib/libexecutorch\.so\. Give the folder"):
        build(tmp_path)
    with pytest.raises(UsageError, match="there is no compiler 'no-such-compiler'"):
        build(tmp_path, compiler="no-such-compiler")


def test_it_says_its_version_and_the_host_reads_it_from_the_file(built):
    runner = built / "runner"
    said = subprocess.run([runner, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"pocket-distill runner for executorch {VERSION}\n"
    assert str(of_native(runner)) == f"executorch {VERSION}"


def test_it_measures_without_app_or_python_and_its_output_is_the_golden_one(
    start_phone, make_bench, make_artifact, built, executorch_program
):
    phone = start_phone(has_app=False)
    phone.replace_program("python3", "exit 127")
    good = make_artifact("good", format="executorch", model_bytes=executorch_program[0], weights=executorch_program[1])
    wrong = make_artifact(
        "wrong", format="executorch", model_bytes=executorch_program[0], weights=executorch_program[1] + 1
    )
    broken = make_artifact("broken", format="executorch", model_bytes=b"no program")
    rows = measure(make_bench(phone, instrument=NativeRunner()), good, wrong, broken)
    by_name = {row.subject.name: row for row in rows}
    row = by_name["good"]
    assert row.validity != "failed", row.reason
    assert (row.runtime, row.runtime_version, row.threads_active) == ("executorch", VERSION, 1)
    assert (row.device.instrument, len(row.samples_ms), row.input) == ("native", 30, "golden")
    assert (row.load_ms or 0) > 0
    assert (row.peak_memory_bytes or 0) > 1_000_000
    assert "logits differ from the golden ones" in by_name["wrong"].reason
    assert "the instrument says: ExecuTorch error" in by_name["broken"].reason
    assert not (phone.tmp / "pocket-distill").exists()


def test_a_job_it_cannot_read_gives_an_error_result(start_phone, adb, built):
    loopback = start_phone()
    phone = Phone(adb, loopback.serial)
    place = "/data/local/tmp/0123456789abcdef0123456789abcdef"
    phone.must(["mkdir", place])
    for path in built.iterdir():
        shutil.copy2(path, loopback.files / place[1:])
    for number, text in enumerate(("{", '{"schema_version": 2}', '{"schema_version": 4}', "[1, 2", '"', "")):
        (loopback.files / place[1:] / "job.json").write_text(text)
        assert phone.shell([f"{place}/runner", f"{place}/job.json", place]).exit_code == 0, number
        result = (loopback.files / place[1:] / f"{Path(place).name}.result.json").read_text()
        assert '"error":"the job' in result, (text, result)
