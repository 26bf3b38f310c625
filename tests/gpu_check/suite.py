"""The tests that are marked `gpu`: no host synchronisation in a step, every way to run a network, and so on."""

import importlib.util

from tests.gpu_check.finding import Finding
from tests.gpu_check.place import Place, last_words

ENDED_WELL, NOTHING_COLLECTED = 0, 5


def check(place: Place) -> Finding:
    """Run them; in a rehearsal they are only collected."""
    if importlib.util.find_spec("pytest") is None:
        words = "pytest is not installed (pip install pytest): the tests marked gpu were not run."
        return Finding(passed=None, words=words)
    mode = () if place.on_gpu else ("--collect-only",)
    ended = place.run("pytest", "-m", "gpu", "-q", "-x", "-p", "no:cacheprovider", *mode, "tests")
    if ended.returncode == NOTHING_COLLECTED:
        return Finding(passed=False, words="no test is marked gpu; the mark was lost.")
    return Finding(passed=ended.returncode == ENDED_WELL, words=last_words(ended))
