"""An emulated arm64 phone, arm64 adbd and arm64 runner, measured by the ordinary command.

Its outputs are true. Its times are those of an emulator: they are labelled and never ranked.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.android.doctor import examine
from bench.android.identity import identify
from bench.android.instruments import NativeRunner
from bench.record import read_journal
from bench.report.html import page_content
from distill.errors import UsageError
from tests.bench.android.conftest import measure
from tests.loopback_phone.arm64 import native_runner
from tests.loopback_phone.packages import Unavailable
from tests.loopback_phone.phone import LoopbackPhone

KIND = "pixel_android14_arm64"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phone(adb_server, tmp_path_factory) -> Iterator[LoopbackPhone]:
    """One for all tests, which leave it as it was: every program of its boot is emulated."""
    phone = LoopbackPhone(tmp_path_factory.mktemp("arm64") / "phone", KIND)
    try:
        assert phone.image.is_dir()
        native_runner()
    except (Unavailable, UsageError) as error:
        pytest.skip(f"no emulated arm64 phone: {error}")
    adb_server.attach(phone.start())
    yield phone
    adb_server.detach(phone)
    phone.stop()


def test_everything_on_it_is_arm64(phone, make_bench):
    chosen = make_bench(phone).phone
    identity = identify(chosen)
    assert chosen.must(["uname", "-m"]).strip() == "aarch64"
    assert (identity.abis, identity.emulated) == (("arm64-v8a",), True)
    assert "asimddp" in identity.features
    for program in ("adbd", "sh", "toybox"):
        elf = (phone.files / "system/bin" / program).read_bytes()[:20]
        assert elf[18] == 183, program  # EM_AARCH64
    findings = {one.topic: one for one in examine(chosen.adb, chosen)}
    assert findings["phone"].grade == "bad"
    assert findings["instrument native"].found.startswith("ready; runtimes: executorch ")


def test_the_ordinary_command_measures_it_and_ranks_nothing(
    phone, make_artifact, executorch_program, cli_environment, tmp_path
):
    model_bytes, weights = executorch_program
    good = make_artifact("good", format="executorch", model_bytes=model_bytes, weights=weights)
    make_artifact("wrong", format="executorch", model_bytes=model_bytes, weights=weights + 1)
    journal = tmp_path / "m.jsonl"
    options = ["--device", "android", "--instrument", "native", "--launches", "1", "--out", str(journal)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", str(good.parent), *options],
        env=cli_environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, journal.is_file()) == (1, True), done.stderr
    rows = {row.subject.name: row for row in read_journal(journal).measurements}
    assert rows["good"].validity != "failed", rows["good"].reason
    assert rows["good"].input == "golden"
    assert "logits differ from the golden ones" in rows["wrong"].reason
    for row in rows.values():
        assert (row.device.emulated, row.device.instrument, row.device.serial) == (True, "native", phone.serial)
    told = " ".join(done.stderr.split())
    assert "good (emulated)" in told
    assert "times of an emulated device say nothing of any product and are not ranked" in told

    content = page_content(list(rows.values()))
    assert content["conditions"] == []
    assert content["best"] is None
    assert {record["name"] for record in content["data"]["rows"]} == {"good (emulated)", "wrong (emulated)"}
    json.dumps(content["data"])


def test_a_runner_for_another_system_is_refused_before_anything_is_pushed(
    phone, make_bench, make_artifact, monkeypatch, tmp_path
):
    built = native_runner()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "cache/pocket-distill/native/arm64-v8a"
    place.mkdir(parents=True)
    glibc, bionic = b"/lib/ld-linux-aarch64.so.1\0", b"/system/bin/linker64\0"
    binary = built.read_bytes()
    assert glibc in binary
    (place / "runner").write_bytes(binary.replace(glibc, bionic.ljust(len(glibc), b"\0"), 1))
    bench = make_bench(phone, instrument=NativeRunner())
    with pytest.raises(UsageError, match=r"built for a system that has /system/bin/linker64, and .* has none"):
        measure(bench, make_artifact("one", format="executorch"))
    assert not (phone.tmp / "pocket-distill").exists()
