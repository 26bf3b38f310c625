import pytest

from distill.vision.tasks import TASKS


def test_quality_is_kept_in_the_direction_that_is_better() -> None:
    assert TASKS["segmentation"].measure.kept(0.6, 0.8) == pytest.approx(0.75)
    assert TASKS["depth"].measure.kept(0.5, 0.4) == pytest.approx(0.8)
    assert TASKS["depth"].measure.score(0.4) > TASKS["depth"].measure.score(0.5)
    assert TASKS["classification"].measure.kept(0.0, 0.0) == 1.0


def test_a_dense_task_answers_for_every_pixel() -> None:
    assert TASKS["classification"].output_shape(7, 64) == (7,)
    assert TASKS["segmentation"].output_shape(7, 64) == (7, 64, 64)
    assert TASKS["depth"].output_shape(1, 64) == (1, 64, 64)
