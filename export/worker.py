"""One artifact in a process of its own: python -m export.worker ORDER.json (started by `export.pool`, not by people).

Everything printed here, by Python or by a converter's native code, ends in the artifact's log.
"""

import sys
import traceback
from pathlib import Path
from typing import ClassVar, Literal

from distill.contract import Contract, write_whole
from distill.errors import ToolError
from export.artifact.manifest import FormatName, PrecisionName


class Order(Contract):
    """What one worker has to make.

    Attributes:
        checkpoint: folder of the model.
        evidence: file that `export.evidence.Evidence.save` wrote.
        folder: the artifact.
        ending: file that says how it ended: empty if the artifact was made, else the cause. No file = the process died.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    checkpoint: str
    evidence: str
    format: FormatName
    precision: PrecisionName
    folder: str
    ending: str


def work(order: Order) -> None:
    """Make the ordered artifact."""
    from distill import checkpoint
    from export.convert import convert
    from export.evidence import Evidence
    from export.formats import Target

    loaded = checkpoint.load(Path(order.checkpoint))
    evidence = Evidence.load(Path(order.evidence))
    convert(loaded, Target(order.format, order.precision), evidence, Path(order.folder))


def main(order_path: Path) -> int:
    """Carry out one order; 0 if the artifact was made, else 1 with the cause in the order's `ending` file."""
    order = Order.read(order_path)
    try:
        work(order)
    except Exception as error:
        traceback.print_exc()
        write_whole(Path(order.ending), one_line(error).encode())
        return 1
    write_whole(Path(order.ending), b"")
    return 0


def one_line(error: Exception) -> str:
    """The cause for the person at the keyboard: our own words as they are, a toolchain's first line with its type."""
    if isinstance(error, ToolError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:400]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
