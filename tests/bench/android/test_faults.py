"""The fault table: each against the real daemon. The right words, no wrong number, settings restored, others unharmed.

Every session here has a good artifact beside the one that meets the fault, and leaves the phone as it was.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.android import PhoneBench
from bench.android.adb import Adb, Phone
from bench.android.quiet import QUIET, PhoneJournal, Setting, journal_path, quieted, restore
from bench.android.state import Gate
from bench.protocol import PROTOCOL_VERSION
from bench.record import Measurement, read_journal
from distill.errors import UsageError
from tests.bench.android.conftest import NO_WAITING, QUICK, measure
from tests.loopback_phone.phone import AGENT, APP, LoopbackPhone, wait_for

AGENT_RUN = f'python3 {AGENT} --instrument app "$1" "$2"'
LINE = """line='{"schema_version":1,"run_id":"'$RUN_ID'","stage":"measuring","model_id":null,"pid":'$$',"at_ns":1}'"""
AGENT_ASIDE = f'mkdir -p /data/local/tmp/aside; python3 {AGENT} --instrument app "$1" /data/local/tmp/aside'
"""Writes its result where the host does not look, to be changed before it appears whole in its place."""

FIRST_ONLY = "[ -e /data/local/tmp/second ] || fault=yes; touch /data/local/tmp/second"
"""Lets a program misbehave in its first launch only, whichever model that is."""


def program(faulty: str) -> str:
    """An app whose first launch does `faulty` and whose others work; $1 is the job, $2 the folder."""
    return f"""#!/system/bin/sh
