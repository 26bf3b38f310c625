"""Debian packages of another suite, unpacked into a folder; the machine's own apt state is not touched."""

import fcntl
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path("/etc/apt")
FETCH_TIMEOUT_S = 300


class Unavailable(Exception):
    """The packages cannot be had on this machine; the text says why."""


@dataclass(frozen=True)
class Archive:
    """Where this machine gets its packages from, as its own apt says."""

    uri: str
    components: str
    signed_by: str | None


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A kept folder that appears whole: `make(elsewhere)` makes it if need be, while other processes wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder


def fetch(packages: list[str], *, suite: str, keep: str, into: Path, architecture: str = "amd64") -> None:
    """Download packages with all they depend on and unpack them into one root.

    Args:
        packages: names.
        suite: Debian suite, e.g. trixie.
        keep: regular expression; of the dependencies, only packages that match are taken.
        into: the root; made anew.
        architecture: Debian's name of the processor they are for.

    Raises:
        Unavailable: no apt here, no network, or the suite has no such package.
    """
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no {program} on this machine")
    state = into.parent / "apt"
    options = _private_state(state, suite, architecture)
    _apt(options, ["update"])
    planned = _apt(options, ["install", "--no-install-recommends", "-y", "-s", *packages])
    names = re.findall(r"^Inst (\S+)", planned, re.MULTILINE)
    wanted = [name for name in names if name in packages or re.fullmatch(keep, name)]
    downloads = into.parent / "packages"
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    _apt(options, ["download", *wanted], folder=downloads)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for package in sorted(downloads.glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, into], check=True, timeout=FETCH_TIMEOUT_S)
    shutil.rmtree(state)
    shutil.rmtree(downloads)


def _private_state(state: Path, suite: str, architecture: str) -> list[str]:
    archive = _archive()
    for folder in ("lists/partial", "cache/archives/partial", "sources", "state"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    # An empty status file: nothing counts as installed, so apt plans the whole closure.
    (state / "status").write_text("")
    lines = ["Types: deb", f"URIs: {archive.uri}", f"Suites: {suite}", f"Components: {archive.components}"]
    if archive.signed_by:
        lines.append(f"Signed-By: {archive.signed_by}")
    (state / "sources" / "other.sources").write_text("\n".join(lines) + "\n")
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": state / "sources",
        "Dir::State": state / "state",
        "Dir::State::Lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _apt(options: list[str], words: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(
        ["apt-get", "-qq", *options, *words], cwd=folder, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
    )
    if done.returncode != 0:
        raise Unavailable(f"apt-get {words[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _archive() -> Archive:
    for path in sorted(SOURCES.glob("sources.list.d/*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):\s*(.+)$", paragraph, re.MULTILINE))
            suites = fields.get("Suites", "").split()
            if fields.get("Types", "").startswith("deb") and suites and not suites[0].endswith("-security"):
                return Archive(fields["URIs"].split()[0], fields.get("Components", "main"), fields.get("Signed-By"))
    for path in (SOURCES / "sources.list", *sorted(SOURCES.glob("sources.list.d/*.list"))):
        found = re.search(
            r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?!\S*-security)\S+\s+(?P<components>.+)$",
            path.read_text() if path.is_file() else "",
            re.MULTILINE,
        )
        if found:
            signed = re.search(r"signed-by=(\S+)", found["options"] or "")
            return Archive(found["uri"], found["components"], signed[1] if signed else None)
    raise Unavailable("this machine's apt names no Debian archive")
