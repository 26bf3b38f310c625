import os

import pytest

from bench import machine


def test_this_machine_is_described():
    device = machine.identify()
    assert device.kind == "cpu"
    assert device.name
    assert device.cores == len(os.sched_getaffinity(0))
    assert device.memory_bytes > 2**28


def test_peak_memory_grows_with_what_is_held_and_does_not_shrink():
    before = machine.peak_memory_bytes() or 0
    held = bytearray(b"x" * 200_000_000)
    with_it = machine.peak_memory_bytes() or 0
    del held
    assert with_it > 200_000_000
    assert (machine.peak_memory_bytes() or 0) >= with_it >= before


def test_busy_cores_are_counted_from_the_kernels_ticks(tmp_path, monkeypatch):
    times = tmp_path / "stat"
    times.write_text("cpu  100 0 50 800 50 0 0 0 30 0\ncpu0 1 2 3\n")
    monkeypatch.setattr(machine, "PROCESSOR_TIMES", times)
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    later = "cpu  160 0 60 820 50 0 0 10 40 0\n"
    monkeypatch.setattr(machine.time, "sleep", lambda _: times.write_text(later))
    assert machine.busy_cores() == pytest.approx(4 * 80 / 100)


@pytest.mark.parametrize("figure", [machine.cpu_mhz, machine.temperature_celsius, machine.peak_memory_bytes])
def test_a_machine_that_does_not_tell_gives_none(tmp_path, monkeypatch, figure):
    for name in ("CPU_INFO", "PROCESS_STATUS", "THERMAL_ZONES", "PROCESSOR_TIMES"):
        monkeypatch.setattr(machine, name, tmp_path / "none")
    assert figure() is None
    assert machine.busy_cores(window_s=0) is None


def test_the_hottest_zone_is_the_temperature(tmp_path, monkeypatch):
    for zone, text in (("thermal_zone0", "41500\n"), ("thermal_zone1", "52250\n"), ("thermal_zone2", "n/a\n")):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "temp").write_text(text)
    monkeypatch.setattr(machine, "THERMAL_ZONES", tmp_path)
    assert machine.temperature_celsius() == 52.25