aside=/data/local/tmp/aside/$RUN_ID.result.json
progress=$2/$RUN_ID.progress.jsonl
{LINE}
fault=
{FIRST_ONLY}
if [ -n "$fault" ]; then
{faulty}
else
{AGENT_RUN}
fi
"""


def assert_as_before(phone: LoopbackPhone) -> None:
    """The phone has its own settings, no files of ours, nothing running, and no journal waits for it."""
    assert {name: phone.setting(name) for name in phone.settings_at_first} == phone.settings_at_first
    assert not (phone.tmp / "pocket-distill").exists()
    assert not list((phone.files / "storage/emulated/0/Android/data" / APP / "files").glob("*"))
    assert not phone.processes()
    assert not journal_path(phone.serial).exists()


FAULTS = {
    "crash": (
        "print -r -- \"$line\" > $progress; echo 'F libc: Fatal signal 11 (SIGSEGV)'; kill -11 $$",
        r"ended without a result while measuring; Android says: APP CRASH\(NATIVE\): a crash in native code, signal 11 "
        r"\(SIGSEGV\); last lines of its log: .*Fatal signal 11",
    ),
    "killed-for-memory": (
        "print -r -- \"$line\" > $progress; echo '3 (LOW_MEMORY)' > ${0%/*}/cause; kill -9 $$",
        "while measuring; Android says: LOW_MEMORY: it was killed because memory was short; close other apps",
    ),
    "does-not-respond": (
        "print -r -- \"$line\" > $progress; echo '6 (ANR)' > ${0%/*}/cause; kill -9 $$",
        "while measuring; Android says: ANR: it did not respond",
    ),
    "ends-at-once": (
        "exit 3",
        r"was started and said nothing; Android says: EXIT_SELF: it ended itself with exit code 3; its log is empty",
    ),
    "hang": ('print -r -- "$line" > $progress; sleep 60', r"no result within 6 s, last seen measuring; it was stopped"),
    "old-result": (
        f'{AGENT_ASIDE}; sed -i \'s/"began_ns": [0-9]*/"began_ns": 1000/\' $aside; mv $aside $2',
        "begun before this launch; it is an old one",
    ),
    "another-runs-result": (
        f'{AGENT_ASIDE}; sed -i "s/$RUN_ID/0123456789abcdef0123456789abcdef/" $aside; mv $aside $2',
        "this is the result of something else: run id is '0123456789abcdef0123456789abcdef'",
    ),
    "another-jobs-result": (
        f'{AGENT_ASIDE}; sed -i \'s/"job_sha256": "./"job_sha256": "x/\' $aside; mv $aside $2',
        "is not a valid Result: job_sha256",
    ),
    "truncated": (
        f"{AGENT_ASIDE}; head -c 900 $aside > $aside.cut; mv $aside.cut $2/$RUN_ID.result.json",
        "is not valid JSON",
    ),
    "corrupted": (
        f"{AGENT_ASIDE}; printf '\\377\\376\\0' | dd of=$aside bs=1 seek=200 conv=notrunc; mv $aside $2",
        "is not valid JSON",
    ),
    "empty": (f"{AGENT_ASIDE}; : > $aside; mv $aside $2", "is not valid JSON"),
    "samples-lost": (
        f'{AGENT_ASIDE}; sed -i \'s/"samples_ns": \\[[0-9]*, /"samples_ns": [/\' $aside; mv $aside $2',
        "the samples are not whole: 29 of 30 are there",
    ),
    "other-schema": (
        f'{AGENT_ASIDE}; sed -i \'s/"schema_version": {PROTOCOL_VERSION}/"schema_version": 1/\' $aside; mv $aside $2',
        f"has schema version 1, but this version of the toolkit reads {PROTOCOL_VERSION}",
    ),
    "wrong-output": (
        f'{AGENT_ASIDE}; sed -i \'s/"golden_output": \\[[^,]*,/"golden_output": [99.5,/\' $aside; mv $aside $2',
        "logits differ from the golden ones by up to",
    ),
    "no-number": (
        f'{AGENT_ASIDE}; sed -i \'s/"golden_output": \\[[^,]*,/"golden_output": [null,/\' $aside; mv $aside $2',
        "with 1 that are not finite",
    ),
    "another-instrument": (f'python3 {AGENT} "$1" "$2"', "instrument is 'python', expected 'app'"),
    "wrong-abi": (
        f'{AGENT_ASIDE}; sed -i \'s/"abi": "x86_64"/"abi": "armeabi-v7a"/\' $aside; mv $aside $2',
        "by a process of ABI armeabi-v7a, this phone's own is x86_64",
    ),
    "model-changed-on-the-phone": (
        "chmod 666 ${1%/*}/model_0.bin; echo x >> ${1%/*}/model_0.bin; " + AGENT_RUN,
        "the instrument says: ValueError: .*model_0.bin has SHA-256",
    ),
    "broken-job": (f'chmod 666 $1; echo "{{" > $1; {AGENT_RUN}', "job is '|the instrument says: "),
    "daemon-dies-at-start": (f"kill -9 $(pidof adbd); {AGENT_RUN}", None),
    "daemon-dies-while-measuring": (f"(sleep 0.5; kill -9 $(pidof adbd)) & {AGENT_RUN}", None),
}


def program_with_every_fault() -> str:
    """An app whose launch number n does fault number n, and which works when it has done them all."""
    cases = "\n".join(f"{number}) {faulty};;" for number, (faulty, _) in enumerate(FAULTS.values()))
    return f"""#!/system/bin/sh
