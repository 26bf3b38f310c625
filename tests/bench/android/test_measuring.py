"""A session on a loopback phone: real adb, daemon and runtimes; only Android's services are stand-ins."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.android import phones
from bench.android.doctor import examine
from bench.android.fleet import Fleet
from bench.android.identity import identify
from bench.android.instruments import PythonAgent
from bench.android.quiet import QUIET, journal_path
from bench.android.state import snapshot
from bench.android.sustained import per_minute
from bench.cpu import device as cpu
from bench.record import read_journal
from bench.session.cells import plan
from bench.timing.judge import Trace
from bench.timing.statistics import summarize
from distill.errors import UsageError
from tests.bench.android.conftest import QUICK, measure


def bench(*words: object, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *map(str, words)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_a_phone_is_measured_like_the_desk_and_gives_rows_the_table_and_the_page(
    start_phone, make_artifact, cli_environment, tmp_path
):
    phone = start_phone()
    make_artifact("tiny")
    (tmp_path / "out").mkdir()
    (tmp_path / "artifacts").rename(tmp_path / "out" / "artifacts")
    done = bench("--device", "android", environment=cli_environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "out/measurements.jsonl"
    assert "Latency per call, batch 1, threads 1" in done.stderr
    (row,) = read_journal(tmp_path / "out/measurements.jsonl").measurements
    assert row.device.model_dump() == {
        "kind": "android",
        "name": "Loopback Phone 14 (Debian adbd)",
        "os": "Android 14 (API 34, patch 2024-05-05)",
        "cores": 4,
        "memory_bytes": row.device.memory_bytes,
        "instrument": "app",
        "serial": phone.serial,
        "emulated": True,
    }
    assert (row.runtime, row.input, row.threads_active) == ("onnxruntime", "golden", 1)
    assert len(row.launch_counts) == 3
    assert sum(row.launch_counts) == len(row.samples_ms) >= 300
    assert (row.conditions.battery_percent, row.conditions.battery_celsius, row.conditions.thermal_status) == (
        87,
        28.5,
        0,
    )
    page = bench("report", environment=cli_environment, folder=tmp_path)
    assert page.returncode == 0, page.stderr
    assert "Loopback Phone 14" in (tmp_path / "out/report.html").read_text()


def test_launches_are_interleaved_over_the_cells_and_each_is_a_fresh_process(start_phone, make_bench, make_artifact):
    phone = start_phone()
    told: list[str] = []
    rows = measure(
        make_bench(phone, launches=3), make_artifact("one"), make_artifact("two", precision="int8"), told=told
    )
    started = [text for text in told if text.endswith(("of 3", "of 3: starting"))]
    order = list(dict.fromkeys(text.removesuffix(": starting") for text in started))
    assert [text.split()[-3] for text in order] == ["1", "1", "2", "2", "3", "3"]
    assert [row.launch_counts for row in rows] == [(30, 30, 30)] * 2
    assert all(row.reason.startswith("3 of 3 launches; ") for row in rows)


def test_the_phone_is_quiet_while_it_is_measured(start_phone, make_bench, make_artifact):
    phone = start_phone()
    measure(make_bench(phone), make_artifact("one"))
    written = (phone.files / "data/system/settings_written").read_text().splitlines()
    assert written[:4] == [f"{namespace} {key} {value}" for namespace, key, value in QUIET]
    assert phone.files.joinpath("data/system/state/wakefulness").read_text().strip() == "Awake"


def test_clocks_are_held_only_if_asked_for_and_the_row_says_so(start_phone, make_bench, make_artifact):
    phone = start_phone()
    held_while_measuring = "cp /data/system/state/fixed_performance /data/local/tmp/seen; "
    phone.replace_program("sha256sum", f'{held_while_measuring} toybox sha256sum "$@"')
    bench = make_bench(phone, fixed_performance=True)
    (row,) = measure(bench, make_artifact("one"))
    assert row.conditions.fixed_performance
    assert (phone.tmp / "seen").read_text() == "true\n"
    assert (phone.files / "data/system/state/fixed_performance").read_text() == "false\n"
    (free,) = measure(make_bench(phone), make_artifact("two"))
    assert not free.conditions.fixed_performance
    assert (phone.tmp / "seen").read_text() == "false\n"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("shield_android11", "Failed to set FIXED_PERFORMANCE mode This is likely because Power HAL AIDL"),
        ("galaxy_android8", "Unknown command: set-fixed-performance-mode-enabled"),
    ],
)
def test_a_phone_that_cannot_hold_its_clocks_is_refused_with_its_own_words(
    kind, said, start_phone, make_bench, make_artifact
):
    phone = start_phone(kind)
    with pytest.raises(UsageError, match=f"has no fixed performance mode .* it said: {said}"):
        measure(make_bench(phone, fixed_performance=True), make_artifact("one"))
    assert {name: phone.setting(name) for name in phone.settings_at_first} == phone.settings_at_first
    assert not journal_path(phone.serial).exists()


def test_the_python_instrument_needs_no_app(start_phone, make_bench, make_artifact):
    phone = start_phone(has_app=False)
    (row,) = measure(make_bench(phone, instrument=PythonAgent()), make_artifact("one"))
    assert row.validity != "failed", row.reason
    assert row.device.instrument == "python"


def test_artifacts_without_golden_input_get_seeded_values_and_are_not_checked(start_phone, make_bench, make_artifact):
    (row,) = measure(make_bench(start_phone()), make_artifact("seeded", golden=False))
    assert (row.input, len(row.samples_ms)) == ("random", 30)


def test_more_threads_than_the_phone_has_cores_are_refused(start_phone, make_bench, make_artifact):
    bench = make_bench(start_phone())
    todo = plan([make_artifact("one")], batches=[1], threads=[8], refusal=bench.refusal)
    ((_, row),) = bench.measure_all(todo.cells, run_id="session", tell=str)
    assert "8 threads are more than the 4 cores of this phone" in row.reason


def test_formats_no_phone_runs_are_not_measured(make_bench, make_artifact, start_phone):
    bench = make_bench(start_phone())
    todo = plan([make_artifact("eager", format="eager")], batches=[1], threads=[1], refusal=bench.refusal)
    assert "the app instrument runs executorch, litert, onnx, torchscript on a phone" in todo.not_measured[0].reason


def test_two_phones_at_once_and_the_failure_of_one_costs_the_other_nothing(start_phone, make_bench, make_artifact):
    good, bad = start_phone(), start_phone("galaxy_android8", program="#!/system/bin/sh\nexit 1\n")
    absent = start_phone(has_app=False)
    fleet = Fleet(tuple(make_bench(phone, timeout_s=5.0) for phone in (good, bad, absent)))
    caution = fleet.caution() or ""
    assert f"{absent.serial}: the app org.pocketdistill.demo is not installed" in caution
    todo = plan([make_artifact("one"), make_artifact("two")], batches=[1], threads=[1], refusal=fleet.refusal)
    rows = [row for _, row in fleet.measure_all(todo.cells, run_id="session", tell=str)]
    by_phone = {
        phone.serial: [row for row in rows if row.device.serial == phone.serial] for phone in (good, bad, absent)
    }
    assert [row.validity != "failed" for row in by_phone[good.serial]] == [True, True]
    assert all("said nothing" in row.reason for row in by_phone[bad.serial])
    assert all("is not installed" in row.reason for row in by_phone[absent.serial])
    assert [len(found) for found in by_phone.values()] == [2, 2, 2]
    for phone in (good, bad):
        assert {name: phone.setting(name) for name in phone.settings_at_first} == phone.settings_at_first


def test_all_devices_on_the_command_line(start_phone, make_artifact, cli_environment, tmp_path):
    phones = [start_phone(), start_phone("galaxy_android8")]
    make_artifact("one")
    words = ("artifacts", "--device", "android", "--all-devices", "--launches", "1", "--json", "--out", "m.jsonl")
    done = bench(*words, environment=cli_environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["measurements"]
    assert {row["device"]["serial"] for row in rows} == {phone.serial for phone in phones}


def test_a_sustained_run_tells_every_minute(start_phone, make_artifact, cli_environment, tmp_path):
    start_phone()
    make_artifact("one")
    words = ("artifacts", "--device", "android", "--sustained", "2s", "--out", "m.jsonl")
    done = bench(*words, environment=cli_environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one onnx fp32, median ms by minute: 0." in flat(done.stderr)
    (row,) = read_journal(tmp_path / "m.jsonl").measurements
    assert 1_500 < sum(row.samples_ms) < 2_500
    assert len(row.launch_counts) == 1


def test_minutes_are_told_by_when_a_sample_ended():
    minutes = per_minute([10_000.0] * 6 + [20_000.0] * 6)
    assert [minute.count for minute in minutes] == [5, 3, 3, 1]
    assert [minute.median_ms for minute in minutes] == [10_000.0, 20_000.0, 20_000.0, 20_000.0]


# What phones of different makers and versions say


def test_a_phone_without_thermal_service_is_read_from_its_battery(start_phone, make_bench):
    bench = make_bench(start_phone("galaxy_android8"))
    identity, now = identify(bench.phone), snapshot(bench.phone)
    assert (identity.name, identity.soc, identity.android, identity.api_level) == (
        "Loopback Galaxy 8",
        "loopback",
        "8.0.0",
        26,
    )
    assert (now.thermal_status, now.hottest_celsius, now.battery_celsius, now.battery_percent) == (None, None, 28.5, 87)


def test_a_box_without_battery_is_read_from_its_sensors_as_they_are_now(start_phone, make_bench):
    bench = make_bench(start_phone("shield_android11"))
    now = snapshot(bench.phone)
    assert (now.thermal_status, now.hottest_celsius, now.battery_celsius, now.battery_percent) == (0, 41.5, None, None)
    assert now.powered


def test_identity_names_cores_pages_and_what_decides_whether_int8_can_win(start_phone, make_bench):
    identity = identify(make_bench(start_phone()).phone)
    assert identity.clusters == "2 × 1800 MHz + 2 × 2800 MHz"
    assert (identity.page_bytes, identity.abis) == (4096, ("x86_64",))
    assert identity.emulated


@pytest.mark.parametrize("kind", ["pixel_android14", "galaxy_android8", "shield_android11"])
def test_the_doctor_changes_nothing_and_says_what_the_numbers_are_worth(kind, start_phone, make_bench):
    phone = start_phone(kind)
    chosen = make_bench(phone).phone
    findings = {one.topic: one for one in examine(chosen.adb, chosen)}
    assert findings["phone"].grade == "bad"
    assert "its times mean nothing" in findings["phone"].advice
    assert findings["instrument app"].found.startswith("ready; runtimes: ")
    assert ("no thermal status" in findings["temperature"].found) is (kind == "galaxy_android8")
    assert (findings["battery"].found == "none") is (kind == "shield_android11")
    assert not (phone.files / "data/system/settings_written").exists()


def test_the_doctor_on_the_command_line_names_what_is_missing(start_phone, cli_environment, tmp_path):
    start_phone(has_app=False)
    done = bench("doctor", environment=cli_environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    told = flat(done.stderr)
    assert "instrument app: the app org.pocketdistill.demo is not installed" in told
    assert "instrument python" in told
    document = json.loads(bench("doctor", "--json", environment=cli_environment, folder=tmp_path).stdout)
    assert {"topic", "found", "grade", "advice"} == set(document["findings"][0])


def test_restore_without_a_journal_has_nothing_to_do(start_phone, cli_environment, tmp_path):
    phone = start_phone()
    done = bench("restore", environment=cli_environment, folder=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (0, "no phone is waiting to be restored")
    told = bench("restore", "--json", environment=cli_environment, folder=tmp_path)
    assert json.loads(told.stdout) == {"restored": []}
    named = bench("restore", "--serial", phone.serial, environment=cli_environment, folder=tmp_path)
    assert named.returncode == 2
    assert "nothing is to be restored" in flat(named.stderr)


def test_figures_and_labels_are_made_on_the_host_by_the_code_of_every_other_device(
    start_phone, make_bench, make_artifact
):
    (row,) = measure(make_bench(start_phone(), limits=QUICK), make_artifact("one"))
    assert summarize(row.samples_ms).median_ms == pytest.approx(float(np.median(row.samples_ms)))
    assert phones.judge is cpu.judge
    trace = Trace(row.launches[0], row.samples_ms, mhz_before=None, mhz_after=None, throttled=None)
    assert row.validity == cpu.judge([trace]).validity
    assert row.reason == f"1 of 1 launches; {cpu.judge([trace]).reason}"
