"""The tests that are marked `gpu`: no host synchronisation in a step, every way to run a network, and so on."""

import importlib.util

from tests.gpu_check.finding import Finding
from tests.gpu_check.place import ROOT, Place, last_words

ENDED_WELL, NOTHING_COLLECTED = 0, 5


def check(place: Place) -> Finding:
    """Run them; in a rehearsal they are only collected."""
    if importlib.util.find_spec("pytest") is None:
        words = "pytest is not installed (pip install pytest): the tests marked gpu were not run."
        return Finding(passed=None, words=words)
    mode = () if place.on_gpu else ("--collect-only",)
    ended = place.run("pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *mode, *files_of_gpu_tests())
    if ended.returncode == NOTHING_COLLECTED:
        return Finding(passed=False, words="no test is marked gpu; the mark was lost.")
    return Finding(passed=ended.returncode == ENDED_WELL, words=last_words(ended))


def files_of_gpu_tests() -> list[str]:
    """Files of `tests` with the mark in them; the others may import what a box with the extra `train` alone has not."""
    tests = ROOT / "tests"
    return sorted(str(path.relative_to(ROOT)) for path in tests.rglob("test_*.py") if "mark.gpu" in path.read_text())
