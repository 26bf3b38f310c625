"""What the app, the board or the runner has is held against the manifest before anything is pushed."""

import zipfile

import pytest

from bench.android.doctor import examine
from bench.android.fleet import Fleet
from bench.android.instruments import PythonAgent
from bench.android.runtimes import LIST_IN_APK, Runtime, Runtimes, fit, of_native
from bench.session.cells import plan
from export.artifact.manifest import Manifest, read_artifact
from tests.bench.android.conftest import measure

ONNX = "com.microsoft.onnxruntime:onnxruntime-android"


@pytest.fixture
def manifest(make_artifact) -> Manifest:
    return read_artifact(make_artifact("one"))


def on_device(**by_format: Runtime) -> Runtimes:
    return Runtimes("the app on SERIAL", by_format, remedy="Install a newer app.")


@pytest.mark.parametrize(
    ("has", "needs", "fits"),
    [
        ("1.14", "onnxruntime 1.14.0", True),
        ("1.14.0", "onnxruntime 1.14", True),
        ("1.9.9", "onnxruntime 1.14", False),
        ("1.27.0", "onnxruntime 1.14", True),
        ("2.0", "onnxruntime 1.14", True),
        ("1.14.0a0+cpu", "onnxruntime 1.14", True),
        ("1.14", None, True),
        ("1.14", "onnxruntime some day", None),
        ("newest", "onnxruntime 1.14", None),
        (None, "onnxruntime 1.14", None),
        ("1.14", "tensorflow-lite 2.4.0", None),
    ],
)
def test_versions_are_compared_as_numbers_and_what_cannot_be_compared_is_a_doubt(has, needs, fits, manifest):
    found = fit(manifest.model_copy(update={"minimum_runtime": needs}), on_device(onnx=Runtime("onnxruntime", has)))
    assert (found.refusal is None) is (fits is not False), found
    assert (found.doubt is not None) is (fits is None), found


@pytest.mark.parametrize(
    ("name", "has", "needs", "fits"),
    [
        ("litert", "1.0.1", "2.17.0", True),
        ("litert", "2.3.0", "2.0.0", True),
        # Compared as plain numbers both would be wrong.
        ("litert", "1.4.2", "2.16.1", True),
        ("litert", "2.20.0", "2.18.0", None),
        ("litert", "1.0.0", "2.4.0", None),
        ("tensorflow-lite", "2.16.1", "2.17.0", False),
        ("tensorflow-lite", "2.17.0", "2.17.0", True),
    ],
)
def test_litert_is_taken_for_the_tensorflow_lite_it_is_known_to_succeed_and_no_other(name, has, needs, fits, manifest):
    wanted = manifest.model_copy(update={"format": "litert", "minimum_runtime": f"tensorflow-lite {needs}"})
    found = fit(wanted, on_device(litert=Runtime(name, has)))
    assert (found.refusal is None, found.doubt is None) == (fits is not False, fits is not None), found


def test_a_refusal_says_what_was_found_what_is_needed_and_what_to_do(manifest):
    needy = manifest.model_copy(update={"minimum_runtime": "onnxruntime 1.20"})
    found = fit(needy, on_device(onnx=Runtime("onnxruntime", "1.14.1")))
    assert found.refusal == (
        "this artifact needs onnxruntime 1.20 or newer, the app on SERIAL has onnxruntime 1.14.1. Install a newer app. "
        "Or export it again for that runtime."
    )


def test_a_native_runner_says_its_version_and_an_old_one_without_is_a_doubt(tmp_path, manifest):
    runner = tmp_path / "runner"
    runner.write_bytes(b"\x7fELF\0pocket-distill runner for executorch 1.5.1\0more")
    needy = manifest.model_copy(update={"format": "executorch", "minimum_runtime": "executorch 1.5.2"})
    refusal = fit(needy, of_native(runner)).refusal
    assert refusal
    assert "needs executorch 1.5.2 or newer, the native instrument has executorch 1.5.1. Build it with" in refusal
    runner.write_bytes(b"\x7fELF\0")
    assert "executorch of unknown version" in (fit(needy, of_native(runner)).doubt or "")


# On phones


@pytest.mark.parametrize("kind", ["pixel_android14", "galaxy_android8"])
def test_an_app_that_is_too_old_for_one_artifact_is_refused_before_the_push_and_the_others_go_on(
    kind, start_phone, make_bench, make_artifact
):
    phone = start_phone(kind, runtimes={"onnx": f"{ONNX}:1.27.0"})
    old = make_artifact("needy", minimum_runtime="onnxruntime 1.40")
    other = make_artifact("unpacked", format="executorch", minimum_runtime="executorch 1.4.1")
    rows = {row.subject.name: row for row in measure(make_bench(phone), old, make_artifact("good"), other)}
    assert (rows["needy"].validity, rows["unpacked"].validity) == ("failed", "failed")
    assert f"needs onnxruntime 1.40 or newer, the app on {phone.serial} has onnxruntime 1.27.0" in rows["needy"].reason
    assert "has no runtime for executorch, it has: onnxruntime 1.27.0. Build the app" in rows["unpacked"].reason
    assert rows["good"].validity != "failed", rows["good"].reason


