"""The Android build chain, fetched once from Debian packages into out/android, and the app's core as a jar."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
APP = ROOT / "android_demo"


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(APP / name), *arguments], capture_output=True, text=True, timeout=600, check=False)


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
