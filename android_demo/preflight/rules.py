"""What is looked at: one function per rule, in the order of `RULES`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from android_demo.preflight.apk import Apk
from android_demo.preflight.binary_xml import Element
from android_demo.preflight.elf import load_segments

PAGE_BYTES = 16384
"""Since 1 November 2025 Google Play wants 64-bit libraries to run on phones whose memory pages are that large."""
TARGET_LEVEL = 36
"""What Google Play wants of new apps since 31 August 2026; it rises by one each year."""
LARGEST_VERSION_CODE = 2_100_000_000
ABIS_OF_64_BITS = ("arm64-v8a", "x86_64", "riscv64")
COMPONENTS = ("activity", "activity-alias", "service", "receiver", "provider")
SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """What the app is meant to be.

    Attributes:
        permissions: that it may ask for.
        target_level: least API level that it must be made for.
        version: that it must have; None for any.
    """

    permissions: tuple[str, ...]
    target_level: int = TARGET_LEVEL
    version: str | None = None


@dataclass(frozen=True)
class Finding:
    """The outcome of one rule; `advice` is empty where it is kept."""

    rule: str
    is_kept: bool
    found: str
    advice: str = ""


Rule = Callable[[Apk, Asked], Finding]


def examine(apk: Apk, asked: Asked) -> list[Finding]:
    """Every rule, kept or broken."""
    return [rule(apk, asked) for rule in RULES]


def pages(apk: Apk, asked: Asked) -> Finding:
    """Every LOAD segment of every 64-bit library can be mapped with pages of 16 KB."""
    libraries = [(abi, file) for abi, file in apk.libraries() if abi in ABIS_OF_64_BITS]
    broken: list[str] = []
    for _, file in libraries:
        for segment in load_segments(apk.read(file), file.name):
            if not segment.fits(PAGE_BYTES):
                broken.append(f"{file.name} (aligned to {segment.align} bytes)")
                break
    if broken:
        advice = "Link with -Wl,-z,max-page-size=16384, take a newer version of the runtime, or leave that runtime out."
        return Finding("16 KB pages in libraries", False, listed(broken), advice)
    found = f"{len(libraries)} libraries of 64 bits fit" if libraries else "there are no libraries of 64 bits"
    return Finding("16 KB pages in libraries", True, found)


def archive(apk: Apk, asked: Asked) -> Finding:
    """What Android maps from the archive lies where it can be mapped."""
    libraries = {file.name: PAGE_BYTES if abi in ABIS_OF_64_BITS else 4096 for abi, file in apk.libraries()}
    broken = [
        f"{file.name} (at byte {file.offset})"
        for file in apk.files
        if file.is_stored and file.offset % libraries.get(file.name, 4)
    ]
    broken += [
        f"{file.name} (compressed)" for file in apk.files if file.name == "resources.arsc" and not file.is_stored
    ]
    if broken:
        return Finding("alignment of the archive", False, listed(broken), "zipalign -P 16 4 IN OUT, then sign again.")
    stored = sum(file.is_stored for file in apk.files)
    return Finding("alignment of the archive", True, f"{stored} stored files are aligned")


def components(apk: Apk, asked: Asked) -> Finding:
    """Other apps start the launcher's screen and nothing else, unless a permission guards it."""
    unguarded: list[str] = []
    silent: list[str] = []
    guarded = 0
    for component in _components(apk.manifest):
        name = f"{component.tag} {component.attributes.get('name')}"
        exported = component.attributes.get("exported")
        if exported is None and any(component.all("intent-filter")):
            silent.append(name)
        if exported and not _is_launcher(component):
            is_guarded = _is_guarded(component)
            guarded += is_guarded
            unguarded += [] if is_guarded else [name]
    if unguarded or silent:
        found = [f"{each} is exported without a permission" for each in unguarded]
        found += [f"{each} does not say whether it is exported" for each in silent]
        return Finding("components", False, listed(found), 'Set android:exported="false", or android:permission.')
    return Finding("components", True, f"exported: the launcher's screen and {guarded} guarded by a permission")


def permissions(apk: Apk, asked: Asked) -> Finding:
    """Nothing is asked of the user but what the app is meant to ask."""
    wanted = [
        str(each.attributes.get("name"))
        for each in apk.manifest.all("uses-permission", "uses-permission-sdk-23", "uses-permission-sdk-m")
    ]
    more = [name for name in wanted if name not in asked.permissions]
    if more:
        advice = "Remove it (a library may bring it: tools:node=remove), or allow it with --permission."
        return Finding("permissions", False, f"asks for {listed(more)}", advice)
    return Finding("permissions", True, ", ".join(wanted) or "none")


def debugging(apk: Apk, asked: Asked) -> Finding:
    """It is no build for debugging or testing."""
    application = next(apk.manifest.all("application"), Element("application", {}))
    flags = [flag for flag in ("debuggable", "testOnly") if application.attributes.get(flag)]
    if flags:
        return Finding("debugging", False, f"android:{listed(flags)} is set", "Build the release: make app.")
    return Finding("debugging", True, "neither debuggable nor for tests only")


def version(apk: Apk, asked: Asked) -> Finding:
    """It has a version that a store can count, and the one that it should have."""
    code, name = (apk.manifest.attributes.get(f"version{part}") for part in ("Code", "Name"))
    is_counted = isinstance(code, int) and 0 < code <= LARGEST_VERSION_CODE
    is_named = bool(name) and asked.version in (None, name)
    found = f"{name} ({code})"
    if not (is_counted and is_named):
        expected = f"the name {asked.version} and " if asked.version else "a name and "
        return Finding("version", False, found, f"Expected {expected}a code from 1 to {LARGEST_VERSION_CODE}.")
    return Finding("version", True, found)


def target(apk: Apk, asked: Asked) -> Finding:
    """It is made for an Android as new as a store wants."""
    sdk = next(apk.manifest.all("uses-sdk"), Element("uses-sdk", {})).attributes
    level, least = sdk.get("targetSdkVersion"), sdk.get("minSdkVersion")
    found = f"target {level}, from {least} on"
    if not isinstance(level, int) or level < asked.target_level:
        return Finding("target level", False, found, f"Stores want {asked.target_level}: raise targetSdk.")
    return Finding("target level", True, found)


def signature(apk: Apk, asked: Asked) -> Finding:
    """It carries a signature of scheme 2 or newer."""
    if apk.has_signature_block:
        return Finding("signature", True, "scheme 2 or newer (apksigner verify says whether it is right)")
    return Finding("signature", False, "no signature block", "apksigner sign, after zipalign.")


RULES: tuple[Rule, ...] = (pages, archive, components, permissions, debugging, version, target, signature)


def listed(names: list[str]) -> str:
    """The first few of some names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _components(manifest: Element) -> Iterator[Element]:
    for application in manifest.all("application"):
        yield from application.all(*COMPONENTS)


def _is_launcher(component: Element) -> bool:
    for intent in component.all("intent-filter"):
        names = {str(each.attributes.get("name")) for each in intent.all("action", "category")}
        if {"android.intent.action.MAIN", "android.intent.category.LAUNCHER"} <= names:
            return True
    return False


def _is_guarded(component: Element) -> bool:
    attributes = component.attributes
    if component.tag == "provider":
        both = attributes.get("readPermission") and attributes.get("writePermission")
        return bool(attributes.get("permission") or both)
    return bool(attributes.get("permission"))
