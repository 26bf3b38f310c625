"""One check in a process of its own: python -m tests.gpu_check.one NAME DEVICE SCRATCH ENDING."""

import importlib
import sys
from pathlib import Path

from tests.gpu_check.__main__ import CHECKS
from tests.gpu_check.place import Place


def main(name: str, device: str, scratch: str, ending: str) -> None:
    """Leave the finding in the file `ending`."""
    module = importlib.import_module(CHECKS[name].module)
    module.check(Place(device, Path(scratch))).write(Path(ending))


if __name__ == "__main__":
    main(*sys.argv[1:])
