import json
import sys

import pytest

from distill import terminal
from export.__main__ import app
from export.artifact.manifest import PrecisionName
from export.artifact.runner import RUNNERS
from export.formats import FORMATS, PRECISIONS, Target, exporter


def test_every_format_says_of_every_precision_that_it_exists_or_why_not() -> None:
    for name, entry in FORMATS.items():
        assert set(entry.schemes) <= set(PRECISIONS), name
        assert not set(entry.schemes) & set(entry.refused), name
        assert all((entry.why_not(precision) is None) == (precision in entry.schemes) for precision in PRECISIONS)


def test_what_can_run_here_has_a_runner_of_the_same_name() -> None:
    assert callable(exporter("eager").export)
    assert set(RUNNERS) - set(FORMATS) <= {"executorch-portable"}


def formats(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export", "formats", *arguments])
        with pytest.raises(SystemExit) as ended:
            terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_table_names_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    assert formats() == 0
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    for name, entry in FORMATS.items():
        assert name in told
        assert all(scheme.words.split()[0] in told for scheme in entry.schemes.values())
    assert "kept as the baseline of every comparison" in told
    assert "runs here" in told


def test_the_table_is_there_for_programs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from export.formats import listing as formats_table

    missing = FORMATS["onnx"].__class__(
        "export.formats.onnx.exporter", ("no_such_toolchain",), "onnx", schemes=FORMATS["onnx"].schemes
    )
    monkeypatch.setitem(FORMATS, "onnx", missing)
    monkeypatch.delitem(formats_table.RUNNERS, "litert")
    assert formats("--json") == 0
    found = {record["format"]: record for record in json.loads(capsys.readouterr().out)}
    assert list(found) == list(FORMATS)
    assert found["onnx"]["missing_packages"] == ["no_such_toolchain"]
    assert found["eager"]["runs_here"] is True
    assert "no runtime" in found["litert"]["why_not_run"]
    int8 = {pair["precision"]: pair for pair in found["onnx"]["precisions"]}["int8"]
    assert (int8["exists"], int8["calibrated"], int8["why_not"]) == (True, True, None)
    assert found["eager"]["precisions"][2]["why_not"]


@pytest.mark.parametrize(
    ("precision", "batch", "name"),
    [("fp32", 1, "onnx-fp32"), ("int8", 4, "onnx-int8-batch4"), ("fp32", -1, "onnx-fp32-dynamic")],
)
def test_folders_of_different_targets_have_different_names(precision: PrecisionName, batch: int, name: str) -> None:
    assert Target("onnx", precision, batch).name == name
