"""What a process started by `export.run.processes` does on its own side: says events, and ends with its parent."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel

COLLECTED_AFTER = 100_000
"""New objects after which Python looks for garbage, instead of 700: converters make millions of nodes that live on, and
looking through them again and again was a quarter of ExecuTorch's time. It costs some 50 MB."""

Tell = Callable[[BaseModel], None]
_OUTPUT, _ERRORS = 1, 2


@contextmanager
def telling() -> Iterator[Tell]:
    """Yield what says an event, one JSON object a line, on the stdout that this process was started with.

    What Python and native code print to stdout from then on goes where stderr goes: to the log.
    """
    gc.set_threshold(COLLECTED_AFTER)
    with os.fdopen(os.dup(_OUTPUT), "w") as say:
        os.dup2(_ERRORS, _OUTPUT)
        yield lambda event: print(event.model_dump_json(), file=say, flush=True)


def end_with_parent() -> threading.Event:
    """Kill this process group when the process that started it is gone: its end of our stdin closes then.

    Without a group of its own (started by hand) nothing is watched.

    Returns:
        What is set once the parent says that what this process waits for is there (`Child.begin`).
    """
    begun = threading.Event()
    if os.getpgrp() != os.getpid():
        begun.set()
        return begun

    def watch() -> None:
        while os.read(0, 1):
            begun.set()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    return begun
