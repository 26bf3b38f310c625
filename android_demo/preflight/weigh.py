"""`python -m android_demo weigh`: what each runtime adds to the app, by a built app or by the runtimes' packages."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from android_demo.preflight.apk import Apk, read_apk, runtime_of
from bench.record.carried import RUNTIME_BYTES, CarriedRuntime, RuntimeBytes
from distill.errors import UsageError
from distill.terminal import answer, console, product, say, table

RUNTIMES_FILE = Path(__file__).resolve().parents[1] / "runtimes.properties"
LIST_IN_APK = "assets/runtimes.properties"
"""Of the runtimes that were packed, in the same form."""

BUILT = Path(__file__).resolve().parents[1] / "build/outputs/apk/release"
PACKAGES = (Path("~/.gradle/caches/modules-2/files-2.1"), Path("~/.m2/repository"))
"""Where Gradle and Maven keep what they have fetched."""

ABI = "arm64-v8a"


def weigh_command(
    apk: Annotated[
        Path | None, typer.Option(help="A built app.", show_default="the one that make app built last, if it is there")
    ] = None,
    packages: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with the runtimes' .aar files; repeatable.", show_default="Gradle's and Maven's own"),
    ] = None,
    abi: Annotated[str, typer.Option(help="Kind of processor.")] = ABI,
    out: Annotated[Path, typer.Option(help="File to write.")] = RUNTIME_BYTES,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Weigh the runtimes that an app carries, for `bench choose` and `bench plan` to count with each model.

    A built app says it best; a runtime that is not in it is weighed in its own package, as Gradle or Maven has fetched
    it. Counted are native libraries for one ABI as they lie in the app; they are stored and not compressed.
    """
    weighed, missing = weigh(apk, packages, abi)
    for name, archive in missing.items():
        say(f"[yellow]not weighed:[/] {escape(name)}: neither an app nor a package {escape(archive)} is here")
    if not weighed.runtimes:
        raise UsageError(
            "no runtime could be weighed. Build the app (make app), name one with --apk, or a folder with the "
            f"runtimes' packages with --packages; {RUNTIMES_FILE.name} says which."
        )
    weighed.write(out)
    if as_json:
        answer(weighed.to_json())
        return
    rows = [
        [name, runtime.archive, f"{runtime.size_bytes / 1e6:.2f}", runtime.weighed_in]
        for name, runtime in sorted(weighed.runtimes.items())
    ]
    console.print(table(f"runtimes on {abi}", ["format", "archive", "MB", "weighed in"], rows))
    product(out, "python -m bench choose --device android counts it with each model")


def weigh(
    apk: Path | None = None, packages: list[Path] | None = None, abi: str = ABI
) -> tuple[RuntimeBytes, dict[str, str]]:
    """(what was weighed, archives of the runtimes that could not be, by format).

    Args:
        apk: a built app; None for the one that was built last, if there is one.
        packages: folders to look for `.aar` files in; None for Gradle's and Maven's.
        abi: whose libraries count.

    Raises:
        UsageError: an app or a package that cannot be read.
    """
    wanted = _listed(RUNTIMES_FILE.read_text())
    apk = apk or max(BUILT.glob("*-release.apk"), key=lambda path: path.stat().st_mtime, default=None)
    found = _in_app(read_apk(apk), abi) if apk else {}
    for name, archive in wanted.items():
        package = None if name in found else _package(archive, packages or [each.expanduser() for each in PACKAGES])
        if package is not None:
            found[name] = CarriedRuntime(archive=archive, size_bytes=_in_package(package, abi), weighed_in=package.name)
    missing = {name: archive for name, archive in wanted.items() if name not in found}
    return RuntimeBytes(abi=abi, runtimes=found), missing


def _in_app(apk: Apk, abi: str) -> dict[str, CarriedRuntime]:
    """Every runtime that the app lists. Libraries that belong to none by name are shared, and count with each."""
    listing = next((file for file in apk.files if file.name == LIST_IN_APK), None)
    archives = _listed(apk.read(listing).decode()) if listing else {}
    sizes: dict[str | None, int] = {}
    for of, file in apk.libraries():
        if of == abi:
            name = runtime_of(file.name)
            sizes[name] = sizes.get(name, 0) + file.packed_bytes
    return {
        name: CarriedRuntime(archive=archive, size_bytes=sizes[name] + sizes.get(None, 0), weighed_in=apk.path.name)
        for name, archive in archives.items()
        if name in sizes
    }


def _in_package(package: Path, abi: str) -> int:
    try:
        with zipfile.ZipFile(package) as archive:
            entries = [each for each in archive.infolist() if each.filename.startswith(f"jni/{abi}/")]
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{package} cannot be read as an Android package: {error}. Fetch it again.") from error
    return sum(each.file_size for each in entries if each.filename.endswith(".so"))


def _package(archive: str, folders: list[Path]) -> Path | None:
    """The .aar of an archive, in a flat folder or where Gradle or Maven keeps it."""
    return next((path for folder in folders for path in _candidates(archive, folder) if path.is_file()), None)


def _candidates(archive: str, folder: Path) -> Iterator[Path]:
    group, artifact, version = archive.split(":")
    name = f"{artifact}-{version}.aar"
    yield folder / name
    yield folder / group.replace(".", "/") / artifact / version / name
    yield from sorted((folder / group / artifact / version).glob(f"*/{name}"))


def _listed(text: str) -> dict[str, str]:
    """Lines `format = group:artifact:version` as archives by format."""
    return dict(re.findall(r"^\s*([\w-]+)\s*=\s*(\S+:\S+:\S+)\s*$", text, re.MULTILINE))
