"""What folding and rewriting save in ExecuTorch: python -m tests.performance.rewritten [NAMES] [--lower-only].

Each network is lowered to XNNPACK in up to three forms: as it is trained, as it is deployed (branches folded, weights
computed once), and that with its graph rewritten. What is lowered is kept, so that it may be made beside other work
(`--lower-only`) and timed without. Forms run in turn in one process, with one thread; `--write` puts the table into
results/rewritten.md.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from distill import terminal
from distill.vision.deployment import deployed
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess
from export.graph.rewrites import rewrite
from export.networks.untrained import exercise
from export.proof.made_images import synthetic_images
from tests.performance import students
from tests.performance.side_by_side import compare

OUT, PAGE = Path("out/rewritten"), Path("results/rewritten.md")
TRAINED, DEPLOYED, REWRITTEN = "as trained", "as deployed", "rewritten"
SEEN = Preprocess(size_px=224, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
ROUNDS = 15
ROUND_S = 0.1

INTRODUCTION = """# What folding and rewriting a network saves

`python -m tests.performance.rewritten`: today's networks with random weights, {size_px} px, batch 1, in ExecuTorch with
XNNPACK, fp32, one thread; {rounds} rounds in turn in one process. *As deployed* has branches folded and weights
computed once; *rewritten* has the patterns of `export/graph/rewrites.py` replaced, too. Pieces are what XNNPACK takes +
operations outside. Times faster: seconds as trained / seconds of the last form, median over the rounds with its 95 %
bootstrap interval. Milliseconds are of {machine}. Where a form is empty, it is the one before it.

"""


@dataclass(frozen=True)
class Form:
    """One lowered form of a network.

    Attributes:
        name: `as trained`, `as deployed` or `rewritten`.
        pieces: that XNNPACK takes.
        outside: operations that it leaves.
        notes: what was done to it.
    """

    name: str
    pieces: int
    outside: int
    notes: tuple[str, ...] = ()


def lower_all(name: str, folder: Path) -> list[Form]:
    """A network's forms that differ, as folder/FORM.pte; what is there is not made again."""
    kept = folder / "forms.json"
    if kept.is_file():
        return [Form(**{**each, "notes": tuple(each["notes"])}) for each in json.loads(kept.read_text())]
    torch.manual_seed(0)
    model = build(name, num_classes=students.NUM_CLASSES, preprocess=SEEN).eval()
    folder.mkdir(parents=True, exist_ok=True)
    exercise(model, torch.from_numpy(SEEN.to_input(synthetic_images(SEEN, 0))))
    forms = [lower(model, TRAINED, folder)]
    deployment = deployed(model, SEEN.input_shape)
    if deployment.model is not model:
        forms.append(lower(deployment.model, DEPLOYED, folder))
    after = lower(deployment.model, REWRITTEN, folder, rewritten=True)
    if after.notes:
        forms.append(after)
    kept.write_text(json.dumps([asdict(each) for each in forms]))
    return forms


def lower(model: ImageClassifier, name: str, folder: Path, *, rewritten: bool = False) -> Form:
    """One form as folder/NAME.pte; a graph without anything to rewrite is not lowered again, its form has no notes."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from export.formats.executorch.program import count_delegation

    program = torch.export.export(model, (torch.rand(1, *SEEN.input_shape),))
    notes = rewrite(program).notes if rewritten else ()
    if rewritten and not notes:
        return Form(name, 0, 0)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / f"{name}.pte").write_bytes(lowered.buffer)
    delegation = count_delegation(lowered.executorch_program, "xnnpack")
    return Form(name, delegation.pieces, sum(delegation.undelegated.values()), notes)


def opened(path: Path) -> Callable[[], object]:
    """A lowered form as a call without arguments on a picture of its own."""
    from executorch.extension.pybindings import _C as bindings

    bindings._unsafe_reset_threadpool(1)
    program = bindings._load_program(str(path))
    method, images = program.load_method("forward"), torch.rand(1, *SEEN.input_shape)

    def run(_owner: Any = program) -> object:
        return method.call((images,), clone_outputs=False)

    return run


def repeated(call: Callable[[], object], times: int) -> Callable[[], object]:
    """The same call so many times."""

    def run() -> None:
        for _ in range(times):
            call()

    return run


def row(name: str, forms: list[Form], folder: Path) -> dict[str, str]:
    """One line of the table; the first form is measured in turn with each other one."""
    cells = {"network": name} | {f"{each.name}, pieces": f"{each.pieces}+{each.outside}" for each in forms}
    calls = {each.name: opened(folder / f"{each.name}.pte") for each in forms}
    first = calls[TRAINED]
    first()
    started = time.perf_counter()
    first()
    times = max(1, round(ROUND_S / (time.perf_counter() - started)))
    for form in [each.name for each in forms[1:]]:
        found = compare(
            name, "", repeated(first, times), repeated(calls[form], times), rounds=ROUNDS if times > 1 else 5
        )
        ratio, low, high = found.speedup()
        middle = len(found.base_s) // 2
        cells[f"{TRAINED}, ms"] = f"{1e3 * sorted(found.base_s)[middle] / times:.2f}"
        cells[f"{form}, ms"] = f"{1e3 * sorted(found.new_s)[middle] / times:.2f}"
        cells["times faster"] = f"{ratio:.2f} ({low:.2f}–{high:.2f})"
    return cells


def page(rows: list[dict[str, str]], notes: dict[str, tuple[str, ...]], machine: str) -> str:
    """The table, and what was rewritten in each network."""
    columns = [f"{form}, {what}" for what in ("pieces", "ms") for form in (TRAINED, DEPLOYED, REWRITTEN)]
    head = ["network", *columns, "times faster"]
    lines = [head, ["---"] * len(head), *([each.get(column, "") for column in head] for each in rows)]
    said = [f"- {name}: {'; '.join(done)}" for name, done in notes.items() if done]
    return (
        INTRODUCTION.format(size_px=SEEN.size_px, rounds=ROUNDS, machine=machine)
        + "\n".join(f"| {' | '.join(line)} |" for line in lines)
        + "\n\n## What was rewritten\n\n"
        + "\n".join(said)
        + "\n"
    )


def main(
    names: Annotated[list[str] | None, typer.Argument(help="networks; by default those of results/students.md")] = None,
    lower_only: Annotated[bool, typer.Option("--lower-only", help="make what is measured, measure nothing")] = False,
    write: Annotated[bool, typer.Option("--write", help=f"write {PAGE}")] = False,
    machine: Annotated[str, typer.Option(help="what the page says milliseconds are of")] = "this machine",
) -> None:
    """Lower networks with and without what we do to them, and time both in turn."""
    rows: list[dict[str, str]] = []
    notes: dict[str, tuple[str, ...]] = {}
    for name in names or students.BOARDS["students"].networks:
        folder = OUT / name.replace(":", "-")
        forms = lower_all(name, folder)
        terminal.say(f"{name}: " + ", ".join(f"{each.name} {each.pieces}+{each.outside}" for each in forms))
        if not lower_only:
            rows.append(row(name, forms, folder))
            notes[name] = forms[-1].notes
            terminal.say(str(rows[-1]))
    if write and rows:
        PAGE.write_text(page(rows, notes, machine))
        terminal.product(PAGE, "look at what is still in many pieces")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    terminal.run(app)
