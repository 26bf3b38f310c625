"""Core ML through coremltools, which is imported here without what it would only look at: nine seconds of imports."""

import sys

NOT_AT_FIRST = ("executorch", "sklearn")
"""Nobody needs them until they are used, if at all; afterwards they can be imported as ever."""


def _import_coremltools() -> None:
    absent = [name for name in NOT_AT_FIRST if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # pyright: ignore[reportCallIssue, reportArgumentType]
    try:
        import coremltools  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        for name in absent:
            del sys.modules[name]


_import_coremltools()
