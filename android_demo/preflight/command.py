"""`python -m android_demo preflight APK`: what a store would refuse of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from android_demo.preflight.apk import bytes_by_part, read_apk
from android_demo.preflight.rules import TARGET_LEVEL, Asked, examine
from distill.contract import sha256_of_file
from distill.terminal import answer, console, product, say, table

CAMERA = "android.permission.CAMERA"


def preflight(
    apk: Annotated[Path, typer.Argument(help="The APK to look at.")],
    permission: Annotated[
        list[str] | None, typer.Option(help="That it may ask for; repeatable.", show_default="the camera's")
    ] = None,
    target_level: Annotated[int, typer.Option(min=1, help="Least API level that a store takes.")] = TARGET_LEVEL,
    version: Annotated[str | None, typer.Option(help="That it must have.", show_default="any")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Say what a store would refuse of an APK, and what takes how many bytes in it.

    Exit code 1 if a rule is broken.
    """
    read = read_apk(apk)
    findings = examine(read, Asked(tuple(permission or [CAMERA]), target_level, version))
    broken = [finding for finding in findings if not finding.is_kept]
    parts = dict(sorted(bytes_by_part(read).items(), key=lambda part: -part[1]))
    if as_json:
        document = {
            "apk": str(apk),
            "sha256": sha256_of_file(apk),
            "size_bytes": read.size_bytes,
            "bytes_by_part": parts,
            "findings": [asdict(finding) for finding in findings],
        }
        answer(json.dumps(document, indent=2))
        return 1 if broken else 0
    rows = [
        [finding.rule, "[green]kept[/]" if finding.is_kept else "[red]broken[/]", escape(finding.found)]
        for finding in findings
    ]
    console.print(table(escape(f"{apk}, {read.size_bytes:,} bytes"), ["rule", "", "found"], rows))
    console.print(table("bytes in it", ["part", "bytes"], [[name, f"{size:,}"] for name, size in parts.items()]))
    for finding in broken:
        say(f"[red]{escape(finding.rule)}:[/] {escape(finding.advice)}")
    if broken:
        say(f"[red]{len(broken)} of {len(findings)} rules are broken:[/] a store would refuse it")
        return 1
    product(apk, f"adb install -r {escape(str(apk))}")
    return 0
