"""Where each node of a graph comes from, as PyTorch notes it: shared between nodes instead of copied."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx.traceback import NodeSource


@contextmanager
def shared_histories() -> Iterator[None]:
    """Let copies of a node share the record of where it comes from.

    PyTorch copies the whole record, which grows with every pass, each time a node is copied: an eighth of the time of
    an int8 export to ExecuTorch. A record is not changed once it is made, so nothing can tell a shared one from a
    copy; no exporter writes it into a file.
    """

    def itself(record: NodeSource, memo: dict[int, Any]) -> NodeSource:
        return record

    NodeSource.__deepcopy__ = itself  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        del NodeSource.__deepcopy__  # pyright: ignore[reportAttributeAccessIssue]
