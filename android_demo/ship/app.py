"""What goes out: the bundle with the winner, for the app or for any program that reads a manifest."""

from pathlib import Path

from android_demo.ship.record import Candidate, FileIdentity
from android_demo.ship.steps import Steps
from distill.contract import sha256_of_file

INDEX_FILE = "bundle.json"


def bundle(winner: Candidate, journal: Path, steps: Steps) -> FileIdentity:
    """The folder that the app packs, with the winner alone in it."""
    out = steps.folder / "bundle"
    steps.do(
        "bundle",
        "export",
        ["bundle", str(winner.folder), "--out", out, "--measurements", journal, "--json"],
        deciding={"winner": winner.manifest_sha256, "journal": sha256_of_file(journal)},
        products=lambda _: [out / INDEX_FILE],
    )
    return FileIdentity(path=str(out / INDEX_FILE), sha256=sha256_of_file(out / INDEX_FILE))
