"""What is said after an export of what could not be made."""

from pathlib import Path

import pytest

from export.artifact.manifest import Manifest
from export.formats import Target
from export.run.making import Result
from export.run.outcomes import judged_on_more, table, works_instead
from export.run.pool import Outcome, Status, Task
from tests.export.conftest import MakeArtifact


def result(format: str, precision: str, status: Status, manifest: Manifest | None = None) -> Result:
    task = Task(Target(format, precision), "", Path(), Path(), Path())  # type: ignore[arg-type]
    return Result(Outcome(task, 0.0, status, ""), manifest)


@pytest.mark.parametrize(
    ("task", "head"), [("classification", "accuracy"), ("segmentation", "mIoU"), ("depth", "RMSE")]
)
def test_the_table_names_the_measure_of_the_task(task: str, head: str, artifact: MakeArtifact) -> None:
    _, proven = artifact("torchscript", "fp32")
    made = table("", [result("torchscript", "fp32", "made", proven.model_copy(update={"task": task}))])
    assert [column.header for column in made.columns][4] == head


def test_in_place_of_what_failed_the_nearest_that_was_proven_is_named(artifact: MakeArtifact) -> None:
    _, proven = artifact("torchscript", "fp32")
    assert proven.parity.verdict == "pass"
    unproven = proven.model_copy(update={"parity": proven.parity.model_copy(update={"verdict": "open"})})
    results = [
        result("eager", "fp32", "made", proven),
        result("litert", "fp32", "made", proven),
        result("litert", "int8", "failed"),
        result("onnx", "fp32", "unchanged", proven),
        result("onnx", "int8", "made", unproven),
        result("executorch", "fp32", "refused", proven),
        result("coreml", "fp16", "failed"),
    ]
    assert works_instead(results) == [
        "in place of litert int8: litert fp32",
        "in place of executorch fp32: litert fp32, onnx fp32",
    ]


def test_what_took_more_images_to_judge_says_what_eager_has_on_them(artifact: MakeArtifact) -> None:
    _, proven = artifact("torchscript", "fp32")

    def on(images: int, eager: float, **target: str) -> Manifest:
        parity = proven.parity.model_copy(update={"num_images": images, "eager_quality": eager})
        return proven.model_copy(update={"parity": parity, **target})

    results = [
        result("eager", "fp32", "made", on(128, 0.5989)),
        result("onnx", "fp16", "failed"),
        result("onnx", "int8", "made", on(480, 0.6072, format="onnx", precision="int8")),
    ]
    assert judged_on_more(results) == ["onnx int8 was judged on 480 images, where eager's accuracy is 60.72 %"]
    assert judged_on_more(results[:2]) == []
