"""The app's own tests and its build, run by the scripts that people run."""

import re
from pathlib import Path

import pytest

from tests.android_demo.conftest import run_script


def test_the_apps_junit_tests_pass(toolchain: Path) -> None:
    result = run_script("test.sh")
    assert result.returncode == 0, result.stdout + result.stderr
    passed = re.search(r"OK \((\d+) tests\)", result.stdout)
    assert passed
    assert int(passed[1]) >= 40
    pictures = re.search(r"golden images: (\d+) pictures .* largest difference of a pixel (\d+)", result.stdout)
    assert pictures
    assert int(pictures[1]) >= 200
    assert int(pictures[2]) == 0


@pytest.mark.slow
def test_the_app_builds_into_a_signed_apk(toolchain: Path) -> None:
    result = run_script("check.sh")
    assert result.returncode == 0, result.stdout + result.stderr
    size = re.search(r"check\.apk: (\d+) bytes", result.stdout)
    assert size
    assert 20_000 < int(size[1]) < 500_000
    assert len(re.findall(r"^ok ", result.stdout, re.MULTILINE)) == 9
