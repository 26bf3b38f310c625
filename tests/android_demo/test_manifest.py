"""What the app may do and who may start it, from its source manifest."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ANDROID = "{http://schemas.android.com/apk/res/android}"
MAIN = Path(__file__).parent.parent.parent / "android_demo/src/main"
COMPONENTS = ("activity", "activity-alias", "service", "receiver", "provider")


@pytest.fixture(scope="module")
def manifest() -> ElementTree.Element:
    return ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()


def is_launcher(component: ElementTree.Element) -> bool:
    return any(
        category.get(f"{ANDROID}name") == "android.intent.category.LAUNCHER"
        for category in component.iterfind("intent-filter/category")
    )


def test_the_camera_is_the_only_permission(manifest: ElementTree.Element) -> None:
    asked = [element.get(f"{ANDROID}name") for element in manifest if element.tag.startswith("uses-permission")]
    assert asked == ["android.permission.CAMERA"]


def test_the_camera_is_not_required(manifest: ElementTree.Element) -> None:
    features = {e.get(f"{ANDROID}name"): e.get(f"{ANDROID}required") for e in manifest.iterfind("uses-feature")}
    assert features == {"android.hardware.camera": "false"}


def test_only_the_launcher_is_open_to_everyone(manifest: ElementTree.Element) -> None:
    components = [e for tag in COMPONENTS for e in manifest.iterfind(f"application/{tag}")]
    assert all(e.get(f"{ANDROID}exported") in ("true", "false") for e in components)
    exported = [e for e in components if e.get(f"{ANDROID}exported") == "true"]
    unguarded = [e for e in exported if e.get(f"{ANDROID}permission") is None]
    assert [e.get(f"{ANDROID}name") for e in unguarded] == [".ui.ClassifyActivity"]
    assert is_launcher(unguarded[0])


def test_only_the_shell_starts_the_instrument(manifest: ElementTree.Element) -> None:
    (bench,) = (e for e in manifest.iterfind("application/activity") if e.get(f"{ANDROID}name") == ".BenchActivity")
    assert bench.get(f"{ANDROID}permission") == "android.permission.DUMP"
    assert bench.get(f"{ANDROID}process") == ":bench"
    survived = set((bench.get(f"{ANDROID}configChanges") or "").split("|"))
    assert {"orientation", "screenSize", "smallestScreenSize", "screenLayout", "uiMode", "density"} <= survived


def test_every_name_in_the_manifest_is_a_class(manifest: ElementTree.Element) -> None:
    for component in manifest.iterfind("application/activity"):
        name = component.get(f"{ANDROID}name", "").removeprefix(".").replace(".", "/")
        assert (MAIN / f"java/org/pocketdistill/demo/{name}.java").is_file()


def test_no_source_knows_a_model() -> None:
    """Sizes, labels and value ranges come from the bundle's manifests."""
    words = ("mobilenet", "resnet", "phantom", "imagenet", "0.485", "0.229")
    for path in MAIN.rglob("*.java"):
        text = path.read_text().lower()
        assert not [word for word in words if word in text], path


def test_nothing_asks_for_the_network() -> None:
    for path in MAIN.rglob("*.java"):
        assert "java.net" not in path.read_text(), path


@pytest.mark.parametrize(("format", "package"), [("executorch", "executorch"), ("litert", "ai-edge-litert")])
def test_the_app_carries_the_runtime_that_the_exporter_wrote_for(format: str, package: str) -> None:
    """These two promise nothing for files newer than themselves."""
    root = MAIN.parent.parent.parent
    pinned = re.search(rf"^{format} = .*:(.+)$", (root / "android_demo/runtimes.properties").read_text(), re.MULTILINE)
    locked = re.search(rf"^{package}==(\S+)", (root / "requirements.lock").read_text(), re.MULTILINE)
    assert pinned
    assert locked
    assert pinned[1] == locked[1]
