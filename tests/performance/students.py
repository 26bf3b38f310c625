"""Networks of the table in every usual format and precision: python -m tests.performance.students [NAMES].

Each network gets random weights whose statistics and logits are fitted to made pictures (`--untrained`), goes through
the export command at the size of its board, and leaves one file of results; what is unchanged is not made again, so
that it may be ended and started at any time (`nice -n 10` leaves the machine to others). `--write` makes of them the
board's page, results/students.md or results/cifar-networks.md, and what `distill list --models` tells.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from distill import terminal
from distill.errors import UsageError
from distill.terminal import say
from distill.vision.models import MODELS, cifar, proven
from distill.vision.models.from_timm import FromTimm
from distill.vision.models.proven import Artifact, Network
from distill.vision.preprocess import Preprocess
from export.proof.made_images import synthetic_images

NUM_CLASSES = 10
NUM_CALIBRATED = 8
NUM_JUDGED = 16

OTHERS = (
    "timm:convnextv2_atto",
    "timm:efficientvit_b0",
    "timm:efficientvit_m0",
    "timm:hardcorenas_a",
    "timm:levit_128s",
    "timm:mambaout_femto",
    "timm:mobilevit_xxs",
    "timm:repghostnet_050",
    "timm:resnetv2_50x1_bit",
    "timm:swiftformer_xs",
    "timm:vit_tiny_patch16_224",
)
"""Beside those of the table, for what toolchains make of them."""

FORMATS = "torchscript,executorch,onnx,coreml,litert"
OUT = Path("out/students")

FLOATS = ("torchscript fp32", "executorch fp32", "onnx fp32", "coreml fp32", "coreml fp16", "litert fp32")
COLUMNS = (*FLOATS, "coreml int8-weights", "executorch int8", "onnx int8", "litert int8")

INTRODUCTION = """# {title}

{count} networks, {artifacts} artifacts, made by `python -m tests.performance.students --board {board}` and written with
`--write`: {size_px} px, 10 classes, batch 1. **Weights are random**: drawn, then statistics and logits fitted to made
pictures, so that answers differ from picture to picture as a trained network's do; what a toolchain computes wrongly
shows, what int8 costs a *trained* network does not. fp32 and fp16 are right if their logits are eager's up to rounding
and their answers are eager's on 16 pictures of noise: {right} of {floats}. int8 shows the share of equal answers on
these pictures, with ranges of 8 others; random weights have narrower margins than trained ones. {failed} artifacts
could not be made. Seconds are of a machine that many others used too, and only tell long from short. Core ML is
proven by the interpreter that reads its packages. What is empty was not made yet.{more}

Toolchains: {packages}.

"""


@dataclass(frozen=True)
class Board:
    """Networks that are shown on one page, with pictures of one size; `more` says where more stands of them."""

    title: str
    page: Path
    size_px: int
    networks: tuple[str, ...]
    more: str = ""


BOARDS = {
    "students": Board(
        "Today's mobile networks in every format",
        Path("results/students.md"),
        224,
        (*(name for name, make in MODELS.items() if isinstance(make, FromTimm)), *OTHERS),
        "\nPieces and latency before and after the rewrites stand in [rewritten.md](rewritten.md), what trained ones"
        " keep in\n[students-trained](students-trained/README.md).",
    ),
    "cifar": Board(
        "The networks of the CRD protocol in every format",
        Path("results/cifar-networks.md"),
        32,
        tuple(cifar.NETWORKS),
    ),
}


def pictures(folder: Path, size_px: int) -> Path:
    """A folder of made pictures to calibrate with and to judge on, other ones than the weights were fitted to."""
    sees = Preprocess(size_px=size_px, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for number, pixels in enumerate(synthetic_images(sees, seed=1)[: NUM_CALIBRATED + NUM_JUDGED]):
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def export(name: str, size_px: int, formats: str, out: Path) -> None:
    """Make one network's artifacts, and keep what came of them beside what is kept of other formats."""
    folder = out / name.replace(":", "-")
    words = f"--untrained {NUM_CLASSES} --size {size_px} --resize stretch --jobs 1 --json --memory-gib 8"
    words += f" --calibration-images {NUM_CALIBRATED} --parity-images {NUM_JUDGED} --timeout 1800 --format {formats}"
    command = [sys.executable, "-m", "export", "--model", name, *words.split(), "--out", str(folder)]
    command += ["--name", folder.name, "--calibration-folder", str(pictures(out / f"pictures-{size_px}", size_px))]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if not made.stdout.strip():
        say(f"[red]{name}: nothing came of it (exit code {made.returncode})[/]")
        return
    kept = out / f"{folder.name}.json"
    before = {key(one): one for one in json.loads(kept.read_text())} if kept.is_file() else {}
    results: list[dict[str, Any]] = json.loads(made.stdout)
    for one in results:
        if one["status"] == "unchanged" and key(one) in before:
            one |= {"seconds": before[key(one)]["seconds"], "status": "made"}
        elif one["cause"] and one["cause"].startswith("refused before") and key(one) in before:
            one |= {"seconds": before[key(one)]["seconds"], "cause": before[key(one)]["cause"]}
    after = before | {key(one): one for one in results}
    kept.write_text(json.dumps(list(after.values()), indent=1))


def key(result: dict[str, Any]) -> str:
    """Format and precision."""
    return f"{result['format']} {result['precision']}"


def collect(board: Board, outs: Sequence[Path]) -> dict[str, Network]:
    """What is kept of every network, in the order of the page."""
    networks: dict[str, Network] = {}
    for name in board.networks:
        files = [out / f"{name.replace(':', '-')}.json" for out in outs]
        results = {key(one): one for file in files if file.is_file() for one in json.loads(file.read_text())}
        if results:
            networks[name] = network([results[each] for each in COLUMNS if each in results], board.size_px)
    return networks


