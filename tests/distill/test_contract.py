import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import model_validator

from distill.contract import Contract, append_line, sha256_of_file, whole_file, write_whole
from distill.errors import UsageError, WorkFailed


class Note(Contract):
    SCHEMA_VERSION: ClassVar[int] = 2

    schema_version: Literal[2] = 2
    text: str
    numbers: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Note":
        if self.numbers and not self.text:
            raise ValueError("numbers says nothing where text is empty.")
        return self


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    Note(text="ä", numbers=(1, 2)).write(tmp_path / "new" / "note.json")
    assert Note.read(tmp_path / "new" / "note.json") == Note(text="ä", numbers=(1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema_version": 2, "text": "a", "colour": 1}', "colour: unknown key"),
        ('{"schema_version": 2}', "text: missing key"),
        ('{"schema_version": 2, "text": 5}', "text: input should be a valid string (found 5)"),
        (
            '{"schema_version": 2, "text": "", "numbers": [1]}',
            "note.json is not a valid Note: numbers says nothing where text is empty.",
        ),
        ('{"schema_version": 3, "text": "a"}', "has schema version 3, but this version of the toolkit reads 2"),
        ("[]", "has schema version None"),
        ('{"schema_version": 2, "te', "is not valid JSON"),
    ],
)
def test_a_record_that_breaks_the_schema_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Note.from_json(text, source="note.json")
    assert message in str(caught.value)
    assert "note.json" in str(caught.value)


def test_an_interrupted_write_leaves_the_old_file_and_no_scraps(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_whole(path, b"old")

    def stopped_half_way() -> None:
        with whole_file(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_half_way()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["note.json"]


def test_a_file_the_disk_refuses_is_reported_and_the_old_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_whole(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(WorkFailed, match="What was there before is unchanged"):
            write_whole(path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["note.json"]


def test_a_journal_survives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_line(path, "one")
    with path.open("ab") as file:
        file.write(b"tw")
    append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"


def test_sha256_is_that_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(100_000))
    expected = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert sha256_of_file(path) == expected


def test_contracts_and_data_sets_import_without_torch() -> None:
    modules = "distill.contract, distill.errors, distill.terminal, distill.vision.preprocess, distill.vision.datasets"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