aside=/data/local/tmp/aside/$RUN_ID.result.json
progress=$2/$RUN_ID.progress.jsonl
{LINE}
number=$(ls /data/local/tmp/launch.* 2>/dev/null | wc -l)
touch /data/local/tmp/launch.$number
case $number in
{cases}
*) {AGENT_RUN};;
esac
"""


@pytest.fixture(scope="module")
def session(adb_server, tmp_path_factory, make_artifact_in) -> Iterator[tuple[LoopbackPhone, dict[str, Measurement]]]:
    """One session that meets every fault of the table, one cell for each, and ends with a good cell."""
    folder = tmp_path_factory.mktemp("session")
    phone = LoopbackPhone(folder / "phone", program=program_with_every_fault()).start()
    adb_server.attach(phone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        chosen = Phone(Adb.find(environment=adb_server.environment), phone.serial, patience_s=5.0)
        bench = PhoneBench(chosen, limits=QUICK, launches=1, poll_s=0.05, timeout_s=6.0, gate=NO_WAITING)
        names = (*FAULTS, "good")
        rows = measure(bench, *(make_artifact_in(folder, f"cell {number}") for number in range(len(names))))
        assert_as_before(phone)
    adb_server.detach(phone)
    phone.stop()
    # With one launch per cell, rows come in the order of the launches.
    return dict(zip(names, rows, strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_launch_costs_its_own_row_and_is_explained(name: str, session):
    row, expected = session[name], FAULTS[name][1]
    if expected is None:
        assert row.validity != "failed", row.reason
        assert len(row.samples_ms) == 30
    else:
        assert (row.validity, row.samples_ms) == ("failed", ())
        assert re.search(expected, row.reason), row.reason


def test_a_good_launch_after_all_faults_is_as_good_as_ever(session):
    row = session["good"]
    assert row.validity != "failed", row.reason
    assert len(row.samples_ms) == 30


def test_a_daemon_that_dies_in_the_middle_of_a_push_costs_that_row(start_phone, make_bench, make_artifact):
    phone = start_phone()
    large = make_artifact("large", model_bytes=os.urandom(1 << 20) * 100)

    def is_arriving() -> bool:
        return any(1_000_000 < path.stat().st_size for path in phone.tmp.glob("pocket-distill/*/model_0.bin"))

    with in_the_middle(phone, phone.kill_adbd, when=is_arriving):
        rows = {row.subject.name: row for row in measure(make_bench(phone), make_artifact("small"), large)}
    assert rows["large"].validity == "failed"
    assert re.search(r"model.bin could not be pushed to .*adb said: ", rows["large"].reason), rows["large"].reason
    assert rows["small"].validity != "failed", rows["small"].reason
    assert_as_before(phone)


def test_a_daemon_that_dies_between_two_launches_costs_nothing(start_phone, make_bench, make_artifact, monkeypatch):
    phone = start_phone()
    wait, asked = Gate.wait, []

    def lose_then_wait(gate: Gate, *args: object, **options: object) -> object:
        asked.append(gate)
        if len(asked) == 1:
            phone.kill_adbd()
        return wait(gate, *args, **options)

    monkeypatch.setattr(Gate, "wait", lose_then_wait)
    (row,) = measure(make_bench(phone), make_artifact("good"))
    assert row.validity != "failed", row.reason
    assert len(asked) == 2
    assert_as_before(phone)


def test_a_daemon_that_dies_while_the_result_is_collected_costs_nothing(start_phone, make_bench, make_artifact):
    phone = start_phone()
    phone.replace_program(
        "sha256sum",
        "case $1 in *.result.json) [ -e /data/local/tmp/once ] || "
        '{ touch /data/local/tmp/once; kill -9 $(pidof adbd); sleep 1; };; esac; toybox sha256sum "$@"',
    )
    first, second = measure(make_bench(phone), make_artifact("one"), make_artifact("two"))
    assert (phone.tmp / "once").exists()
    assert "failed" not in (first.validity, second.validity), (first.reason, second.reason)
    assert_as_before(phone)


def test_a_result_that_changes_on_its_way_is_no_result(start_phone, make_bench, make_artifact):
    phone = start_phone()
    phone.replace_program(
        "sha256sum",
        "case $1 in *.result.json) [ -e /data/local/tmp/once ] || "
        '{ touch /data/local/tmp/once; echo "$(echo other | toybox sha256sum | cut -c 1-64)  $1"; exit; };; esac; '
        'toybox sha256sum "$@"',
    )
    rows = measure(make_bench(phone), make_artifact("one"), make_artifact("two"))
    assert [row.validity == "failed" for row in rows] == [True, False]
    assert "did not arrive whole from" in rows[0].reason
    assert "with another SHA-256 than on the device" in rows[0].reason
    assert_as_before(phone)


@contextmanager
def in_the_middle(
    phone: LoopbackPhone, act: Callable[[], object], when: Callable[[], bool] | None = None
) -> Iterator[None]:
    """Do something to the phone once its app is measuring, or `when` holds."""
    over = threading.Event()

    def wait_and_act() -> None:
        wait_for("the moment", when or (lambda: (phone.tmp / "measuring").exists()), timeout_s=30, poll_s=0.001)
        act()
        # What a thread has started dies with it.
        over.wait(60)

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    over.set()
    thread.join()


WAITS = 'print -r -- "$line" > $progress; touch /data/local/tmp/measuring; sleep 30'


def test_a_restart_is_seen_by_the_boot_id_and_other_cells_go_on(start_phone, make_bench, make_artifact, adb_server):
    phone = start_phone(program=program(WAITS))
    with in_the_middle(phone, phone.reboot):
        first, second = measure(make_bench(phone), make_artifact("one"), make_artifact("two"))
        assert_as_before(phone)
    assert first.validity == "failed"
    assert "restarted while it was measuring" in first.reason
    assert second.validity != "failed", second.reason


def test_a_phone_that_goes_away_fails_what_is_left_and_is_restored_when_it_is_back(
    start_phone, make_bench, make_artifact, cli_environment, adb_server, capfd
):
    phone = start_phone(program=program(WAITS))
    with in_the_middle(phone, phone.power_off):
        rows = measure(make_bench(phone, back_limit_s=1.0), make_artifact("one"), make_artifact("two"))
    assert [row.validity for row in rows] == ["failed", "failed"]
    assert all("went away" in row.reason for row in rows)
    told = " ".join(capfd.readouterr().err.split())
    assert f"When it is back, run: python -m bench restore --serial {phone.serial}" in told
    assert journal_path(phone.serial).is_file()

    phone.start()
    adb_server.attach(phone)
    assert phone.setting("global.low_power") == "0"
    done = command("restore", environment=cli_environment)
    assert done.returncode == 0, done.stderr
    assert f"restored {phone.serial}: 4 settings, 1 launches removed" in done.stderr
    assert_as_before(phone)


def command(*words: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_host_that_is_killed_is_mended_by_restore_and_goes_on_with_resume(
    start_phone, make_artifact, cli_environment, tmp_path
):
    phone = start_phone(
        program=f"""#!/system/bin/sh
