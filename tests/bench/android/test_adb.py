"""The seam, against the real client and the real daemon: whatever happens to the phone, half an answer is never one."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.android.adb import (
    Adb,
    AdbMissing,
    AdbTimeout,
    CommandFailed,
    DeviceLost,
    NoSpace,
    NotDebuggable,
    NotWritable,
    NoUsableDevice,
    Phone,
    ServerClash,
    TransferFailed,
    find_program,
    quote,
)
from distill.errors import UsageError
from tests.loopback_phone.phone import APP, LoopbackPhone, wait_for

HOSTILE = (
    "a b",
    "it's",
    '"',
    ";reboot",
    "$(touch /data/local/tmp/owned)",
    "`id`",
    "line\nbreak",
    "\\",
    "größe 📱",
    "*",
    "-n",
)


@pytest.fixture(scope="module")
def shared(adb_server, tmp_path_factory) -> Iterator[LoopbackPhone]:
    phone = LoopbackPhone(tmp_path_factory.mktemp("shared") / "phone").start()
    yield phone
    phone.stop()


@pytest.fixture
def phone(shared, adb_server, adb) -> Iterator[Phone]:
    """One phone for all tests that leave it as it was; the server knows it only while it is used."""
    adb_server.attach(shared)
    yield Phone(adb, shared.serial, patience_s=5.0)
    adb_server.detach(shared)


def file_with(folder: Path, data: bytes, name: str = "file") -> tuple[Path, str]:
    path = folder / name
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def test_output_exit_code_and_errors_come_back_apart(phone):
    answer = phone.shell(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (answer.exit_code, answer.stdout, answer.stderr) == (7, "out\n", "err\n")


def test_output_without_a_final_newline_and_empty_output_are_kept_as_they_are(phone):
    assert phone.shell(["printf", "a\n\nb"]).stdout == "a\n\nb"
    assert phone.shell(["true"]).stdout == ""


@pytest.mark.parametrize("word", HOSTILE)
def test_no_word_can_become_a_command(phone, word: str):
    assert phone.shell(["printf", "%s", word]).stdout == word
    assert phone.shell(["test", "-e", "/data/local/tmp/owned"]).exit_code == 1


def test_a_nul_in_a_command_is_refused():
    with pytest.raises(UsageError, match="NUL"):
        quote(["a\0b"])


@pytest.mark.parametrize("text", ["exit 3", "echo unfinished '", "(", "kill -9 $$"])
def test_shell_text_that_ends_early_is_never_taken_for_success(phone, text: str):
    with suppress(DeviceLost):
        assert phone.script(text).exit_code != 0


def test_a_daemon_that_dies_in_the_middle_of_an_answer_is_lost_whatever_adb_returns(start_phone, adb):
    loopback = start_phone()
    phone = Phone(adb, loopback.serial, patience_s=10.0)
    with pytest.raises(DeviceLost, match="was cut off"):
        phone.script("echo half an answer; kill -9 $(pidof adbd); sleep 5")
    assert phone.wait_until_back(timeout_s=10)


def test_a_frozen_phone_is_a_time_limit_and_not_a_hang(start_phone, adb):
    loopback = start_phone()
    phone = Phone(adb, loopback.serial, patience_s=0.5)
    loopback.freeze()
    assert phone.state() == "device"
    with pytest.raises(AdbTimeout, match=r"did not finish `shell true` within 0\.5 s"):
        phone.shell(["true"])
    loopback.thaw()
    assert phone.wait_until_back(timeout_s=10)


@pytest.mark.parametrize("name", ["plain", "a b'c;$(id).bin", "größe.bin"])
def test_a_file_arrives_whole_whatever_its_name(phone, tmp_path, name: str):
    path, sha256 = file_with(tmp_path, bytes(range(256)) * 1000, name)
    remote = f"/data/local/tmp/{name}"
    phone.push(path, remote, sha256=sha256)
    assert phone.read(remote) == path.read_bytes()


def test_another_hash_than_expected_is_a_failed_transfer(phone, tmp_path):
    path, _ = file_with(tmp_path, b"changed on the way")
    with pytest.raises(TransferFailed, match=r"did not arrive whole on .*: SHA-256 there is"):
        phone.push(path, "/data/local/tmp/file", sha256="0" * 64)


def test_a_long_push_tells_how_far_it_is(phone, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.android.adb.POLL_S", 0.01)
    path, sha256 = file_with(tmp_path, bytes(60_000_000))
    arrived: list[int] = []
    phone.push(path, "/data/local/tmp/file", sha256=sha256, told=arrived.append)
    assert arrived == sorted(arrived)
    assert 0 < arrived[-1] <= 60_000_000


def test_a_full_phone_is_named(start_phone, adb, tmp_path):
    phone = Phone(adb, start_phone(storage_bytes=1_000_000).serial)
    path, sha256 = file_with(tmp_path, bytes(3_000_000))
    with pytest.raises(NoSpace, match="Free some storage"):
        phone.push(path, "/data/local/tmp/file", sha256=sha256)


def test_a_read_only_target_is_named(start_phone, adb, tmp_path):
    loopback = start_phone(storage_bytes=1_000_000)
    loopback.make_storage_read_only()
    path, sha256 = file_with(tmp_path, b"x")
    with pytest.raises(NotWritable, match="Read-only file system"):
        Phone(adb, loopback.serial).push(path, "/data/local/tmp/file", sha256=sha256)


def test_a_missing_file_is_a_failed_command_in_the_phones_words(phone):
    with pytest.raises(CommandFailed, match="No such file"):
        phone.read("/data/local/tmp/none")


def test_private_files_of_an_app_are_read_through_run_as_if_it_is_debuggable(start_phone, adb):
    for debuggable in (True, False):
        loopback = start_phone(debuggable=debuggable)
        (loopback.files / "data/data" / APP / "files/x").write_bytes(b"\x00\r\n\xff")
        phone = Phone(adb, loopback.serial)
        if debuggable:
            assert phone.read("files/x", app=APP) == b"\x00\r\n\xff"
        else:
            with pytest.raises(NotDebuggable, match="package not debuggable"):
                phone.read("files/x", app=APP)


def test_what_is_started_goes_on_when_the_daemon_dies(start_phone, adb):
    loopback = start_phone()
    phone = Phone(adb, loopback.serial)
    script = "while [ ! -e go ]; do sleep 0.05; done; echo done > end"
    phone.start(["sh", "-c", f"cd /data/local/tmp; {script}"], log="/data/local/tmp/log")
    loopback.kill_adbd()
    assert phone.wait_until_back(timeout_s=10)
    phone.must(["touch", "/data/local/tmp/go"])
    wait_for("the end", lambda: (loopback.tmp / "end").is_file())


# Choosing a device


def test_without_a_device_it_is_said_what_to_do(adb):
    with pytest.raises(NoUsableDevice, match=r"no device is connected.*USB debugging"):
        adb.choose()


def test_the_only_device_is_taken_and_of_two_none_is_guessed(start_phone, adb):
    first = start_phone()
    assert adb.choose().serial == first.serial
    second = start_phone("galaxy_android8")
    with pytest.raises(NoUsableDevice, match=r"2 devices are connected.*--serial.*Connected: 127") as refused:
        adb.choose()
    assert all(model in str(refused.value) for model in ("Loopback_Phone_14", "Loopback_Galaxy_8"))
    assert adb.choose(second.serial).serial == second.serial
    assert {phone.serial for phone in adb.usable()} == {first.serial, second.serial}


def test_android_serial_chooses_and_a_serial_that_is_not_there_is_named(start_phone, adb_server):
    phones = [start_phone(), start_phone()]
    chosen = Adb.find(environment={**adb_server.environment, "ANDROID_SERIAL": phones[1].serial})
    assert chosen.choose().serial == phones[1].serial
    with pytest.raises(NoUsableDevice, match=r"there is no device 'x; reboot'\. Connected: 127"):
        chosen.choose("x; reboot")


def test_an_unauthorized_phone_is_said_to_ask_for_the_key_and_works_after_it_was_accepted(start_phone, adb, adb_server):
    loopback = start_phone(needs_key=True, attached="unauthorized")
    with pytest.raises(NoUsableDevice, match=r"unauthorized\. To use it: unlock the phone and accept the dialog"):
        adb.choose()
    loopback.accept(adb_server.public_key())
    adb_server.attach(loopback)
    assert adb.choose().shell(["echo", "hello"]).stdout == "hello\n"


def test_an_offline_phone_is_asked_once_to_reconnect_and_then_named(start_phone, adb, adb_server, monkeypatch):
    monkeypatch.setattr("bench.android.adb.RECONNECT_TIMEOUT_S", 0.5)
    loopback = start_phone(attached=None)
    loopback.freeze()
    adb_server.begin_connecting(loopback)
    with pytest.raises(NoUsableDevice, match=r"(offline|connecting)\. To use it: (replug|wait)"):
        adb.choose()
    loopback.thaw()


def test_a_phone_in_recovery_is_said_to_need_a_restart(start_phone, adb):
    start_phone(banner="recovery", attached="recovery")
    with pytest.raises(NoUsableDevice, match=r"recovery\. To use it: restart the phone into Android"):
        adb.choose()


# The program and its server


def test_adb_is_taken_from_the_option_then_the_variable_then_the_sdk_then_the_path(tmp_path):
    def program(folder: str) -> str:
        path = tmp_path / folder / "adb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    environment = {
        "ADB": program("variable"),
        "ANDROID_HOME": str(Path(program("sdk/platform-tools")).parents[1]),
        "PATH": str(Path(program("path")).parent),
    }
    assert str(find_program(program("option"), environment=environment)) == program("option")
    for name, folder in (("ADB", "variable"), ("ANDROID_HOME", "sdk/platform-tools"), ("PATH", "path")):
        assert str(find_program(environment=environment)) == program(folder)
        del environment[name]


def test_an_adb_that_is_none_is_named():
    with pytest.raises(AdbMissing, match=r"--adb names '/no/adb', which is not a program\. Install it"):
        find_program("/no/adb")
    with pytest.raises(AdbMissing, match="does not answer like adb"):
        Adb(Path("/bin/echo"), {}).protocol_version()


def test_another_versions_server_is_refused_and_lives_on(adb_server):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            link, _ = server.accept()
            with link:
                assert link.recv(100) == b"000chost:version"
                link.sendall(b"OKAY00040027")

        thread = threading.Thread(target=answer)
        thread.start()
        environment = {**adb_server.environment, "ANDROID_ADB_SERVER_PORT": str(port)}
        with pytest.raises(ServerClash, match=rf"server of version 39 is running on port {port}, .* is version 41"):
            Adb.find(environment=environment)
        thread.join()
