import multiprocessing
import os
import time

import pytest

from bench.cpu import load
from bench.cpu.load import NOTHING_SPENT, Load, Reading, Ticks, busy_share, read_load, spent

TICK = 1 / os.sysconf("SC_CLK_TCK")


def reading(*, busy: float, stolen: float, whole: float, own: float, waited: float, clock: float) -> Reading:
    return Reading(Ticks(busy, stolen, whole), own, waited, clock)


def test_work_of_others_is_all_work_without_our_own():
    began = reading(busy=100, stolen=5, whole=1000, own=3, waited=0.5, clock=50)
    ended = reading(busy=103, stolen=5.2, whole=1004, own=5, waited=0.7, clock=52)
    found = spent(began, ended).load()
    assert found == Load(pytest.approx(1 / 4), pytest.approx(0.2 / 4), pytest.approx(0.1))


def test_too_short_a_time_gives_no_shares():
    began = reading(busy=1, stolen=0, whole=2, own=0, waited=0, clock=50)
    ended = reading(busy=9, stolen=0, whole=10, own=0, waited=0, clock=50.1)
    assert spent(began, ended).load() == Load(None, None, None)


def test_times_with_pauses_between_them_are_added_up_before_they_are_shared_out():
    began = reading(busy=1, stolen=0, whole=2, own=0, waited=0, clock=50)
    ended = reading(busy=1.2, stolen=0.04, whole=2.4, own=0.1, waited=0.02, clock=50.15)
    once = spent(began, ended)
    assert once.load() == Load(None, None, None)
    assert (NOTHING_SPENT + once + once).load() == Load(
        pytest.approx(0.1 / 0.4), pytest.approx(0.04 / 0.4), pytest.approx(0.02 / 0.15)
    )
    silent = spent(Reading(None, 0, None, 0), Reading(None, 0.1, None, 0.15))
    assert (NOTHING_SPENT + silent + silent).load() == Load(None, None, None)


def test_a_machine_that_does_not_tell_gives_none(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "PROCESSOR_TIMES", tmp_path / "none")
    monkeypatch.setattr(load, "OWN_THREADS", tmp_path / "none")
    began = read_load()
    assert (began.ticks, began.waited) == (None, None)
    assert spent(began, Reading(None, began.own, None, began.clock + 1)).load() == Load(None, None, None)
    assert busy_share(window_s=0) is None


def test_the_kernels_ticks_are_read_by_column(tmp_path, monkeypatch):
    times = tmp_path / "stat"
    times.write_text("cpu  100 1 50 800 50 2 3 30 7 0\ncpu0 1 2 3\n")
    monkeypatch.setattr(load, "PROCESSOR_TIMES", times)
    found = load.read_ticks()
    assert found == Ticks(pytest.approx(156 * TICK), pytest.approx(30 * TICK), pytest.approx(1036 * TICK))


def test_busy_share_counts_stolen_time_over_a_window(tmp_path, monkeypatch):
    times = tmp_path / "stat"
    times.write_text("cpu  100 0 50 800 50 0 0 0 30 0\n")
    monkeypatch.setattr(load, "PROCESSOR_TIMES", times)
    later = "cpu  160 0 60 820 50 0 0 10 40 0\n"
    monkeypatch.setattr(load.time, "sleep", lambda _: times.write_text(later))
    assert busy_share() == pytest.approx(80 / 100)


def spin(told: "multiprocessing.synchronize.Event") -> None:
    told.set()
    while True:
        pass


def spin_for(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


def test_a_busy_neighbour_is_seen_and_our_own_work_is_not():
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Event()
    neighbour = spawn.Process(target=spin, args=(told,), daemon=True)
    neighbour.start()
    assert told.wait(60)
    # Both on one core: the neighbour takes time, and this process waits for what it takes.
    cores = os.sched_getaffinity(0)
    core = {min(cores)}
    try:
        os.sched_setaffinity(0, core)
        os.sched_setaffinity(neighbour.pid or 0, core)
        began = read_load()
        spin_for(0.5)
        found = spent(began, read_load()).load()
    finally:
        os.sched_setaffinity(0, cores)
        neighbour.kill()
        neighbour.join()
    assert found.other_work is not None
    assert found.other_work > 0.1 / (os.cpu_count() or 1)
    assert found.waiting is None or found.waiting > 0.1
