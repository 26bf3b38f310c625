"""What can go wrong, in words for the person at the keyboard.

    ToolError
    ├── UsageError    the request itself cannot be served; nothing was started      exit code 2
    └── WorkFailed    work was started and could not be finished                    exit code 1
        └── Diverged  training ran away; other settings may not                     exit code 1

Every message is one paragraph: what was found, what was expected, what to do next.
"""


class ToolError(Exception):
    """Base of every error that is shown to the user without a traceback."""

    exit_code: int = 1


class UsageError(ToolError):
    """The request cannot be served as it stands: unknown name, bad value, missing or broken input."""

    exit_code = 2


class WorkFailed(ToolError):
    """Work began and could not be finished: NaN loss, failed conversion, full disk."""

    exit_code = 1


class Diverged(WorkFailed):
    """The losses or the network's answers are no longer finite."""
