import unicodedata
from pathlib import Path

import pytest

from distill.errors import UsageError
from distill.vision.datasets.patients import PatientTable

TEXT = "file,patient\ntrain/a/1.png,Jürgen\ntrain/a/2.png,Zoë\n"
NAMES = ["train/a/1.png", "train/a/2.png"]


def owners(folder: Path, data: bytes, names: list[str] = NAMES) -> list[str]:
    (folder / "patients.csv").write_bytes(data)
    return PatientTable(folder / "patients.csv").owners(names)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_every_common_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    assert owners(tmp_path, TEXT.encode(encoding)) == ["jürgen", "zoë"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_common_delimiter_and_line_end_is_read(tmp_path: Path, delimiter: str) -> None:
    text = TEXT.replace(",", delimiter).replace("\n", "\r\n")
    assert owners(tmp_path, text.encode()) == ["jürgen", "zoë"]


def test_blanks_case_slashes_and_unicode_forms_do_not_matter(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Zoë")
    rows = f' Patient ,note, FILE\nP 7 ,"a, b",.\\train\\{name}\\1.png \n p 7,,./train/Zoë/2.png\n\n'
    assert owners(tmp_path, rows.encode(), ["train/Zoë/1.png", "train/Zoë/2.png"]) == ["p 7", "p 7"]


def test_the_same_row_twice_is_no_contradiction_but_two_patients_are(tmp_path: Path) -> None:
    assert owners(tmp_path, (TEXT + "train/a/1.png,jürgen \n").encode()) == ["jürgen", "zoë"]
    with pytest.raises(UsageError, match=r"1 picture\(s\) to more than one patient \(train/a/1\.png: Jürgen and Anna"):
        owners(tmp_path, (TEXT + "train/a/1.png,Anna\n").encode())


@pytest.mark.parametrize(
    "other",
    [
        "zoe\u0301 m\u00fcller",
        "Zo\u00e9\u00a0M\u00fcller",
        "Zo\u00e9  M\u00fcller",
        "Zo\u00e9\u200b M\u00fcller",
        "ＺＯÉ MÜLLER",
    ],
)
def test_a_patient_is_known_however_the_name_is_written(tmp_path: Path, other: str) -> None:
    rows = f"file,patient\ntrain/a/1.png,Zoé Müller\ntrain/a/2.png,{other}\n"
    first, second = owners(tmp_path, rows.encode())
    assert first == second


@pytest.mark.parametrize(("name", "other"), [("007", "7"), ("7.0", "07"), ("000", "0"), ("7", "\u0667")])
def test_a_number_is_one_patient_with_and_without_its_zeros(tmp_path: Path, name: str, other: str) -> None:
    first, second = owners(tmp_path, f"file,patient\ntrain/a/1.png,{name}\ntrain/a/2.png,{other}\n".encode())
    assert first == second


def test_other_names_keep_their_zeros(tmp_path: Path) -> None:
    rows = "file,patient\ntrain/a/1.png,P007\ntrain/a/2.png,7.1\ntrain/a/3.png,P7\n"
    assert owners(tmp_path, rows.encode(), [*NAMES, "train/a/3.png"]) == ["p007", "7.1", "p7"]


@pytest.mark.parametrize(
    "text",
    [
        'sep=;\r\nfile;patient;"notes, more, and more"\r\ntrain/a/1.png;Jürgen;"a, b"\r\ntrain/a/2.png;Zoë;\r\n',
        'note;of;old;ones,file,patient\n"x;y",train//a/1.png,Jürgen\n,train/b/../a/2.png,Zoë\n',
        '\n\n"file","patient"\n"train/a/1.png","Jürgen"\n"train/a/2.png","Zoë"\n',
        "file,patient,file\ntrain/a/1.png,Jürgen,scan.png\ntrain/a/2.png,Zoë,scan.png\n",
    ],
)
def test_heads_and_paths_as_spreadsheet_programs_write_them(tmp_path: Path, text: str) -> None:
    assert owners(tmp_path, text.encode()) == ["jürgen", "zoë"]


def test_a_table_of_other_paths_shows_one_of_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"e\.g\. train/a/1\.png, but one for pictures/train/a/1\.png\. Add"):
        owners(tmp_path, TEXT.replace("train/", "pictures/train/").encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4rest of a workbook", "is a workbook, not a text table"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is a workbook, not a text table"),
        (b"file,patient\ntrain/a/\x001.png,anna\n", "holds zero bytes"),
        (b"", "needs the columns 'file' and 'patient'; found none"),
        (b"name,patient\n", "found name, patient"),
        (b"file,patient\ntrain/a/1.png,anna\ntrain/a/2.png,\n", "names no patient for 1 of 2 pictures"),
        (b"file,patient\ntrain/a/1.png,anna\ntrain/a/2.png\n", "names no patient for 1 of 2 pictures"),
        (b"file,patient\n" + b'"' + b"x" * 200_000 + b'",anna\n', "is not a table"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        owners(tmp_path, data)
    assert message in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the patient table"):
        PatientTable(tmp_path / "gone.csv")
