"""The Android build chain, fetched once from Debian packages into out/android, and the app's core as a jar."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
APP = ROOT / "android_demo"


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """All scripts build in one folder, so another test process waits for its turn."""
    folder = ROOT / "out/android"
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHON": sys.executable}
    with (folder / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return subprocess.run(
            [APP / name, *arguments], capture_output=True, text=True, timeout=600, check=False, env=environment
        )


@pytest.fixture(scope="session")
def toolchain() -> Path:
    """Its folder; skips where there is no JDK or Debian's packages cannot be had."""
    for program in ("javac", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    folder = ROOT / "out/android/toolchain"
    fetched = run_script("toolchain.sh", str(folder))
    if fetched.returncode != 0:
        pytest.skip(f"the Android build chain cannot be fetched: {fetched.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="session")
def core_jar(toolchain: Path) -> Path:
    built = run_script("jvm.sh")
    assert built.returncode == 0, built.stderr
    return toolchain.parent / "jvm.jar"
