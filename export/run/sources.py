"""Which of our own files decide what an artifact is: those that its exporter and its runner import, and so on."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from distill.contract import sha256_of_file, sha256_of_json

ROOT = Path(__file__).resolve().parents[2]
DECIDING = ("export", "distill.vision", "distill.checkpoint")
"""Other files of ours do not change an artifact: terminal, errors, training."""


def sources_sha256(modules: Iterable[str]) -> str:
    """Identity of the modules and of everything deciding that they import, wherever in a file the import stands."""
    files = sorted(closure(modules))
    return sha256_of_json([[file.relative_to(ROOT).as_posix(), sha256_of_file(file)] for file in files])


def closure(modules: Iterable[str]) -> set[Path]:
    """Files of the modules and of all they import, directly or not; read, not imported."""
    files: set[Path] = set()
    waiting = [path for module in modules for path in _files(module)]
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        waiting += [file for name in _imported(path) for file in _files(name)]
    return files


@cache
def _imported(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def _files(name: str) -> Iterator[Path]:
    """The file of a dotted name, or of the module that the name is in, and the `__init__.py` of packages above."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        prefix = ".".join(parts[:length])
        if not any(prefix == part or prefix.startswith(part + ".") for part in DECIDING):
            continue
        base = ROOT.joinpath(*parts[:length])
        yield from (path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())
