"""Stands in for export.run.worker: breaks as PLAN_<format> in the environment asks, else does the work."""

import os
import signal
import sys
from pathlib import Path

from distill.checkpoint import Checkpoint
from export.run import worker
from export.run.worker import Ended, Order, Piece

carry_out = worker.make


def make(order: Order, piece: Piece, loaded: Checkpoint) -> Ended:
    print("a converter's noise", flush=True)
    match os.environ.get(f"PLAN_{order.format}"):
        case "crash":
            folder = Path(piece.folder)
            (folder.parent / f".{folder.name}.{os.getpid()}.tmp").mkdir()
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            sys.stdout.flush()
            os._exit(0)
        case "raise":
            raise RuntimeError("unsupported operator aten::made_up\nsecond line")
    return carry_out(order, piece, loaded)


worker.make = make
worker.main(Path(sys.argv[1]))
