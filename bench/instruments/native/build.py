"""Build the `native` instrument: `python -m bench.instruments.native.build [EXECUTORCH] [--compiler g++]`.

It is built from the headers and libraries of an `executorch` package, by default the installed one, which programs are
exported with. For another processor EXECUTORCH is an unpacked package; for a board with arm64, for example:

    uv pip install --no-deps --target arm64 --python-platform aarch64-manylinux_2_28 executorch==1.5.1
    python -m bench.instruments.native.build arm64/executorch --compiler aarch64-linux-gnu-g++

The libraries of the package are built for glibc: boards with Linux run them, Android's own libc does not.
"""

import os
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

import typer

from distill.errors import UsageError, WorkFailed
from distill.terminal import product, run

SOURCE = Path(__file__).with_name("runner.cpp")
LIBRARIES = (
    "executorch",
    "executorch_kernels_optimized",
    "executorch_kernels_quantized",
    "executorch_backend_xnnpack",
    "executorch_threadpool",
    "executorch_etdump",
)
ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}
BUILD_TIMEOUT_S = 300


def native_folder(abi: str) -> Path:
    """Where the runner for an ABI lies, with its libraries."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pocket-distill" / "native" / abi


def installed() -> Path:
    """The folder of the installed executorch package, which is not imported.

    Raises:
        UsageError: there is none.
    """
    try:
        return Path(str(distribution("executorch").locate_file("executorch")))
    except PackageNotFoundError:
        raise UsageError("executorch is not installed here. Run make setup, or give an unpacked package.") from None


def build(package: Path, *, compiler: str = "g++") -> Path:
    """Build the runner from an executorch package; returns its folder.

    Raises:
        UsageError: no compiler, or a package without headers or libraries.
        WorkFailed: it does not compile.
    """
    if shutil.which(compiler) is None:
        raise UsageError(f"there is no compiler {compiler!r}. Install it (Debian: apt install g++), or name another.")
    missing = [name for name in LIBRARIES if not (package / "lib" / f"lib{name}.so").is_file()]
    if missing:
        raise UsageError(
            f"{package} has no lib/lib{missing[0]}.so. Give the folder of an executorch package, version 1.5 or newer."
        )
    machine = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    folder = native_folder(ABIS[machine.split("-")[0]])
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        _command(compiler, package, folder / "runner"), capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
    )
    if done.returncode != 0:
        raise WorkFailed(f"{SOURCE.name} does not compile with {compiler}: {done.stderr[-600:]}")
    for name in LIBRARIES:
        shutil.copy2(package / "lib" / f"lib{name}.so", folder)
    return folder


def _command(compiler: str, package: Path, target: Path) -> list[str]:
    include = package / "include"
    return [
        compiler,
        "-std=c++17",
        "-O2",
        "-w",
        # As the package's own headers ask for.
        "-DC10_USING_CUSTOM_GENERATED_MACROS",
        "-DET_EVENT_TRACER_ENABLED",
        f'-DEXECUTORCH_VERSION="{_version(package)}"',
        f"-I{include}",
        f"-I{include / 'executorch/runtime/core/portable_type/c10'}",
        str(SOURCE),
        "-o",
        str(target),
        f"-L{package / 'lib'}",
        "-Wl,-rpath,$ORIGIN",
        "-Wl,--allow-shlib-undefined",
        # Kernels and backends register themselves; nothing in the source names them.
        "-Wl,--no-as-needed",
        *(f"-l{name}" for name in LIBRARIES),
    ]


def _version(package: Path) -> str:
    path = package / "version.py"
    match = re.search(r"^__version__\s*=\s*['\"]([\w.]+)", path.read_text() if path.is_file() else "", re.MULTILINE)
    if not match:
        raise UsageError(f"{package} does not say which version it is. Give the folder of an executorch package.")
    return match.group(1)


def main(
    executorch: Annotated[
        Path | None, typer.Argument(help="An executorch package; default: the installed one.")
    ] = None,
    compiler: Annotated[str, typer.Option(help="C++17 compiler for the device's processor.")] = "g++",
) -> None:
    """Build the native instrument."""
    product(build(executorch or installed(), compiler=compiler), "python -m bench --device android --instrument native")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run(app)
