import pytest

from distill.errors import UsageError
from export import formats
from export.artifact.runner import RUNNERS
from export.formats import FORMATS, PRECISIONS, Target, exporter, plan


def test_every_format_says_of_every_precision_that_it_exists_or_why_not() -> None:
    for entry in FORMATS.values():
        assert set(entry.precisions) | set(entry.refused) == set(PRECISIONS)
        assert not set(entry.precisions) & set(entry.refused)


@pytest.mark.parametrize("precisions", ["fp32,int8", None])
def test_all_leaves_out_impossible_pairs_and_lists_them_with_the_reason(precisions: str | None) -> None:
    made = plan("all", precisions, has_data=True)
    assert {target.name for target in made.targets} == {
        f"{format}-{precision}" for format, entry in FORMATS.items() for precision in entry.precisions
    }
    assert [pair for pair, _ in made.skipped] == ["eager int8", "torchscript int8"]
    assert all(reason for _, reason in made.skipped)


@pytest.mark.parametrize("format", ["torchscript", "eager"])
def test_a_named_impossible_pair_is_refused_in_words(format: str) -> None:
    with pytest.raises(UsageError, match=f"{format} cannot be exported in int8: .*Nothing was started.*has: fp32"):
        plan(f"onnx,{format}", "int8", has_data=True)


@pytest.mark.parametrize(
    ("format", "precision", "message"),
    [
        ("onxx", "fp32", "unknown format 'onxx'; did you mean onnx"),
        ("all", "int9", "unknown precision 'int9'; did you mean int8"),
        ("zzzz", "fp32", "unknown format 'zzzz'. Known: eager, torchscript"),
        ("onnx", " , ", "no precision given"),
        ("all,onnx", "fp32", "unknown format 'all'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(format: str, precision: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(format, precision, has_data=True)
    assert message in str(caught.value)


def test_names_may_repeat_and_have_spaces() -> None:
    assert plan(" onnx, onnx ", "fp32", has_data=True).targets == (Target("onnx", "fp32"),)


def test_calibrated_precisions_need_a_checkpoint_that_knows_its_data() -> None:
    made = plan("all", "int8", has_data=False)
    assert [target.name for target in made.targets] == ["coreml-int8"]
    with pytest.raises(UsageError, match="calibrated on training images"):
        plan("onnx", "int8", has_data=False)


def test_a_missing_toolchain_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        formats.FORMATS,
        "onnx",
        formats.Format("export.onnx", ("no_such_toolchain",), "onnx", precisions={"fp32": "direct"}, refused={}),
    )
    with pytest.raises(UsageError, match=r"no_such_toolchain is not installed.*pip install 'pocket-distill\[onnx\]'"):
        plan("onnx", "fp32", has_data=True)


def test_exporters_and_runners_are_found_where_the_tables_say() -> None:
    assert callable(exporter("eager").export)
    assert set(FORMATS) - set(RUNNERS) == {"coreml"}


def test_a_format_named_alone_is_made_in_the_precisions_it_has() -> None:
    made = plan("eager,onnx", None, has_data=True)
    assert [target.name for target in made.targets] == ["eager-fp32", "onnx-fp32", "onnx-int8"]
    assert [pair for pair, _ in made.skipped] == ["eager int8"]
