"""Each package uses only the product of the one before it: a walk over every import statement of the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOUNDATION = (
    "distill.contract",
    "distill.errors",
    "distill.page_style",
    "distill.system",
    "distill.terminal",
    "distill.version",
)
ALLOWED = {
    "distill.vision": ("distill.vision", *FOUNDATION),
    "distill": ("distill",),
    "export": ("export", "distill.vision", "distill.checkpoint", *FOUNDATION),
    "bench": (
        "bench",
        "export.artifact",
        "distill.vision.preprocess",
        "distill.vision.datasets",
        "distill.vision.tasks",
        *FOUNDATION,
    ),
    # It speaks the others' commands; of their code it knows the contracts, how a picture becomes an input and how an
    # answer is painted over it; its drawn screens show the embedded data.
    "android_demo": (
        "android_demo",
        "distill.checkpoint",
        "distill.vision.preprocess",
        "distill.vision.painting",
        "distill.vision.tasks",
        "distill.vision.datasets",
        "export.artifact.manifest",
        "bench.record",
        *FOUNDATION,
    ),
}
ROOMS = {
    "export": (
        "artifact",
        "graph",
        "quantize",
        "formats",
        "proof",
        "convert",
        "run",
        "networks",
        "doctor",
        "bundle",
        "__main__",
    ),
    "bench": (
        "record",
        "timing",
        "session",
        "protocol",
        "instruments",
        "cpu",
        "cuda",
        "android",
        "devices",
        "compare",
        "report",
        "measure",
        "__main__",
    ),
    "android_demo": ("golden_images", "golden_answers", "mock_screens", "preflight", "ship", "__main__"),
}
"""The rooms of a package from the ground up; a file imports from its own room and from those below it."""
OURS = ("distill", "export", "bench", "android_demo")
FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what is imported"
            names = [
                submodule if (ROOT / Path(*submodule.split("."))).with_suffix(".py").is_file() else node.module
                for alias in node.names
                if node.module
                for submodule in [f"{node.module}.{alias.name}"]
            ]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OURS)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_what_the_rule_allows_is_imported(path: Path) -> None:
    name = module_name(path)
    package = next(package for package in ALLOWED if is_inside(name, package))
    forbidden = [found for found in imported(path) if not any(is_inside(found, ok) for ok in ALLOWED[package])]
    # `from distill import checkpoint` names the package and means the module.
    assert not forbidden


def room_of(name: str) -> str | None:
    """The part of a module's name after its package; None for the package itself."""
    return name.split(".")[1] if "." in name else None


@pytest.mark.parametrize("path", [path for path in FILES if path.relative_to(ROOT).parts[0] in ROOMS], ids=module_name)
def test_no_file_imports_upwards_across_rooms(path: Path) -> None:
    name = module_name(path)
    package = name.split(".")[0]
    order, room = ROOMS[package], room_of(name)
    below = order[: order.index(room) + 1] if room else ()
    upwards = [other for other in imported(path) if is_inside(other, package) and room_of(other) not in (None, *below)]
    assert not upwards


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place_in_the_order(package: str) -> None:
    rooms = {room_of(module_name(path)) for path in FILES if is_inside(module_name(path), package)} - {None}
    assert rooms == set(ROOMS[package])


def test_the_walk_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text(
        "def f():\n    from distill.train import train\n    import bench.measure\n    from distill import checkpoint\n"
    )
    assert list(imported(file)) == ["distill.train", "bench.measure", "distill.checkpoint"]


def test_foundation_and_artifact_files_do_not_reach_up() -> None:
    for name in (*FOUNDATION, "export.artifact.manifest", "export.artifact.runner"):
        place = ROOT / Path(*name.split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        assert not [found for found in imported(path) if found in ("distill.train", "distill.config", "export.convert")]
