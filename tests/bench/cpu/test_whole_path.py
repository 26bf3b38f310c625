"""The whole path in Python on this machine."""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cpu.device import CpuBench
from bench.cpu.whole_path import time_path, top_classes
from bench.cpu.workers import Workers
from bench.record.whole_path import STAGES
from bench.session.answers.options import PathOptions
from bench.session.answers.path_pictures import path_pictures
from bench.session.cells import plan
from bench.timing.loop import HostLimits
from distill.errors import UsageError
from distill.vision.datasets.image_folder import ImageFolder
from export.artifact.manifest import MANIFEST_FILE, Manifest
from export.artifact.runner import Batch, Bound

SCRIPT = Path(__file__).parents[1] / "misbehaving_worker.py"
QUICK = HostLimits(
    warmup_count=2, warmup_s=0.0, min_count=25, min_s=0.0, max_count=25, steady_within=None, half_width=None
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root, rng = tmp_path / "pictures", np.random.default_rng(3)
    for split in ("train", "validation"):
        for name in "abc":
            (root / split / name).mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(root / split / name / "0.png")
    return root


@dataclass
class Slow:
    """A runner whose call takes 5 ms."""

    runtime: str = "slow"
    runtime_version: str = "1"
    threads: int = 1

    def bind(self, batch: Batch) -> Bound:
        def call() -> Batch:
            until = time.perf_counter_ns() + 5_000_000
            while time.perf_counter_ns() < until:
                pass
            return np.zeros((1, 3), dtype=np.float32)

        return Bound(call, call)


def test_a_slow_call_is_found_in_its_stage_and_the_stages_make_up_the_total(make_artifact, pictures):
    folder = make_artifact("one", dataset=ImageFolder(path=str(pictures)))
    files = sorted(pictures.rglob("validation/*/*.png"))
    manifest = Manifest.read(folder / MANIFEST_FILE)
    stages = time_path(Slow(), manifest, files, clock=time.perf_counter_ns)
    sums = np.sum([getattr(stages, name) for name in STAGES], axis=0)
    assert len(sums) >= 50
    assert np.all(sums <= np.asarray(stages.total_ms))
    assert min(stages.call_ms) == pytest.approx(5.0, rel=0.05)
    assert all(min(getattr(stages, name)) < 2.5 for name in STAGES if name != "call_ms")


def test_a_row_has_the_path_of_all_launches_where_it_is_asked_for(make_artifact, pictures):
    bench = CpuBench(
        limits=QUICK,
        launches=2,
        workers=Workers((sys.executable, str(SCRIPT)), ahead=2),
        memory_pass=False,
        path=PathOptions(wanted=True),
        repeats=40,
    )
    folder = make_artifact("one", dataset=ImageFolder(path=str(pictures)))
    cells = plan([folder], batches=[1], threads=[1], refusal=bench.refusal).cells
    ((_, row),) = bench.measure_all(cells, run_id="r", tell=lambda _: None)
    assert row.validity != "failed", row.reason
    assert row.path is not None
    assert (len(row.path.launch_counts), row.path.pictures) == (2, "3 held-out pictures, 40 x 30 px")
    whole = row.timed_by("pipeline")
    assert whole is not None
    assert (whole.samples_ms, whole.launch_counts) == (row.path.total_ms, row.path.launch_counts)
    assert row.repeated is not None
    assert (row.repeated.calls, row.repeated.launches, row.repeated.differs) == (80, 2, None)
    plain = replace(bench, path=PathOptions(), launches=1, repeats=1)
    ((_, without),) = plain.measure_all(cells, run_id="r", tell=lambda _: None)
    assert without.repeated is None
    assert (without.path, without.timed_by("pipeline"), without.timed_by("model")) == (None, None, without)


def test_a_picture_of_ones_own_is_taken_as_it_is_and_a_missing_one_is_named(make_artifact, pictures, tmp_path):
    folder = make_artifact("one", dataset=ImageFolder(path="/no/such/folder"))
    (cell,) = plan([folder], batches=[1], threads=[1], refusal=lambda manifest: None).cells
    own = pictures / "train" / "a" / "0.png"
    found = path_pictures(cell, None, own)
    assert (found.files, found.words) == ((own.read_bytes(),), "0.png, 40 x 30 px")
    assert path_pictures(cell, None, None).words == "its golden input, no held-out picture being there, 8 x 8 px"
    with pytest.raises(UsageError, match="there is no such file"):
        path_pictures(cell, None, tmp_path / "none.jpg")
    with pytest.raises(UsageError, match="the whole path is not timed"):
        PathOptions(picture=own)


def test_the_likeliest_classes_come_with_their_shares():
    assert top_classes(np.log(np.array([[0.1, 0.6, 0.3]], dtype=np.float32))) == [
        (1, pytest.approx(0.6)),
        (2, pytest.approx(0.3)),
        (0, pytest.approx(0.1)),
    ]
