import pytest

from bench.cpu import machine
from distill.system import usable_cores


def test_this_machine_is_described():
    device = machine.identify()
    assert device.kind == "cpu"
    assert device.name
    assert device.cores == usable_cores()
    assert device.memory_bytes > 2**28


def test_peak_memory_grows_with_what_is_held_and_does_not_shrink():
    before = machine.peak_memory_bytes() or 0
    held = bytearray(b"x" * 200_000_000)
    with_it = machine.peak_memory_bytes() or 0
    del held
    assert with_it > 200_000_000
    assert (machine.peak_memory_bytes() or 0) >= with_it >= before


@pytest.mark.parametrize(
    "figure", [machine.cpu_mhz, machine.temperature_celsius, machine.peak_memory_bytes, machine.throttle_count]
)
def test_a_machine_that_does_not_tell_gives_none(tmp_path, monkeypatch, figure):
    for name in ("CPU_INFO", "PROCESS_STATUS", "THERMAL_ZONES", "CORES"):
        monkeypatch.setattr(machine, name, tmp_path / "none")
    assert figure() is None


def test_the_hottest_zone_is_the_temperature(tmp_path, monkeypatch):
    for zone, text in (("thermal_zone0", "41500\n"), ("thermal_zone1", "52250\n"), ("thermal_zone2", "n/a\n")):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "temp").write_text(text)
    monkeypatch.setattr(machine, "THERMAL_ZONES", tmp_path)
    assert machine.temperature_celsius() == 52.25


def test_the_clock_is_that_of_the_fastest_core(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("cpu MHz\t\t: 800.0\ncpu MHz\t\t: 3200.5\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.cpu_mhz() == 3200.5


def test_throttlings_of_all_cores_are_added(tmp_path, monkeypatch):
    for core, count in (("cpu0", "3\n"), ("cpu1", "4\n")):
        (tmp_path / core / "thermal_throttle").mkdir(parents=True)
        (tmp_path / core / "thermal_throttle" / "core_throttle_count").write_text(count)
    monkeypatch.setattr(machine, "CORES", tmp_path)
    assert machine.throttle_count() == 7