def network(results: Sequence[dict[str, Any]], size_px: int) -> Network:
    """One network's results."""
    manifests = [one["manifest"] for one in results if one["manifest"]]
    return Network(
        size_px=size_px,
        num_classes=NUM_CLASSES,
        parameters=manifests[0]["num_parameters"] if manifests else None,
        macs=manifests[0]["macs"] if manifests else None,
        artifacts={key(one): artifact(one) for one in results},
    )


def artifact(result: dict[str, Any]) -> Artifact:
    """One result, without what only its folder needs to say."""
    manifest = result["manifest"] or {}
    parity, delegation = manifest.get("parity") or {}, manifest.get("delegation")
    return Artifact(
        verdict=parity.get("verdict", "failed"),
        agreement=parity.get("top1_agreement"),
        max_abs_difference=parity.get("max_abs_difference"),
        size_bytes=result["size_bytes"],
        pieces=delegation["pieces"] if delegation else None,
        outside=sum(delegation["undelegated"].values()) if delegation else None,
        seconds=result["seconds"],
        cause=result["cause"] and re.sub(r"(?<![\w.])/\S*/", "", result["cause"]),  # no folders of one machine
        versions=manifest.get("versions") or {},
    )


def page(board: str, networks: dict[str, Network], note: str) -> str:
    """Four tables, and what every refusal says."""
    artifacts = [one for each in networks.values() for one in each.artifacts.values()]
    packages = sorted({f"{name} {version}" for one in artifacts for name, version in one.versions.items()})
    notes: list[str] = []

    def verdicts(name: str, column: str, one: Artifact) -> str:
        if column in FLOATS and one.verdict != "pass":
            notes.append(f"{len(notes) + 1}. {name}, {column}: {one.cause or one.verdict}")
            return f"{one.verdict} [{len(notes)}]"
        if one.verdict == "failed":
            notes.append(f"{len(notes) + 1}. {name}, {column}: {one.cause}")
            return f"failed [{len(notes)}]"
        return "right" if column in FLOATS else f"{one.agreement:.0%}"

    def megabytes(name: str, column: str, one: Artifact) -> str:
        return f"{one.size_bytes / 1e6:.2f}" if one.size_bytes else ""

    def pieces(name: str, column: str, one: Artifact) -> str:
        return "" if one.pieces is None else f"{one.pieces}+{one.outside}"

    def seconds(name: str, column: str, one: Artifact) -> str:
        return f"{one.seconds:.0f}"

    tables = {
        "Right or not": verdicts,
        "Megabytes": megabytes,
        "Pieces that the backend takes + operations outside": pieces,
        "Seconds to export and prove": seconds,
    }
    shown = {title: table(networks, cell) for title, cell in tables.items()}
    floats = [one for each in networks.values() for name, one in each.artifacts.items() if name in FLOATS]
    return "\n".join(
        [
            INTRODUCTION.format(
                title=BOARDS[board].title,
                board=board,
                size_px=BOARDS[board].size_px,
                count=len(networks),
                artifacts=len(artifacts),
                right=sum(one.verdict == "pass" for one in floats),
                floats=len(floats),
                failed=sum(one.verdict == "failed" for one in artifacts),
                packages=", ".join(packages),
                more=BOARDS[board].more,
            ),
            *([note, ""] if note else []),
            *(line for title, text in shown.items() for line in (f"## {title}", "", text, "")),
            *(["## What was refused or failed", "", *notes, ""] if notes else []),
        ]
    )


def table(networks: dict[str, Network], cell: Callable[[str, str, Artifact], str]) -> str:
    """One line per network, one column per artifact; empty where it was not made yet."""
    rows: list[dict[str, str]] = []
    for name, each in networks.items():
        costs = ["" if value is None else f"{value / 1e6:.1f}" for value in (each.parameters, each.macs)]
        cells = {column: cell(name, column, one) for column in COLUMNS if (one := each.artifacts.get(column))}
        rows.append({"network": name, "M parameters": costs[0], "M MACs": costs[1], **cells})
    head = [
        column for column in ("network", "M parameters", "M MACs", *COLUMNS) if any(row.get(column) for row in rows)
    ]
    lines = [head, ["---"] * len(head), *([row.get(column, "") for column in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="networks; by default all of the board")] = None,
    board: Annotated[str, typer.Option(help=f"one of {', '.join(BOARDS)}")] = "students",
    format: Annotated[str, typer.Option(help="several with commas")] = FORMATS,
    out: Annotated[list[Path] | None, typer.Option(help=f"where all goes; several to write the page; {OUT}")] = None,
    note: Annotated[str, typer.Option(help="a paragraph more on the page: what of it was made otherwise")] = "",
    write: Annotated[bool, typer.Option(help="only write the page of what there is")] = False,
) -> None:
    """Export networks one after the other, then write what there is."""
    if board not in BOARDS:
        raise UsageError(f"there is no board {board!r}. Boards: {', '.join(BOARDS)}.")
    shown, outs = BOARDS[board], out or [OUT]
    for number, name in enumerate([] if write else names or shown.networks, 1):
        say(f"[bold]{number}[/] {name}")
        export(name, shown.size_px, format, outs[0])
    if write:
        networks = collect(shown, outs)
        known = proven.read_proven()
        others = {name: each for name, each in known.networks.items() if name not in shown.networks}
        proven.FILE.write_text(
            known.model_copy(update={"networks": others | networks}).model_dump_json(indent=1) + "\n"
        )
        shown.page.write_text(page(board, networks, note))
        terminal.product(shown.page, "python -m distill list --models")


if __name__ == "__main__":
    terminal.run(app)
