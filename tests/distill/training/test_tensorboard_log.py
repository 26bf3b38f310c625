import sys
from pathlib import Path

import pytest

from distill.config import RunConfig, with_overrides
from distill.errors import UsageError
from distill.recipes import demo_scratch
from distill.train import train
from distill.training.tensorboard_log import scalars

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
)


def config(*more: str) -> RunConfig:
    tiny = ["model=torchvision:shufflenet_v2_x0_5", "image.size_px=32", "dataset.train_patients=4"]
    tiny += ["dataset.validation_patients=2", "training.batch_size=40", "training.epochs=3", "device=cpu"]
    return with_overrides(demo_scratch(), [*tiny, *more])


def test_the_log_of_a_resumed_run_has_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill import train as loop

    keep = loop.keep

    def keep_three_and_die(*words: object) -> None:
        keep(*words)  # pyright: ignore[reportArgumentType]
        if words[4].epoch == 3:  # pyright: ignore[reportAttributeAccessIssue]
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "keep", keep_three_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(config("training.epochs=4"), tmp_path / "run", log="tensorboard")
    monkeypatch.setattr(loop, "keep", keep)
    train(config("training.epochs=4"), tmp_path / "run", resume=True, log="tensorboard")

    found = accumulators.EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0}).Reload()
    tags = found.Tags()
    assert {"loss/label", "validation/accuracy", "training/learning_rate"} <= set(tags["scalars"])
    assert [event.step for event in found.Scalars("validation/accuracy")] == [1, 2, 3, 4]
    (shown,) = tags["images"]
    assert [event.step for event in found.Images(shown)] == [4]
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 2


def test_a_log_leaves_the_run_what_it_is(tmp_path: Path) -> None:
    with_log = train(config("training.epochs=1"), tmp_path / "with", log="tensorboard")
    without = train(config("training.epochs=1"), tmp_path / "without")
    assert with_log.weights_sha256 == without.weights_sha256
    train(config("training.epochs=2"), tmp_path / "with", restart=True)
    assert not (tmp_path / "with" / "tensorboard").exists()


def test_without_the_package_there_is_one_paragraph_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"not installed: pip install 'pocket-distill\[tensorboard\]'"):
        train(config(), tmp_path / "run", log="tensorboard")
    assert not (tmp_path / "run").exists()


def test_every_figure_has_a_name_on_the_board() -> None:
    row = {"epoch": 2, "losses": {"soft": 1.0}, "accuracy": 0.5, "seconds": 3.0, "stage": "whole", "lambda": 0.1}
    assert scalars(row) == {
        "loss/soft": 1.0,
        "validation/accuracy": 0.5,
        "training/seconds": 3.0,
        "training/lambda": 0.1,
    }
