"""Stands in for export.run.worker: breaks as PLAN_<format> in the environment asks, else does the work.

With `--host` it stands in for export.run.host, whose forked workers break in the same way.
"""

import os
import signal
import sys
from pathlib import Path

from export.run import host, worker
from export.run.worker import Order

carry_out = worker.main


def main(order_path: Path) -> int:
    order = Order.read(order_path)
    print("a converter's noise", flush=True)
    match os.environ.get(f"PLAN_{order.format}"):
        case "crash":
            folder = Path(order.folder)
            (folder.parent / f".{folder.name}.{os.getpid()}.tmp").mkdir()
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            sys.stdout.flush()
            os._exit(0)
        case "raise":

            def fail(order: Order) -> None:
                raise RuntimeError("unsupported operator aten::made_up\nsecond line")

            worker.work = fail
    return carry_out(order_path)


if sys.argv[1] == "--host":
    worker.main = main
    host.main(int(sys.argv[2]), sys.argv[3])
else:
    sys.exit(main(Path(sys.argv[1])))
