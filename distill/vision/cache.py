"""Arrays that are slow to make, kept on disk between runs: generated images, teacher logits.

A cache is never trusted and never needed: a file that does not match its own hash is made again, and a disk that
cannot be written only costs the next run its head start.
"""

import atexit
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.contract import whole_file
from distill.errors import WorkFailed

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where arrays are kept: $XDG_CACHE_HOME/pocket-distill, else ~/.cache/pocket-distill.

    A user without a home (a container's, often) gets a folder that is gone when the program ends.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "pocket-distill"
    try:
        return Path.home() / ".cache" / "pocket-distill"
    except RuntimeError:
        return _folder_of_this_process()


@lru_cache(maxsize=1)
def _folder_of_this_process() -> Path:
    log.warning("this user has no home folder, so nothing is kept for the next run; XDG_CACHE_HOME may name a place")
    folder = tempfile.mkdtemp(prefix="pocket-distill-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def cached_array(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array kept at `path` if it is there and unharmed, else the one `make` returns, kept there if possible."""
    array = read_array(path)
    if array is None:
        array = make()
        try:
            write_array(path, array)
        except WorkFailed as error:
            log.warning("not kept for the next run: %s", error)
    return array


def write_array(path: Path, array: NDArray[Any]) -> None:
    """One line of JSON (hash, type, shape), then the bytes; raises WorkFailed if the disk cannot take it."""
    data = np.ascontiguousarray(array)
    head = {"sha256": sha256(data.data).hexdigest(), "dtype": str(data.dtype), "shape": data.shape}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(head).encode() + b"\n")
        file.write(data.data)


def read_array(path: Path) -> NDArray[Any] | None:
    """The array that `write_array` wrote, writable; None (with a warning, unless there is no file) if it is damaged."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(1000))
            data = bytearray(file.read())
        if head["sha256"] == sha256(data).hexdigest():
            return np.frombuffer(data, dtype=head["dtype"]).reshape(head["shape"])
        complaint: object = "its content does not match its hash"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        complaint = error
    log.warning("%s is not used and made again: %s", path, complaint)
    return None
