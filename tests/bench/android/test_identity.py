"""What a phone is: virtual or of metal, and whether two names of adb's are one phone."""

import pytest

from bench.android.adb import Adb, AdbFailed, Phone, _device_row, distinct
from bench.android.identity import _is_emulated
from bench.android.state import _hottest

WIRELESS = "adb-35121JEHN28132-jr888A (2)._adb-tls-connect._tcp"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "R5CT10XYZ              device usb:1-1 product:x model:SM_S901B device:r0s transport_id:3",
            ("R5CT10XYZ", "device"),
        ),
        (f"{WIRELESS} device product:x model:Pixel_8 transport_id:4", (WIRELESS, "device")),
        (f"{WIRELESS} offline transport_id:4", (WIRELESS, "offline")),
        ("192.168.1.5:5555       unauthorized transport_id:1", ("192.168.1.5:5555", "unauthorized")),
        (
            "????????????           no permissions; see [http://developer.android.com/tools]",
            ("????????????", "no permissions"),
        ),
        ("emulator-5554          host", ("emulator-5554", "host")),
        ("R5CT10XYZ              quarantined transport_id:3", ("R5CT10XYZ", "quarantined")),
    ],
)
def test_a_line_of_adbs_list_is_read_whatever_its_serial(line: str, expected: tuple[str, str]) -> None:
    row = _device_row(line)
    assert row is not None
    assert (row.serial, row.state) == expected


def test_an_empty_line_is_no_device() -> None:
    assert _device_row("") is None


@pytest.mark.parametrize(
    ("properties", "emulated"),
    [
        ({"ro.hardware": "ranchu", "ro.product.model": "sdk_gphone64_x86_64"}, True),
        ({"ro.boot.qemu": "1"}, True),
        ({"ro.hardware": "cutf_cvm", "ro.product.device": "vsoc_x86_64"}, True),
        ({"ro.product.manufacturer": "Genymobile", "ro.hardware": "vbox86"}, True),
        ({"ro.genymotion.version": "3.3", "ro.product.model": "Galaxy S9"}, True),
        ({"ro.boot.hardware": "redroid", "ro.product.model": "redroid12_arm64"}, True),
        ({"ro.product.brand": "waydroid", "ro.board.platform": "waydroid"}, True),
        ({"ro.product.model": "Subsystem for Android(TM)"}, True),
        ({"ro.product.manufacturer": "Google", "ro.product.model": "Pixel 8", "ro.hardware": "shiba"}, False),
        ({"ro.kernel.qemu": "0", "ro.product.model": "SM-S901B", "ro.hardware": "qcom"}, False),
    ],
)
def test_virtual_phones_are_known_by_what_they_say_of_themselves(properties: dict[str, str], emulated: bool) -> None:
    assert _is_emulated("R5CT10XYZ", properties) == emulated


class Answering(Phone):
    """A phone that says its own serial number, or nothing."""

    def own_serial(self) -> str:
        number = {"usb": "A1", WIRELESS: "A1", "host:5555": "B2", "C3": "C3"}.get(self.serial)
        if number is None:
            raise AdbFailed("frozen")
        return number


def test_one_phone_under_two_names_is_measured_once_by_cable(capsys: pytest.CaptureFixture[str]) -> None:
    adb = Adb(None, {})  # type: ignore[arg-type]
    phones = [Answering(adb, name) for name in (WIRELESS, "host:5555", "usb", "C3", "frozen")]
    assert [phone.serial for phone in distinct(phones)] == ["host:5555", "usb", "C3", "frozen"]
    assert "are one phone; the former is used" in " ".join(capsys.readouterr().err.split())
    assert distinct(phones[:1]) == phones[:1]


def test_volts_amperes_and_charge_among_the_sensors_are_no_temperatures() -> None:
    sensors = [(61.0, 0), (43.5, 3), (4900.0, 7), (87.0, 8), (1050.0, 6), (11900.0, 7), (-274.0, 3), (25000.0, 9)]
    lines = [f"Temperature{{mValue={value}, mType={kind}, mName=x, mStatus=0}}" for value, kind in sensors]
    assert _hottest("Current temperatures from HAL:\n" + "\n".join(lines)) == 61.0
    assert _hottest("\n".join(lines[2:])) is None
