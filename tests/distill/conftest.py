"""What tests of training share: teachers that are trained once for all of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.config import RunConfig
from distill.train import train
from tests.conftest import MakeOnce

TeacherIn = Callable[[Path, RunConfig], None]


@pytest.fixture
def teacher_in(make_once: MakeOnce) -> TeacherIn:
    """teacher_in(folder, config): put the finished run of its teacher where a run in that folder looks for it."""

    def put(folder: Path, config: RunConfig) -> None:
        run = config.teacher_run()
        shutil.copytree(make_once(run.name, lambda path: train(run, path)), folder / run.name)

    return put
