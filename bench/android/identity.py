"""Which phone this is: asked once per session, part of every row."""

import re
from dataclasses import dataclass

from bench.android.adb import Phone
from bench.record import Device
from distill.errors import UsageError

FEATURES = ("asimddp", "i8mm", "sve", "sve2", "fphp", "bf16", "avx2", "avx512_vnni", "avx_vnni")
"""Processor features that decide whether int8 or half precision can win."""

QEMU = ("ro.kernel.qemu", "ro.boot.qemu")
TELLING = (
    "ro.hardware",
    "ro.boot.hardware",
    "ro.board.platform",
    "ro.product.board",
    "ro.product.brand",
    "ro.product.device",
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.product.name",
)
"""Properties by which a virtual phone gives itself away."""

VIRTUAL = re.compile(
    r"ranchu|goldfish|cuttlefish|\bcutf(_cvm)?\b|\bvsoc_|genymo(tion|bile)|vbox86|redroid|waydroid|\bemu64|"
    r"sdk_gphone|android sdk built for|subsystem for android|bluestacks|\bnoxplayer|\bmemu\b"
)
"""Of the emulators of the SDK, Cuttlefish, Genymotion, redroid, Waydroid, Windows, and the players of games."""

VIRTUAL_PROPERTIES = (
    "ro.genymotion.",
    "ro.genyd.",
    "ro.boot.redroid",
    "ro.waydroid.",
    "waydroid.",
    "ro.boot.cuttlefish",
)

SECTIONS = {
    "properties": "getprop",
    "boot": "cat /proc/sys/kernel/random/boot_id",
    "page": "getconf PAGE_SIZE",
    "memory": "grep -m1 MemTotal /proc/meminfo",
    "features": "grep -m1 -E '^(Features|flags)' /proc/cpuinfo",
    "clocks": "for c in /sys/devices/system/cpu/cpu[0-9]*; do "
    "cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null || echo 0; done",
}


@dataclass(frozen=True)
class Identity:
    """What the phone says of itself; empty or None where it does not.

    Attributes:
        serial: what adb calls it.
        name: maker and model.
        soc: system on a chip, or the board's name.
        android: version people know, e.g. "14".
        api_level: Android's API level; 0 on a board without Android.
        security_patch: its date.
        fingerprint: of the build.
        abis: what it can run, best first.
        emulated: an emulator or a loopback phone; its times say nothing about any product.
        boot_id: changes with every start.
        page_bytes: memory page; 16 KB pages refuse libraries built for 4 KB.
        memory_bytes: of the whole device.
        core_mhz: highest clock of each core; 0 where unknown.
        features: those of `FEATURES` that the processor has.
    """

    serial: str
    name: str
    soc: str
    android: str
    api_level: int
    security_patch: str
    fingerprint: str
    abis: tuple[str, ...]
    emulated: bool
    boot_id: str
    page_bytes: int | None
    memory_bytes: int
    core_mhz: tuple[int, ...]
    features: tuple[str, ...]

    @property
    def clusters(self) -> str:
        """Cores by clock, e.g. "4 × 1800 MHz + 4 × 2800 MHz"."""
        clocks = sorted(set(self.core_mhz))
        return " + ".join(
            f"{self.core_mhz.count(mhz)} × {mhz} MHz" if mhz else f"{self.core_mhz.count(mhz)}" for mhz in clocks
        )

    def device(self, instrument: str) -> Device:
        """As a row says it."""
        name = f"{self.name} ({self.soc})" if self.soc else self.name
        system = (
            f"Android {self.android} (API {self.api_level}, patch {self.security_patch})" if self.api_level else "Linux"
        )
        return Device(
            kind="android",
            name=name,
            os=system,
            cores=max(1, len(self.core_mhz)),
            memory_bytes=self.memory_bytes,
            instrument=instrument,
            serial=self.serial,
            emulated=self.emulated,
        )


def identify(phone: Phone) -> Identity:
    """Ask the phone.

    Raises:
        UsageError: it has not finished starting.
        AdbFailed: it does not answer.
    """
    outputs = ask_sections(phone, SECTIONS)
    properties = dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", outputs["properties"], re.MULTILINE))
    if properties and properties.get("sys.boot_completed", "1") != "1":
        raise UsageError(f"{phone.serial} is still starting. Wait until its home screen is there, then run this again.")
    return Identity(
        serial=phone.serial,
        name=_name(properties) or phone.serial,
        soc=_joined(properties, "ro.soc.manufacturer", "ro.soc.model") or properties.get("ro.board.platform", ""),
        android=properties.get("ro.build.version.release", ""),
        api_level=int(properties.get("ro.build.version.sdk", "0") or 0),
        security_patch=properties.get("ro.build.version.security_patch", "unknown"),
        fingerprint=properties.get("ro.build.fingerprint", ""),
        abis=tuple(abi for abi in properties.get("ro.product.cpu.abilist", "").split(",") if abi),
        emulated=_is_emulated(phone.serial, properties),
        boot_id=outputs["boot"].strip(),
        page_bytes=_number(outputs["page"]),
        memory_bytes=(_number(outputs["memory"]) or 0) * 1024,
        core_mhz=tuple(int(khz) // 1000 for khz in re.findall(r"^\d+$", outputs["clocks"], re.MULTILINE)),
        features=tuple(feature for feature in FEATURES if feature in outputs["features"].split()),
    )


def boot_id(phone: Phone) -> str:
    """Changes with every start of the phone."""
    return phone.must(["cat", "/proc/sys/kernel/random/boot_id"]).strip()


def ask_sections(phone: Phone, sections: dict[str, str]) -> dict[str, str]:
    """Run several pieces of shell text in one call; the output of each by its name."""
    text = "\n".join(f"echo '@@{name}@@'\n{script}" for name, script in sections.items())
    parts = re.split(r"^@@(\w+)@@\r?\n", phone.script(text).stdout, flags=re.MULTILINE)
    outputs = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {name: outputs.get(name, "") for name in sections}


def _name(properties: dict[str, str]) -> str:
    maker, model = properties.get("ro.product.manufacturer", ""), properties.get("ro.product.model", "")
    # Many makers repeat their name in the model.
    return model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()


def _joined(properties: dict[str, str], *keys: str) -> str:
    return " ".join(properties[key] for key in keys if properties.get(key))


def _is_emulated(serial: str, properties: dict[str, str]) -> bool:
    if serial.startswith("emulator-") or any(properties.get(mark) == "1" for mark in QEMU):
        return True
    told = " ".join(properties.get(name, "") for name in TELLING).lower()
    return any(name.startswith(VIRTUAL_PROPERTIES) for name in properties) or bool(VIRTUAL.search(told))


def _number(text: str) -> int | None:
    digits = re.search(r"\d+", text)
    return int(digits.group()) if digits else None
