"""Why something failed, in one paragraph: our own words as they are, a toolchain's without advice to developers."""

import re

from distill.errors import ToolError

LONGEST = 900
"""Characters of a cause; the log has all of it."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ADVICE = re.compile(r"\s*(Next steps:|For more information,|This is step \d/\d of exporting|\(Refer to the full).*")
_PLACE = re.compile(r"^(Caused by: .*|File \".*\", line \d+, in .*)$")


def in_words(error: BaseException) -> str:
    """The error and what it was raised from, each once, the innermost last."""
    if isinstance(error, ToolError):
        return str(error)
    told: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        words = str(cause) if isinstance(cause, ToolError) else f"{type(cause).__name__}: {_sentence(cause)}"
        if not any(words in other or _sentence(cause) in other for other in told):
            told.append(words)
        cause = cause.__cause__
    return "; caused by ".join(told)[:LONGEST]


def _sentence(error: BaseException) -> str:
    """The first line of a message; PyTorch's with the lines of the paragraph, and the place in the user's code."""
    text = _COLOURS.sub("", str(error))
    lines = [_ADVICE.sub("", line).strip() for line in text.splitlines()]
    first = next((number for number, line in enumerate(lines) if line), None)
    if first is None:
        return "no message"
    last = first + 1
    if type(error).__module__.split(".")[0] == "torch" or lines[first].endswith(":"):
        last = next((number for number in range(first, len(lines)) if not lines[number]), len(lines))
    places = [line for line in lines[last:] if _PLACE.match(line) and "site-packages" not in line]
    return " ".join([*lines[first:last], *places[-1:]])
