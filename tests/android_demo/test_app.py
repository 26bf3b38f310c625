"""The app's own tests and its build, run by the scripts that people run."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from android_demo.__main__ import app as android_demo
from tests.android_demo.conftest import APP, run_script


def test_the_apps_junit_tests_pass(toolchain: Path) -> None:
    result = run_script("test.sh")
    assert result.returncode == 0, result.stdout + result.stderr
    passed = re.search(r"OK \((\d+) tests\)", result.stdout)
    assert passed
    assert int(passed[1]) >= 60
    pictures = re.search(r"golden images: (\d+) pictures .* largest difference of a pixel (\d+)", result.stdout)
    assert pictures
    assert int(pictures[1]) >= 200
    assert int(pictures[2]) == 0
    answers = re.search(r"golden answers: (\d+) pictures .* different pixels (\d+)", result.stdout)
    assert answers
    assert int(answers[1]) >= 200
    assert int(answers[2]) == 0


@pytest.mark.slow
def test_the_app_builds_into_a_signed_apk(toolchain: Path) -> None:
    result = run_script("check.sh")
    assert result.returncode == 0, result.stdout + result.stderr
    size = re.search(r"check\.apk: (\d+) bytes", result.stdout)
    assert size
    assert 20_000 < int(size[1]) < 500_000
    assert len(re.findall(r"^ok ", result.stdout, re.MULTILINE)) == 10
    assert "ok    what a store looks at" in result.stdout
    words = ["preflight", str(toolchain.parent / "check.apk"), "--json"]
    looked_at = CliRunner().invoke(android_demo, words, standalone_mode=False)
    assert looked_at.return_value == 0
    assert json.loads(looked_at.stdout)["bytes_by_part"].keys() == {"code", "the rest"}


def test_the_app_is_built_with_the_runtimes_that_its_models_need(tmp_path: Path) -> None:
    """Gradle is stood in for by a program that tells what it was asked for, and leaves an APK that cannot go out."""
    bundle, programs = tmp_path / "bundle", tmp_path / "programs"
    programs.mkdir()
    for number, name in enumerate(("onnx", "torchscript", "onnx", "litert")):
        (bundle / str(number)).mkdir(parents=True)
        (bundle / str(number) / "manifest.json").write_text(f'{{\n  "format": "{name}",\n  "x": 1\n}}')
    gradle = programs / "gradle"
    gradle.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit 3\n')
    gradle.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "ANDROID_HOME": str(tmp_path)}
    for words in ([str(bundle)], [str(bundle), "torchscript"]):
        ended = subprocess.run([APP / "app.sh", *words], env=environment, check=False)
        assert ended.returncode == 3
    usual, named = (tmp_path / "asked").read_text().splitlines()
    assert "-Pengines=litert,onnx" in usual.split()
    assert "-Pengines=torchscript" in named.split()
