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


def test_a_zone_that_counts_volts_or_is_not_connected_is_no_temperature(tmp_path, monkeypatch):
    zones = (
        ("cpu-thermal", "41500"),
        ("vbat", "3800000"),
        ("soc-thermal", "43000"),
        ("bcl-warn", "99000"),
        ("x", "-273000"),
    )
    for number, (kind, value) in enumerate(zones):
        folder = tmp_path / f"thermal_zone{number}"
        folder.mkdir()
        (folder / "type").write_text(f"{kind}\n")
        (folder / "temp").write_text(f"{value}\n")
    monkeypatch.setattr(machine, "THERMAL_ZONES", tmp_path)
    assert machine.temperature_celsius() == 43.0


def arm(parts: list[str], board: str = "") -> str:
    cores = "".join(
        f"processor\t: {number}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n\n"
        for number, part in enumerate(parts)
    )
    return cores + (f"Hardware\t: BCM2835\nModel\t\t: {board}\n" if board else "")


@pytest.mark.parametrize(
    ("text", "tree", "usable", "name"),
    [
        (arm(["0xd08"] * 4, "Raspberry Pi 4"), "", 4, "Raspberry Pi 4 (4 × Cortex-A72)"),
        (arm(["0xd0b"] * 4, "Raspberry Pi 5"), "", 2, "Raspberry Pi 5 (2 × Cortex-A76)"),
        (arm(["0xd05"] * 4 + ["0xd0b"] * 2), "Radxa ROCK 5B\0", 6, "Radxa ROCK 5B (4 × Cortex-A55 + 2 × Cortex-A76)"),
        (arm(["0xd40"] * 2), "", 2, "2 × Neoverse-V1"),
        (arm(["0xfff"]), "", 1, "1 × core 0x41:0xfff"),
        ("processor\t: 0\nmodel name\t: Test CPU @ 3 GHz\n", "A board", 1, "Test CPU @ 3 GHz"),
    ],
)
def test_an_arm_board_has_a_name_and_part_of_its_cores_is_another_device(
    tmp_path, monkeypatch, text, tree, usable, name
):
    (tmp_path / "cpuinfo").write_text(text)
    (tmp_path / "model").write_text(tree)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "BOARD", tmp_path / "model")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(usable)))
    assert machine.identify().name == name


def test_a_containers_limit_is_the_memory_of_the_device(monkeypatch):
    monkeypatch.setattr(machine, "memory_limits_bytes", lambda: [3 * 2**30, 2**29])
    assert machine.identify().memory_bytes == 2**29


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
