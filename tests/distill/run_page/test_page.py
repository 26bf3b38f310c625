import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from distill import checkpoint, run_folder
from distill.__main__ import app
from distill.config import RunConfig, with_overrides
from distill.errors import UsageError
from distill.evaluation.evaluate import MOST_MISTAKES, confusion_matrix, judge
from distill.recipes import folder_scratch
from distill.run_page import page
from distill.run_page.charts import VARIABLES, learning_curves
from distill.train import train
from distill.vision.datasets import Split

CLASSES = ("<b>dark", "medium", "bright")


def config(root: Path, *more: str) -> RunConfig:
    tiny = ["image.size_px=32", "training.epochs=2", "training.batch_size=10", "device=cpu"]
    tiny += ["model=torchvision:shufflenet_v2_x0_5", f"dataset.path={json.dumps(str(root))}"]
    return with_overrides(folder_scratch(), [*tiny, *more])


@pytest.fixture
def run(picture_folder: Callable[..., Path], tmp_path: Path) -> Path:
    root = picture_folder(classes=CLASSES, per_class=10)
    train(config(root, "dataset.test_share=0.2"), tmp_path / "run")
    return tmp_path / "run"


def test_a_run_ends_with_a_page_that_carries_all_it_shows(run: Path) -> None:
    text = (run / "report.html").read_text()
    training = checkpoint.read_card(run / "best").training
    assert training is not None
    assert training.validation is not None
    assert "<b>" not in text
    assert "&lt;b&gt;dark" in text
    assert "<script" not in text
    assert re.findall(r"https?://[^\"' ]*", text.replace("http://www.w3.org", "")) == []
    assert text.count("<svg") == 4
    assert not any(colour in text for colour in VARIABLES)
    wrong = sum(training.validation.images) - sum(training.validation.right)
    assert text.count("data:image/webp;base64,") == min(wrong, MOST_MISTAKES)
    for section in ("How it learnt", "Class by class", "What is taken for what", "The worst mistakes", "test images"):
        assert section in text
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row["learning_rate"] >= 0 for row in rows)


def test_the_page_is_made_again_from_what_the_run_left_and_from_moved_pictures(run: Path, tmp_path: Path) -> None:
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    lost = CliRunner().invoke(app, ["report", str(run)])
    assert isinstance(lost.exception, UsageError)
    assert "name the place: --data FOLDER" in str(lost.exception)
    found = CliRunner().invoke(app, ["report", str(run), "--data", str(tmp_path / "elsewhere")])
    assert found.stdout.strip() == str(run / "report.html")
    assert (run / "report.html").read_text() == before


def test_a_page_that_cannot_be_made_is_told_and_the_run_is_finished(
    picture_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no font\nat all")

    monkeypatch.setattr(page, "write_page", fail)
    settings = config(picture_folder(classes=CLASSES), "training.epochs=1")
    card = train(settings, tmp_path / "run")
    assert card.training is not None
    assert card.training.finished
    assert "is finished, but has no page: no font at all\n" in capsys.readouterr().err
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_folder_that_is_no_finished_run_has_no_page(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run folder: there is no metrics\.jsonl"):
        page.rebuild(tmp_path)
    card = checkpoint.read_card(run / "best")
    assert card.training is not None
    unfinished = card.training.model_copy(update={"finished": False})
    card.model_copy(update={"training": unfinished}).write(run / "best" / checkpoint.CARD_FILE)
    with pytest.raises(UsageError, match="holds an unfinished run"):
        page.rebuild(run)


def test_restart_takes_the_page_away_with_the_run(run: Path) -> None:
    assert run_folder.PAGE_FILE in run_folder.WRITTEN


def test_the_surest_wrong_answers_are_the_worst() -> None:
    labels = np.array([0, 1, 1, 0], dtype=np.int64)
    images = np.zeros((4, 8, 8, 1), np.uint8)
    split = Split(images, labels, ("a", "b"), names=("0.png", "1.png", "2.png", "3.png"))
    logits = torch.tensor([[0.0, 1.0], [0.0, 9.0], [5.0, 0.0], [3.0, 0.0]])
    mistakes = judge(logits, torch.from_numpy(labels), epoch=1, names=split.names).mistakes
    shown = [(each.mistake.name, each.label, each.taken_for) for each in page.pictured(mistakes, split)]
    assert shown == [("2.png", "b", "a"), ("0.png", "a", "b")]
    assert [each.image for each in mistakes] == [2, 0]
    assert mistakes[0].confidence == pytest.approx(float(torch.tensor([5.0, 0.0]).softmax(0)[0]))
    right = judge(torch.eye(2)[torch.from_numpy(labels)], torch.from_numpy(labels), epoch=1)
    assert list(page.pictured(right.mistakes, split)) == []


def test_the_matrix_of_the_page_is_the_confusion_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(90, 3, generator=generator), torch.randint(0, 3, (90,), generator=generator)
    shown = page.matrix(judge(logits, labels, epoch=1))
    counts = confusion_matrix(logits, labels)
    assert [[cell.count for cell in row] for row in shown] == counts.tolist()
    assert sum(cell.share for cell in shown[0]) == pytest.approx(1)


def test_curves_need_no_learning_rate_and_no_loss_that_a_stage_does_not_have() -> None:
    rows = [
        {"epoch": 1, "losses": {"hint": 2.0}, "accuracy": 0.1, "macro_f1": 0.1, "loss": 2.0},
        {"epoch": 2, "losses": {"label": 1.0}, "accuracy": 0.5, "macro_f1": 0.4, "loss": 1.0},
    ]
    loss, quality = learning_curves(rows, best_epoch=2)
    assert "hint" in loss.svg
    assert "label" in loss.svg
    assert "Best: 50.00 % after epoch 2" in quality.caption
