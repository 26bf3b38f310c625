"""In CI a skipped test is a failed one, unless it needs a GPU or a phone."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BY_A_MARK = "@pytest.mark.skipif(True, reason='there is no uv')\ndef test(): pass"
FILES = {
    "in_a_test": "def test(): pytest.skip('there is no uv')",
    "in_a_fixture": "@pytest.fixture\ndef tool(): pytest.skip('there is no uv')\ndef test(tool): pass",
    "by_a_mark": BY_A_MARK,
    "at_import": "pytest.skip('there is no uv', allow_module_level=True)",
    "needs_a_gpu": f"pytestmark = pytest.mark.gpu\n{BY_A_MARK}",
    "needs_a_phone": f"pytestmark = pytest.mark.phone\n{BY_A_MARK}",
    "expected_to_fail": "@pytest.mark.xfail\ndef test(): assert False",
    "passes": "def test(): pass",
}


def run_tests(folder: Path, *, ci: str | None) -> str:
    """What pytest prints of these files with the project's hooks and settings."""
    for name, text in FILES.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n{text}\n")
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTEST_ADDOPTS")}
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *settings, "--continue-on-collection-errors", folder]
    environment |= {"CI": ci} if ci else {}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300).stdout


def test_a_skip_for_want_of_a_tool_fails_in_ci(tmp_path: Path) -> None:
    said = run_tests(tmp_path, ci="true")
    assert "1 failed, 1 passed, 2 skipped, 1 xfailed, 3 errors" in said, said
    failures = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    for name in ("in_a_test", "in_a_fixture", "by_a_mark", "at_import"):
        assert any(f"test_{name}.py" in line for line in failures), failures
    assert "there is no uv. In CI only tests marked gpu or phone may be skipped: let .ci/run install" in said


def test_elsewhere_it_is_a_skip(tmp_path: Path) -> None:
    assert "1 passed, 6 skipped, 1 xfailed" in run_tests(tmp_path, ci=None)