def test_nothing_is_changed_on_a_phone_that_can_run_none_of_them(start_phone, make_bench, make_artifact):
    phone = start_phone(runtimes={})
    (row,) = measure(make_bench(phone), make_artifact("one"))
    assert "has no runtime for onnx, it has: none. Build the app" in row.reason
    assert not (phone.files / "data/system/settings_written").exists()
    assert not (phone.tmp / "pocket-distill").exists()


@pytest.mark.parametrize("with_unzip", [True, False])
def test_a_package_without_the_list_is_measured_with_a_word_about_it(
    with_unzip, start_phone, make_bench, make_artifact, capfd
):
    phone = start_phone("pixel_android14" if with_unzip else "galaxy_android8", runtimes=None)
    needy = make_artifact("needy", minimum_runtime="onnxruntime 1.40")
    (row,) = measure(make_bench(phone), needy)
    assert row.validity != "failed", row.reason
    told = " ".join(capfd.readouterr().err.split())
    assert f"has is not known: its package holds no {LIST_IN_APK}; measuring anyway" in told


def test_a_package_that_is_no_package_is_a_doubt_that_a_failing_row_repeats(start_phone, make_bench, make_artifact):
    phone = start_phone()
    phone.apk.write_bytes(b"cut off")
    bad = make_artifact("bad", model_bytes=b"no model", minimum_runtime="onnxruntime 1.20")
    (row,) = measure(make_bench(phone), bad)
    assert "the instrument says: " in row.reason
    assert "has is not known: its package cannot be read: File is not a zip file" in row.reason


def test_a_package_nobody_may_read_is_a_doubt(start_phone, make_bench, make_artifact, capfd):
    phone = start_phone()
    phone.apk.chmod(0)
    (row,) = measure(make_bench(phone), make_artifact("one"))
    assert row.validity != "failed", row.reason
    assert "its package cannot be read" in " ".join(capfd.readouterr().err.split())


def test_of_a_split_package_the_base_is_read(start_phone, make_bench, make_artifact):
    phone = start_phone(runtimes={"onnx": f"{ONNX}:1.27.0"})
    with zipfile.ZipFile(phone.apk.with_name("split_config.arm64_v8a.apk"), "w") as split:
        split.writestr("lib/arm64-v8a/libonnxruntime.so", b"")
    phone.replace_program(
        "pm", f"for f in base split_config.arm64_v8a; do echo package:{phone_path(phone)}/$f.apk; done"
    )
    (row,) = measure(make_bench(phone), make_artifact("needy", minimum_runtime="onnxruntime 1.40"))
    assert "has onnxruntime 1.27.0" in row.reason


def phone_path(phone) -> str:
    return f"/{phone.apk.parent.relative_to(phone.files)}"


def test_a_board_is_asked_for_its_python_packages(start_phone, make_bench, make_artifact):
    phone = start_phone(has_app=False)
    bench = make_bench(phone, instrument=PythonAgent())
    needy = make_artifact("needy", minimum_runtime="onnxruntime 99.0")
    rows = {row.subject.name: row for row in measure(bench, needy, make_artifact("good"))}
    assert f"needs onnxruntime 99.0 or newer, Python on {phone.serial} has onnxruntime 1." in rows["needy"].reason
    assert "Install a newer one there (python3 -m pip install)" in rows["needy"].reason
    assert rows["good"].validity != "failed", rows["good"].reason


def test_several_phones_each_answer_for_themselves(start_phone, make_bench, make_artifact):
    new, old = start_phone(), start_phone(runtimes={"onnx": f"{ONNX}:1.2.0"})
    fleet = Fleet((make_bench(new), make_bench(old)))
    needy = make_artifact("needy", minimum_runtime="onnxruntime 1.14")
    todo = plan([needy], batches=[1], threads=[1], refusal=fleet.refusal)
    rows = {row.device.serial: row for _, row in fleet.measure_all(todo.cells, run_id="session", tell=str)}
    assert rows[new.serial].validity != "failed", rows[new.serial].reason
    assert "has onnxruntime 1.2.0" in rows[old.serial].reason


def test_the_doctor_tells_the_runtimes(start_phone, make_bench):
    chosen = make_bench(start_phone(runtimes={"onnx": f"{ONNX}:1.27.0"})).phone
    findings = {one.topic: one for one in examine(chosen.adb, chosen)}
    assert findings["instrument app"].found == "ready; runtimes: onnxruntime 1.27.0"
    assert "onnxruntime 1." in findings["instrument python"].found
