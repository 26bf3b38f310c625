import os
import subprocess
import sys

import pytest

SAYS = """
import os, typer
from distill import terminal
app = typer.Typer()
@app.command()
def main():
    terminal.answer(os.environ["WORDS"])
terminal.run(app)
"""


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "é 日 🫀 ".encode() + b"\xff\n"),
        ("latin-1", b"\xe9 \\u65e5 \\ud83e\\udec0 \xff\n"),
        ("ascii", b"\\u00e9 \\u65e5 \\ud83e\\udec0 \xff\n"),
    ],
)
def test_stdout_takes_every_name_whatever_the_language_of_the_shell(encoding: str, written: bytes) -> None:
    """Bytes that are no text come out as they went in; letters without a sign as JSON writes them."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "WORDS": os.fsdecode("é 日 🫀 ".encode() + b"\xff")}
    ended = subprocess.run([sys.executable, "-c", SAYS], env=environment, capture_output=True, check=True)
    assert ended.stdout == written
