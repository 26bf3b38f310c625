"""Stages from picture to answer on a loopback phone: delays are found where they are put, and all sum to the total."""

from pathlib import Path

import numpy as np
import pytest

from bench.android.answers import prepared
from bench.compare.choice import Budget, choose
from bench.record import Measurement
from bench.record.whole_path import STAGES
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.session.cells import plan
from bench.timing.loop import Limits
from tests.bench.android.conftest import StartPhone
from tests.loopback_phone.phone import AGENT, slower_app

FAULTY = Path(__file__).with_name("faulty_agent.py")
SHORT = Limits(warmup_count=2, warmup_s=0.0, min_count=30, min_s=0.0, max_count=30)
DELAY_MS = 5.0


def row_of(bench, folder: Path) -> Measurement:
    cells = plan([folder], batches=[1], threads=[1], refusal=bench.refusal).cells
    with prepared(cells, AccuracyOptions(), PathOptions(wanted=True), str) as ready:
        ((_, row),) = bench.measure_with(ready, cells, run_id="r", tell=str)
    return row


def test_delays_are_found_in_their_stages_and_stages_make_up_the_total(
    start_phone: StartPhone, make_bench, make_artifact
):
    """An injected 5 ms lies in one stage alone: in processor time as in the clock's, whatever else the machine does."""
    program = f'#!/system/bin/sh\nexec python3 /opt/faulty.py $(cat /data/local/tmp/mistake) {AGENT} "$1" "$2"\n'
    faulty = start_phone(program=program, mounts={"/opt/faulty.py": FAULTY})
    slower = start_phone(**slower_app(f"litert=50,onnx={DELAY_MS}"))
    folder = make_artifact("linear")
    for stage, phone in (("decode", faulty), ("resize", faulty), ("call", slower)):
        (phone.tmp / "mistake").write_text(f"slow_{stage}")
        row = row_of(make_bench(phone, limits=SHORT, launches=2), folder)
        assert row.validity != "failed", row.reason
        path = row.path
        assert path is not None
        assert path.launch_counts == (30, 30)
        sums = np.sum([getattr(path, name) for name in STAGES], axis=0)
        # Two readings of the clock lie between the total and its stages.
        assert np.all(sums <= np.asarray(path.total_ms))
        assert np.median(np.asarray(path.total_ms) - sums) < 0.1
        fastest = {name: float(np.min(getattr(path, name))) for name in STAGES}
        assert fastest[f"{stage}_ms"] == pytest.approx(DELAY_MS, rel=0.05)
        assert all(fastest[name] < DELAY_MS / 2 for name in STAGES if name != f"{stage}_ms")
        assert "its golden input" in path.pictures
        assert row.input == "golden"
    assert not (phone.tmp / "pocket-distill").exists()


def test_an_engine_that_is_wrong_now_and_then_is_labelled_and_never_chosen(
    start_phone: StartPhone, make_bench, make_artifact
):
    program = f'#!/system/bin/sh\nexec python3 /opt/faulty.py wrong_now_and_then {AGENT} "$1" "$2"\n'
    phone = start_phone(program=program, mounts={"/opt/faulty.py": FAULTY})
    row = row_of(make_bench(phone, launches=2, repeats=200), make_artifact("linear"))
    assert row.repeated is not None
    assert (row.repeated.calls, row.repeated.launches, len(row.repeated.outputs)) == (400, 2, 2)
    assert row.validity == "wrong"
    assert "one input gave 2 different outputs in 400 calls of 2 launches" in row.reason
    on_a_product = row.model_copy(update={"device": row.device.model_copy(update={"emulated": False})})
    choice = choose([on_a_product], Budget(max_latency_ms=1000))
    assert (choice.candidates, choice.excluded[0].reason) == ((), "its row is wrong")


def test_without_the_path_nothing_of_it_is_in_the_row(start_phone: StartPhone, make_bench, make_artifact):
    bench, folder = make_bench(start_phone()), make_artifact("linear")
    cells = plan([folder], batches=[1], threads=[1], refusal=bench.refusal).cells
    ((_, row),) = bench.measure_all(cells, run_id="r", tell=str)
    assert row.path is None
