"""Phones for tests: the real adb client, a private real server, the real adbd. Skipped with the reason elsewhere."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.android import PhoneBench
from bench.android.adb import Adb, AdbMissing, Phone, find_program
from bench.android.state import Gate
from bench.record import Measurement
from bench.session.cells import plan
from bench.timing.loop import Limits
from tests.loopback_phone.phone import AdbServer, LoopbackPhone, why_not

QUICK = Limits(warmup_count=2, warmup_s=0.0, min_count=30, min_s=0.0, max_count=30)
PTE_WRITER = Path(__file__).with_name("write_tiny_pte.py")
NO_WAITING = Gate(patience_s=0.0)

StartPhone = Callable[..., LoopbackPhone]
MakeBench = Callable[..., PhoneBench]


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    if reason := why_not():
        pytest.skip(reason)
    try:
        program = find_program()
    except AdbMissing as error:
        pytest.skip(str(error))
    server = AdbServer(program, tmp_path_factory.mktemp("adb")).start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Journals of phones go here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("ANDROID_SERIAL", "ADB"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state"


@pytest.fixture
def adb(adb_server: AdbServer) -> Adb:
    return Adb.find(environment=adb_server.environment)


@pytest.fixture
def start_phone(adb_server: AdbServer, tmp_path: Path) -> Iterator[StartPhone]:
    """start_phone(kind, state="device", **fields of LoopbackPhone): booted, and known to the server in that state."""
    phones: list[LoopbackPhone] = []

    def start(kind: str = "pixel_android14", *, attached: str | None = "device", **fields: Any) -> LoopbackPhone:
        phone = LoopbackPhone(tmp_path / f"phone{len(phones)}", kind, **fields)
        phones.append(phone)
        phone.start()
        if attached:
            adb_server.attach(phone, state=attached)
        return phone

    yield start
    for phone in phones:
        adb_server.detach(phone)
        phone.stop()


@pytest.fixture
def make_bench(adb: Adb) -> MakeBench:
    """make_bench(loopback phone, **fields of PhoneBench): one quick launch per cell."""

    def make(phone: LoopbackPhone, **fields: Any) -> PhoneBench:
        # Every program of an arm64 phone is emulated.
        chosen = Phone(adb, phone.serial, patience_s=60.0 if phone.is_arm64 else 5.0)
        quick = {
            "limits": QUICK,
            "launches": 1,
            "poll_s": 0.05,
            "timeout_s": 30.0,
            "gate": NO_WAITING,
            "back_limit_s": 10.0,
        }
        return PhoneBench(chosen, **{**quick, **fields})

    return make


@pytest.fixture
def cli_environment(adb_server: AdbServer, tmp_path: Path) -> dict[str, str]:
    """Environment of a `python -m bench` that talks to the private server."""
    keys = ("ANDROID_ADB_SERVER_PORT", "ADB")
    root = str(Path(__file__).resolve().parents[3])
    places = {"PYTHONPATH": root, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}
    return {**os.environ, **places, **{key: adb_server.environment[key] for key in keys}}


@pytest.fixture(scope="session")
def executorch_program(tmp_path_factory) -> tuple[bytes, np.ndarray]:
    """A small ExecuTorch program, and its weights."""
    pytest.importorskip("executorch")
    folder = tmp_path_factory.mktemp("pte")
    done = subprocess.run([sys.executable, PTE_WRITER, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return (folder / "model.pte").read_bytes(), np.load(folder / "weights.npy")


def measure(bench: PhoneBench, *folders: Path, told: list[str] | None = None) -> list[Measurement]:
    """All rows of a session on these artifacts, in the order they came."""
    todo = plan(folders, batches=[1], threads=[1], refusal=bench.refusal)
    assert not todo.not_measured
    bench.caution()
    tell = (told if told is not None else []).append
    return [row for _, row in bench.measure_all(todo.cells, run_id="session", tell=tell)]
