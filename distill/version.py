"""Which version of this package is running."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = "pocket-distill"


@cache
def toolkit_version() -> str:
    """The installed version, or that of the source tree this file lies in."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text("utf-8"))
        return f"{project['project']['version']}+source"