n=$(ls /data/local/tmp/launch.* 2>/dev/null | wc -l); touch /data/local/tmp/launch.$n
progress=$2/$RUN_ID.progress.jsonl
[ $n = 1 ] && {{ touch /data/local/tmp/measuring
 print -r -- '{{"stage":"measuring","pid":'$$'}}' > $progress; sleep 30; }}
{AGENT_RUN}
"""
    )
    journal = tmp_path / "m.jsonl"
    make_artifact("one")
    folder = make_artifact("two").parent
    words = [folder, "--device", "android", "--launches", "1", "--out", journal]
    host = subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, words)], env=cli_environment, stderr=subprocess.DEVNULL
    )
    wait_for("the second launch", lambda: (phone.tmp / "measuring").exists(), timeout_s=60)
    host.send_signal(signal.SIGKILL)
    host.wait(10)
    (done,) = read_journal(journal).measurements
    assert phone.setting("global.stay_on_while_plugged_in") == "7"

    mended = command("restore", environment=cli_environment)
    assert mended.returncode == 0, mended.stderr
    assert_as_before(phone)
    resumed = command(*words, "--resume", environment=cli_environment)
    assert resumed.returncode == 0, resumed.stderr
    rows = read_journal(journal).measurements
    assert [row.run_id for row in rows] == [done.run_id] * 2
    assert {row.subject.name for row in rows} == {"one", "two"}
    assert all(row.validity != "failed" for row in rows)
    assert_as_before(phone)

    again = command(*words, "--resume", environment=cli_environment)
    assert again.returncode == 2
    assert "nothing is left to measure" in " ".join(again.stderr.split())


@pytest.mark.parametrize("kinds", [("pixel_android14",), ("pixel_android14", "galaxy_android8")])
def test_ctrl_c_restores_every_phone(kinds, start_phone, make_artifact, cli_environment, tmp_path):
    phones = [start_phone(kind, program=program(WAITS)) for kind in kinds]
    folder = make_artifact("one").parent
    words = [folder, "--device", "android", "--out", tmp_path / "m.jsonl", *(["--all-devices"] if phones[1:] else [])]
    host = subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, words)], env=cli_environment, stderr=subprocess.PIPE, text=True
    )
    for phone in phones:
        wait_for("the app measuring", lambda phone=phone: (phone.tmp / "measuring").exists(), timeout_s=60)
    host.send_signal(signal.SIGINT)
    _, told = host.communicate(timeout=30)
    assert host.returncode == 130, told
    for phone in phones:
        assert_as_before(phone)


def test_a_session_after_one_that_was_cut_off_restores_the_phones_own_settings(start_phone, make_bench, make_artifact):
    phone = start_phone()
    bench = make_bench(phone)
    own = tuple(
        Setting(namespace=namespace, key=key, value=phone.setting(f"{namespace}.{key}")) for namespace, key, _ in QUIET
    )
    PhoneJournal(serial=phone.serial, settings=own, fixed_performance=False, run_ids=(), instrument="app").write(
        journal_path(phone.serial)
    )
    for namespace, key, value in QUIET:
        (phone.files / f"data/system/settings/{namespace}.{key}").write_text(value)
    (row,) = measure(bench, make_artifact("one"))
    assert row.validity != "failed"
    assert_as_before(phone)


def test_one_phone_by_cable_and_by_network_is_one_phone(start_phone, make_bench, make_artifact, adb, adb_server):
    phone = start_phone()
    other = f"localhost:{phone.port}"
    adb_server.run("connect", other)
    try:
        wait_for("the second name", lambda: any(row.serial == other and row.state == "device" for row in adb.devices()))
        assert [found.serial for found in adb.usable()] == [adb.choose().serial]
        own = tuple(
            Setting(namespace=namespace, key=key, value=phone.setting(f"{namespace}.{key}"))
            for namespace, key, _ in QUIET
        )
        left = PhoneJournal(
            serial=other,
            settings=own,
            fixed_performance=False,
            run_ids=(),
            instrument="app",
            phone=f"LOOPBACK{phone.port}",
        )
        left.write(journal_path(other))
        for namespace, key, value in QUIET:
            (phone.files / f"data/system/settings/{namespace}.{key}").write_text(value)
        with quieted(Phone(adb, phone.serial), instrument="app"):
            assert not journal_path(other).exists(), "what was cut off under the other name is put back"
            with (
                pytest.raises(UsageError, match="another session on this machine is measuring"),
                quieted(Phone(adb, other), instrument="app"),
            ):
                pass
        assert_as_before(phone)
    finally:
        adb_server.run("disconnect", other)


def test_clocks_that_a_session_left_held_are_let_go_by_restore(start_phone, make_bench):
    phone = start_phone()
    bench = make_bench(phone)
    PhoneJournal(serial=phone.serial, settings=(), fixed_performance=True, run_ids=(), instrument="app").write(
        journal_path(phone.serial)
    )
    phone.set_state(fixed_performance="true")
    restore(bench.phone)
    assert (phone.files / "data/system/state/fixed_performance").read_text() == "false\n"
    assert not journal_path(phone.serial).exists()


def test_two_sessions_on_one_phone_are_refused(start_phone, make_bench, make_artifact):
    phone = start_phone()
    bench = make_bench(phone)
    with (
        quieted(bench.phone, instrument="app"),
        pytest.raises(UsageError, match="another session on this machine is measuring"),
    ):
        measure(bench, make_artifact("one"))
    assert_as_before(phone)


def test_settings_the_phone_does_not_let_us_change_are_named_and_it_is_measured_anyway(
    start_phone, make_bench, make_artifact, capfd
):
    phone = start_phone()
    (phone.files / "data/system/settings_are_locked").touch()
    (row,) = measure(make_bench(phone), make_artifact("one"))
    assert row.validity != "failed"
    assert "does not let us set global low_power to 0" in capfd.readouterr().err
    assert_as_before(phone)


def test_a_full_phone_is_seen_before_the_push(start_phone, make_bench, make_artifact):
    phone = start_phone(storage_bytes=2_000_000)
    large = make_artifact("large", model_bytes=bytes(1_500_000))
    rows = {row.subject.name: row for row in measure(make_bench(phone), large, make_artifact("small"))}
    assert "MB free, this model needs 4.3 MB. Free some storage" in rows["large"].reason
    assert rows["small"].validity != "failed", rows["small"].reason
    assert_as_before(phone)


def test_a_read_only_target_is_named(start_phone, make_bench, make_artifact):
    phone = start_phone(storage_bytes=2_000_000)
    phone.make_storage_read_only()
    (row,) = measure(make_bench(phone), make_artifact("one"))
    assert row.validity == "failed"
    assert "Read-only file system" in row.reason
    assert_as_before(phone)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"has_app": False}, "the app org.pocketdistill.demo is not installed on .* make app, then adb -s"),
        ({"properties": {"ro.build.version.sdk": "23"}}, "has API level 23, the app needs 24"),
        ({"properties": {"ro.product.cpu.abilist": "armeabi-v7a,armeabi"}}, "runs armeabi-v7a, armeabi, the app's"),
        ({"properties": {"sys.boot_completed": "0"}}, "is still starting"),
    ],
)
def test_a_phone_that_cannot_be_measured_is_refused_untouched(fields, expected, start_phone, make_bench, make_artifact):
    phone = start_phone(**fields)
    with pytest.raises(UsageError, match=expected):
        measure(make_bench(phone), make_artifact("one"))
    assert not (phone.files / "data/system/settings_written").exists()
    assert_as_before(phone)


def test_a_screen_that_asks_for_a_pin_is_said_and_settings_go_back(start_phone, make_bench, make_artifact):
    phone = start_phone()
    (phone.files / "data/system/pin").touch()
    with pytest.raises(UsageError, match="its screen is locked and asks for a PIN"):
        measure(make_bench(phone), make_artifact("one"))
    assert_as_before(phone)


def test_results_the_shell_cannot_read_come_through_run_as(start_phone, make_bench, make_artifact):
    private = f"/data/data/{APP}/files"
    phone = start_phone(program=f'#!/system/bin/sh\npython3 {AGENT} --instrument app "$1" {private}\n', debuggable=True)
    (row,) = measure(make_bench(phone), make_artifact("one"))
    assert row.validity != "failed", row.reason
    assert not list((phone.files / private[1:]).iterdir())
    assert_as_before(phone)


def test_results_nobody_can_read_are_explained(start_phone, make_bench, make_artifact):
    elsewhere = AGENT_RUN.replace("$2", "/data/local/tmp")
    unreadable = f"{elsewhere}; cd /data/local/tmp; chmod 000 $RUN_ID.result.json; mv $RUN_ID.* $2"
    phone = start_phone(program=program(unreadable), debuggable=False)
    first, second = measure(make_bench(phone), make_artifact("one"), make_artifact("two"))
    assert "cannot be read by the shell, and the app was not built as debuggable" in first.reason
    assert second.validity != "failed"
    assert_as_before(phone)


def test_a_throttled_cell_says_so_with_its_samples_and_is_measured_once_more(start_phone, make_bench, make_artifact):
    hot = "echo 2 > /data/system/state/thermal_status"
    phone = start_phone(program=program(f"{AGENT_RUN}\n{hot}\n"))
    gate = Gate(patience_s=20.0, poll_s=0.05)
    told: list[str] = []
    bench = make_bench(phone, gate=gate)

    cooled = threading.Event()

    def cool_down() -> None:
        wait_for("the gate waiting", lambda: any("cooling down" in text for text in told), timeout_s=30)
        phone.set_state(thermal_status=0)
        cooled.set()

    thread = threading.Thread(target=cool_down)
    thread.start()
    rows = measure(bench, make_artifact("one"), told=told)
    thread.join()
    assert cooled.is_set()
    assert [row.validity == "throttled" for row in rows] == [True, False]
    assert "thermal status moderate at the end" in rows[0].reason
    assert len(rows[0].samples_ms) == len(rows[1].samples_ms) == 30
    assert rows[0].conditions.thermal_status == 2
    assert any("cooling down: thermal status is moderate; waiting at most" in text for text in told)
    assert_as_before(phone)


def test_limited_clocks_are_throttling_too(start_phone, make_bench, make_artifact):
    limit = "/sys/devices/system/cpu/cpufreq/policy2/scaling_max_freq"
    phone = start_phone(program=program(f"{AGENT_RUN}\necho 1200000 > {limit}\n"))
    os.chmod(phone.files / limit[1:], 0o666)
    throttled, _again = measure(make_bench(phone), make_artifact("one"))
    assert throttled.validity == "throttled"
    assert "clocks of cpu2 were limited from 2800 to 1200 MHz" in throttled.reason


@pytest.mark.parametrize("allow_hot", [False, True])
def test_a_phone_that_stays_hot_is_measured_only_if_asked_for(allow_hot, start_phone, make_bench, make_artifact):
    phone = start_phone(state={"battery_decicelsius": "412"})
    (row,) = measure(make_bench(phone, gate=Gate(patience_s=0.0, allow_hot=allow_hot)), make_artifact("one"))
    assert (row.validity == "failed") is not allow_hot
    if allow_hot:
        assert row.conditions.hot_start
        assert row.conditions.battery_celsius == 41.2
    else:
        assert "the battery has 41.2 °C, at most 37 °C are allowed. Let it rest" in row.reason
    assert_as_before(phone)


def test_the_command_says_which_device_it_misses_before_any_work(
    start_phone, make_artifact, cli_environment, adb_server, tmp_path
):
    folder = make_artifact("one").parent
    words = [folder, "--device", "android", "--out", tmp_path / "m.jsonl"]

    def refused() -> str:
        done = command(*words, environment=cli_environment)
        assert done.returncode == 2, done.stderr
        assert not (tmp_path / "m.jsonl").exists()
        return " ".join(done.stderr.split())

    assert "no device is connected. Plug in a phone" in refused()
    locked = start_phone(needs_key=True, attached="unauthorized")
    assert f"{locked.serial} (model unknown): unauthorized. To use it: unlock the phone and accept" in refused()
    adb_server.detach(locked)
    start_phone(), start_phone()
    assert "2 devices are connected and one is to be measured. Choose with --serial" in refused()


HOSTILE = "a b'c\"d;touch $(touch owned)`touch owned`\nnew 📱 größe"


def test_names_cannot_run_commands_on_phone_or_host(start_phone, make_bench, make_artifact, tmp_path):
    phone = start_phone(properties={"ro.product.model": "Evil $(touch owned); 'phone' 📱"})
    folder = make_artifact("plain")
    hostile = folder.rename(folder.parent / HOSTILE)
    manifest = json.loads((hostile / "manifest.json").read_text())
    (hostile / "model.bin").rename(hostile / HOSTILE)
    manifest["model"] = HOSTILE
    manifest["files"][0]["path"] = HOSTILE
    (hostile / "manifest.json").write_text(json.dumps(manifest))
    (row,) = measure(make_bench(phone), hostile)
    assert row.validity != "failed", row.reason
    assert row.subject.model == HOSTILE
    assert row.device.name == "Loopback Evil $(touch owned); 'phone' 📱 (Debian adbd)"
    assert not list(tmp_path.rglob("owned"))
    assert not list(phone.tmp.rglob("owned"))
    assert not Path("owned").exists()
    assert_as_before(phone)
