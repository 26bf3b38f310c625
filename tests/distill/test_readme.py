"""The README's own commands for a teacher run as they are printed."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from distill import terminal
from distill.__main__ import app
from distill.methods import METHODS

README = (Path(__file__).parents[2] / "README.md").read_text()
TEACHERS = re.findall(r"^(--set teacher\.kind=.*?)(?:  +#.*)?$", README, re.MULTILINE)
COMMAND = "python -m distill run folder-kd --set dataset.path=my-pictures --set image.size_px=96"
SMALL = (
    "--set model=torchvision:shufflenet_v2_x0_5 --set training.epochs=1 --set training.batch_size=8 --set device=cpu"
)


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README names."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        for label, name in enumerate(("dark", "light")):
            folder = tmp_path / "my-pictures" / split / name
            folder.mkdir(parents=True)
            for index in range(5):
                pixels = rng.integers(0, 60, (40, 40, 3)) + 190 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.jpg")
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18", num_classes=2).state_dict(), tmp_path / "W.safetensors")
    np.save(tmp_path / "logits.npy", np.eye(2)[np.repeat([0, 1], 5)])
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    monkeypatch.setattr(sys, "argv", ["distill", *shlex.split(command)[3:]])
    with pytest.raises(SystemExit) as ended:
        terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_readme_has_a_line_for_every_kind_of_teacher() -> None:
    assert COMMAND in README
    assert [kind for line in TEACHERS for kind in re.findall(r"kind=(\w+)", line)] == [
        "checkpoint",
        "library",
        "program",
        "logits",
    ]


@pytest.mark.parametrize("line", TEACHERS)
def test_the_command_runs_as_printed(at_home: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    if "teacher.path=RUN" in line:
        scratch = COMMAND.replace("folder-kd", "folder-scratch")
        assert run(monkeypatch, f"{scratch} {SMALL} --out RUN") == 0
    if "teacher.pt2" in line:
        network = timm.create_model("test_resnet", num_classes=2).eval()
        shapes = ({0: torch.export.Dim("batch", min=1, max=512)},)
        program = torch.export.export(network, (torch.rand(2, 3, 224, 224),), dynamic_shapes=shapes)
        torch.export.save(program, at_home / "teacher.pt2")
    assert run(monkeypatch, f"{COMMAND} {line} {SMALL} --out student") == 0
    assert (at_home / "student" / "best" / "card.json").is_file()


def test_every_method_stands_in_the_table_of_its_family() -> None:
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (`.*) \|$", README, re.MULTILINE))
    for kind, config in METHODS.items():
        assert f"`{kind}`" in rows[config.family], kind
