import numpy as np
import pytest
import torch

from distill.checkpoint import Checkpoint
from distill.errors import UsageError
from export.artifact import runner as runner_module
from export.artifact.runner import RunnerEntry, open_runner, run_all

RUNNABLE = ("eager", "torchscript", "executorch", "onnx", "coreml", "litert")
ANY_BATCH = ("eager", "torchscript")


@pytest.mark.parametrize("format", RUNNABLE)
def test_batches_bound_side_by_side_do_not_mix(artifact, checkpoint: Checkpoint, format: str) -> None:
    folder, manifest = artifact(format, "fp32")
    batches = np.random.default_rng(1).random((2, 1, 3, 32, 32), dtype=np.float32)
    runner = open_runner(folder, manifest, threads=1)
    bound = [runner.bind(batch) for batch in batches]
    with torch.inference_mode():
        expected = [checkpoint.model(torch.from_numpy(batch)).numpy() for batch in batches]
    for index in (0, 1, 1, 0, 0):
        np.testing.assert_allclose(bound[index].logits(), expected[index], atol=1e-3)


@pytest.mark.parametrize("format", RUNNABLE)
def test_the_batch_is_not_changed_by_running(artifact, format: str) -> None:
    folder, manifest = artifact(format, "fp32")
    batch = np.random.default_rng(2).random((1, 3, 32, 32), dtype=np.float32)
    before = batch.copy()
    bound = open_runner(folder, manifest, threads=1).bind(batch)
    first = bound.logits().copy()
    bound.run()
    np.testing.assert_array_equal(bound.logits(), first)
    np.testing.assert_array_equal(batch, before)


@pytest.mark.parametrize("format", RUNNABLE)
@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 1, 32, 32), dtype=np.float32),
        np.zeros((1, 3, 32, 31), dtype=np.float32),
        np.zeros((3, 32, 32), dtype=np.float32),
        np.zeros((1, 3, 32, 32), dtype=np.float64),
        np.zeros((1, 32, 32, 3), dtype=np.float32).transpose(0, 3, 1, 2),
    ],
    ids=["channels", "size", "rank", "dtype", "strides"],
)
def test_a_batch_that_does_not_fit_is_refused(artifact, format: str, batch: np.ndarray) -> None:
    folder, manifest = artifact(format, "fp32")
    with pytest.raises(UsageError, match=f"this {format} artifact takes float32"):
        open_runner(folder, manifest, threads=1).bind(batch)


@pytest.mark.parametrize("format", RUNNABLE)
def test_other_batch_sizes_run_or_are_refused_as_the_manifest_says(
    artifact, checkpoint: Checkpoint, format: str
) -> None:
    folder, manifest = artifact(format, "fp32")
    runner = open_runner(folder, manifest, threads=1)
    batch = np.random.default_rng(4).random((5, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = checkpoint.model(torch.from_numpy(batch)).numpy()
    assert (manifest.input.shape[0] == -1) == (format in ANY_BATCH)
    if format in ANY_BATCH:
        np.testing.assert_allclose(runner.bind(batch).logits(), expected, atol=1e-3)
    else:
        with pytest.raises(UsageError, match="batch size it was exported for"):
            runner.bind(batch)
    np.testing.assert_allclose(run_all(runner, batch), expected, atol=1e-3)


@pytest.mark.parametrize("format", RUNNABLE)
@pytest.mark.parametrize("threads", [2, 1])
def test_the_runtime_takes_the_threads_it_is_given(artifact, format: str, threads: int) -> None:
    folder, manifest = artifact(format, "fp32")
    runner = open_runner(folder, manifest, threads=threads)
    assert runner.threads == threads
    assert runner.runtime
    assert runner.runtime_version


def test_a_missing_runtime_is_named(artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, manifest = artifact("eager", "fp32")
    monkeypatch.setitem(runner_module.RUNNERS, "eager", RunnerEntry("export.artifact.no_such", "some-runtime"))
    with pytest.raises(UsageError, match="pip install some-runtime"):
        open_runner(folder, manifest, threads=1)
