"""What goes out: the bundle with the winner; for phones the app around it, looked at, installed and tried."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from rich.markup import escape

from android_demo.ship.commands import Ended
from android_demo.ship.ground import Ground, Phone
from android_demo.ship.question import Question
from android_demo.ship.record import App, Candidate, FileIdentity
from android_demo.ship.steps import Steps
from bench.record import read_journal
from distill.contract import sha256_of_file, sha256_of_json
from distill.errors import WorkFailed
from distill.terminal import say

APP_FOLDER = Path(__file__).resolve().parents[1]
INDEX_FILE = "bundle.json"
APK_FILE = "app.apk"
TRIAL_JOURNAL = "installed.jsonl"
TRIAL_PICTURES = 1


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


def build(question: Question, ground: Ground, winner: Candidate, packed: FileIdentity, steps: Steps) -> App | None:
    """The app with the bundle in it; None where nothing here can build it, or the build failed, which is said.

    With Gradle and an Android SDK it has the runtime of the winner and can be installed; with Debian's tools alone it
    has none and shows that all the rest fits.
    """
    has_runtimes = shutil.which("gradle") is not None and any(
        os.environ.get(name) for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT")
    )
    if not has_runtimes and not all(shutil.which(name) for name in ("javac", "apt-get", "dpkg-deb")):
        say("[yellow]no app:[/] neither Gradle with an Android SDK nor a JDK with apt is here")
        return None
    script = APP_FOLDER / ("app.sh" if has_runtimes else "check.sh")
    apk = steps.folder / APK_FILE

    def keep(ended: Ended) -> None:
        path = re.search(r"^(/.*?\.apk)(?:: \d+ bytes)?$", ended.stdout, re.MULTILINE)
        if path is None:
            raise WorkFailed(f"{script.name} did not say where the app lies; it told: {ended.stdout[-300:]}")
        shutil.copyfile(path[1], apk)

    try:
        steps.do(
            f"build the app with {'its runtime' if has_runtimes else 'Debian’s tools alone, without a runtime'}",
            "",
            [script, Path(packed.path).parent.resolve()],
            deciding={"bundle": packed.sha256, "app": _sources()},
            learn=keep,
            products=lambda _: [apk],
        )
    except WorkFailed as error:
        say(f"[yellow]no app:[/] {escape(str(error))}")
        return None
    looked_at = steps.do(
        "look at the app as a store does",
        "android_demo",
        ["preflight", apk, "--json"],
        deciding=sha256_of_file(apk),
        learn=lambda ended: ended.document(),
        fine=(0, 1),
    )
    told: Any = looked_at.answer
    app = App(
        apk=FileIdentity(path=str(apk), sha256=told["sha256"]),
        size_bytes=told["size_bytes"],
        bytes_by_part=told["bytes_by_part"],
        has_runtimes=has_runtimes,
        broken_rules=tuple(f"{each['rule']}: {each['found']}" for each in told["findings"] if not each["is_kept"]),
        installed=False,
        tried="",
    )
    return _installed(app, question, ground, winner, steps) if question.install else app


def _installed(app: App, question: Question, ground: Ground, winner: Candidate, steps: Steps) -> App:
    """The app on the phone, and one picture through it."""
    if not app.has_runtimes:
        return app.model_copy(
            update={"tried": "not installed: it was built without a runtime (needs Gradle and an SDK)"}
        )
    if app.broken_rules:
        return app.model_copy(update={"tried": "not installed: a store would refuse it"})
    tried = [_install_on(phone, app, ground, winner, steps) for phone in ground.phones]
    return app.model_copy(update={"installed": True, "tried": "; ".join(tried)})


def _install_on(phone: Phone, app: App, ground: Ground, winner: Candidate, steps: Steps) -> str:
    assert ground.adb is not None, "a phone was found by it"
    install = [ground.adb, "install", "-r", app.apk.path]
    deciding: JsonValue = {"apk": app.apk.sha256, "phone": phone.serial}
    steps.do(f"install the app on {phone.words}", "", install, deciding=deciding, serial=phone.serial)
    journal = steps.folder / TRIAL_JOURNAL
    steps.do(
        "one picture through the installed app",
        "bench",
        [winner.folder, "--device", "android", "--accuracy", TRIAL_PICTURES, "--launches", "1", "--out", journal],
        deciding=deciding,
        fine=(0, 1),
        serial=phone.serial,
    )
    row = read_journal(journal).measurements[-1]
    if row.answered is None or row.answered.host_agreement is None:
        return f"no picture could be compared: {row.reason or row.measured_note or 'the phone did not answer'}"
    same = row.answered.host_agreement == 1
    return f"one picture through it: {'the same answer as' if same else 'another answer than'} on this machine"


def _sources() -> str:
    """Identity of what the app is built from."""
    files = sorted(path for path in (APP_FOLDER / "src/main").rglob("*") if path.is_file())
    more = [APP_FOLDER / name for name in ("check.sh", "app.sh", "build.gradle", "runtimes.properties")]
    return sha256_of_json([sha256_of_file(path) for path in (*files, *more)])
