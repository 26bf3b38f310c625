"""Two test processes share what is made once, and neither a cache nor a bench's lock."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEST = """
import json, os
from pathlib import Path

HERE = Path(__file__).parent

def note(name, what):
    with (HERE / name).open("a") as file:
        print(json.dumps(what), file=file)

def make(folder):
    note("made", str(folder))
    folder.mkdir()
    (folder / "finished").touch()

def test(make_once):
    folder = make_once("thing", make)
    assert (folder / "finished").exists()
    note("used", [str(folder), os.environ["XDG_CACHE_HOME"], os.environ["XDG_RUNTIME_DIR"]])
"""


def test_two_processes_share_what_is_made_once_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CI", "PYTEST_"))}
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "tests.conftest", "-p", "no:cacheprovider"]
    both = ["--numprocesses", "2", "--dist", "each", "--basetemp", tmp_path / "temporary"]
    command = [sys.executable, "-m", "pytest", *settings, *both, tmp_path / "test_it.py"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300).stdout
    assert "2 passed in" in said, said
    (made,) = read(tmp_path / "made")
    (folder, *own), (same_folder, *others) = read(tmp_path / "used")
    assert folder == same_folder == made
    assert not {*own} & {*others}


def read(path: Path) -> list[list[str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
