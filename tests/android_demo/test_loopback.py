"""The whole way round: the real `bench`, the real adb and adbd, and the app's own Java core as the app."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.android.adb import AdbMissing, find_program
from bench.record import read_journal
from tests.loopback_phone.phone import AdbServer, LoopbackPhone, why_not

pytest.importorskip("onnxruntime")

from tests.android_demo.networks import artifact

PROGRAM = """#!/system/bin/sh
exec /opt/java/bin/java -Xmx256m -XX:-UsePerfData -cp /opt/core.jar org.pocketdistill.demo.jvm.InstrumentMain "$1" "$2"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AdbServer]:
    if reason := why_not():
        pytest.skip(reason)
    try:
        program = find_program()
    except AdbMissing as error:
        pytest.skip(str(error))
    server = AdbServer(program, tmp_path / "adb").start()
    yield server
    server.stop()


@pytest.fixture
def phone(server: AdbServer, core_jar: Path, tmp_path: Path) -> Iterator[LoopbackPhone]:
    # The Java core's engine is no archive of the app's list.
    runtimes = {"onnx": "org.pocketdistill:plain-java:1"}
    phone = LoopbackPhone(tmp_path / "phone", program=PROGRAM, runtimes=runtimes, mounts=java_mounts(core_jar))
    try:
        phone.start()
        server.attach(phone)
        yield phone
        server.detach(phone)
    finally:
        phone.stop()


def java_mounts(jar: Path) -> dict[str, Path]:
    """This machine's Java and the app's core, by where they are shown inside the phone."""
    home = Path(os.path.realpath(shutil.which("java") or "")).parent.parent
    # Debian keeps Java's settings in /etc and only links to them.
    settings = Path(os.path.realpath(home / "conf/security/java.security")).parent
    return {"/opt/java": home, str(settings): settings, "/opt/core.jar": jar}


@pytest.mark.slow
def test_rows_of_the_java_core_appear_in_benchs_table(server: AdbServer, phone: LoopbackPhone, tmp_path: Path) -> None:
    folder = artifact(tmp_path / "artifacts/tiny")
    journal = tmp_path / "measurements.jsonl"
    root = str(Path(__file__).resolve().parents[2])
    places = {"PYTHONPATH": root, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}
    keys = ("ANDROID_ADB_SERVER_PORT", "ADB")
    environment = {**os.environ, **places, **{key: server.environment[key] for key in keys}}
    command = [sys.executable, "-m", "bench", str(folder), "--device", "android", "--out", str(journal)]
    result = subprocess.run(
        [*command, "--serial", phone.serial],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    (row,) = read_journal(journal).measurements
    assert row.device.kind == "android"
    assert row.device.instrument == "app"
    assert row.runtime == "plain-java"
    assert row.input == "golden"
    assert row.validity != "failed", row.reason
    assert len(row.samples_ms) >= 100
    assert "tiny" in result.stdout + result.stderr
