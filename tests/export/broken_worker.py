"""Stands in for export.worker: breaks in the way that PLAN_<format> in the environment asks for, else does the work."""

import os
import signal
import sys
from pathlib import Path

from export.worker import Order, main

order_path = Path(sys.argv[1])
order = Order.read(order_path)
print("a converter's noise")
match os.environ.get(f"PLAN_{order.format}"):
    case "crash":
        folder = Path(order.folder)
        (folder.parent / f".{folder.name}.{os.getpid()}.tmp").mkdir()
        os.kill(os.getpid(), signal.SIGSEGV)
    case "exit":
        sys.exit(0)
    case "raise":
        import export.worker

        def fail(order: Order) -> None:
            raise RuntimeError("unsupported operator aten::made_up\nsecond line")

        export.worker.work = fail
sys.exit(main(order_path))
