"""The loop: this teacher, this data, this phone, this budget, the app, with a decision that can be defended.

An orchestrator. Everything it does is a public command in a process of its own (`commands.py`), everything it knows is
a command's `--json` or a contract on disk; every finished piece of work is a line of its journal (`steps.py`), so that
the same command goes on wherever it was cut off.
"""
