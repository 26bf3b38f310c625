import pytest

from distill.errors import UsageError
from export import formats
from export.formats import FORMATS, Format, Scheme, Target, why_not
from export.run.plan import Plan, parse_batch
from export.run.plan import plan as plan_of

MADE_UP = Format(
    "export.formats.eager",
    packages=("torch",),
    extra="train",
    schemes={"fp32": Scheme("float"), "fp16": Scheme("half"), "int8": Scheme("integers", calibrated=True)},
    refused={"int16x8": "nobody has kernels for it"},
    refused_batches={"dynamic": "its planner wants sizes"},
)


def plan(format: str | None, precision: str | None, *, batch: int = 1, has_data: bool = True) -> Plan:
    return plan_of(format, precision, batch=batch, has_data=has_data)


def names(made: Plan) -> list[str]:
    return [target.name for target in made.targets]


@pytest.fixture(autouse=True)
def onnx_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.FORMATS, "onnx", MADE_UP)


def test_by_default_the_usual_precisions_of_all_but_the_variants_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        FORMATS, "executorch-portable", Format("export.formats.eager", ("torch",), "x", {}, variant=True)
    )
    made = plan(None, None)
    assert {"onnx-fp32", "onnx-int8", "eager-fp32"} <= set(names(made))
    assert "onnx-fp16" not in names(made)
    assert not [pair for pair, _ in made.skipped if pair.startswith("executorch-portable")]
    assert [pair for pair, _ in plan("all", None).skipped if pair.startswith("executorch-portable")]


def test_all_means_every_pair_that_can_be_made_and_lists_the_others_with_the_reason() -> None:
    made = plan("all", "all")
    assert {target for target in made.targets} == {
        Target(format, precision)
        for format, entry in FORMATS.items()
        for precision in entry.schemes
        if why_not(Target(format, precision), has_data=True) is None
    }
    assert ("onnx int16x8", "nobody has kernels for it") in made.skipped
    assert all(reason for _, reason in made.skipped)


@pytest.mark.parametrize("format", ["torchscript", "eager"])
def test_a_named_impossible_pair_is_refused_in_words(format: str) -> None:
    with pytest.raises(UsageError, match=f"{format} cannot be exported in int8: .*Nothing was started.*has: fp32"):
        plan(f"onnx,{format}", "int8")


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
        plan(format, precision)
    assert message in str(caught.value)


def test_names_may_repeat_and_have_spaces() -> None:
    assert plan(" onnx, onnx ", "fp32").targets == (Target("onnx", "fp32"),)


def test_calibrated_precisions_need_images() -> None:
    assert names(plan("onnx", "all", has_data=False)) == ["onnx-fp32", "onnx-fp16"]
    with pytest.raises(UsageError, match="names no training data; name a folder of your own with --calibration-folder"):
        plan("onnx", "int8", has_data=False)


def test_a_missing_toolchain_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Format("export.formats.onnx.exporter", ("no_such_toolchain",), "onnx", schemes={"fp32": Scheme("float")})
    monkeypatch.setitem(FORMATS, "onnx", entry)
    with pytest.raises(UsageError, match=r"no_such_toolchain is not installed.*pip install 'pocket-distill\[onnx\]'"):
        plan("onnx", "fp32")


def test_a_batch_that_a_format_cannot_take_is_refused_with_its_reason() -> None:
    assert names(plan("onnx", "fp32", batch=4)) == ["onnx-fp32-batch4"]
    with pytest.raises(UsageError, match="in fp32 for any batch: no dynamic batch: its planner wants sizes"):
        plan("onnx", "fp32", batch=-1)


@pytest.mark.parametrize(("text", "batch"), [("1", 1), ("16", 16), ("dynamic", -1)])
def test_a_batch_is_a_number_or_dynamic(text: str, batch: int) -> None:
    assert parse_batch(text) == batch


@pytest.mark.parametrize("text", ["0", "-1", "many", "", "1.5"])
def test_other_batches_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number of images from 1 on, or dynamic"):
        parse_batch(text)
