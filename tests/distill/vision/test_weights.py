"""Files of weights as people have them fit the network they are of, and what does not fit is refused in words."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from distill.errors import UsageError
from distill.vision.weights import fill, read_weights


def network(classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(classes))


def made(seed: int = 0, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    net = network(classes)
    net(torch.rand(4, 3, 6, 6))
    return net


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def filled_from(path: Path, content: object) -> nn.Module:
    torch.save(content, path)
    target = made(seed=1)
    fill(target, read_weights(path), source=path, name="the network")
    return target


def same(left: nn.Module, right: nn.Module) -> bool:
    theirs = right.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in left.state_dict().items())


PREFIXES = ["", "module.", "_orig_mod.", "model.", "backbone.", "student.", "module.model.", "net._orig_mod."]
WRAPPINGS = ["state_dict", "model", "model_state", "model_state_dict", "net", "params", "ema", "weights", "best.model"]


def wrapped(keys: str, content: object) -> object:
    for key in reversed(keys.split(".")):
        content = {key: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}}
    return content


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("keys", WRAPPINGS)
def test_wrappings_and_prefixes_are_taken_off(tmp_path: Path, prefix: str, keys: str) -> None:
    original = made()
    content = wrapped(keys, prefixed(prefix, original.state_dict()))
    assert same(filled_from(tmp_path / "w.pth", content), original)


def test_prefixes_are_taken_off_in_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = made()
    save_file(prefixed("module.", original.state_dict()), tmp_path / "w.safetensors")
    target = made(seed=1)
    fill(target, read_weights(tmp_path / "w.safetensors"), source=tmp_path / "w.safetensors", name="the network")
    assert same(target, original)
    assert "names that begin with 'module.'" in capsys.readouterr().err


def test_what_scripts_keep_beside_the_weights_does_no_harm(tmp_path: Path) -> None:
    original = made()
    beside = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.9), "seen": np.zeros(3), "path": Path("x")}
    assert same(filled_from(tmp_path / "w.pth", {"state_dict": original.state_dict(), **beside}), original)


def test_a_lightning_checkpoint_has_more_than_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = made()
    content = {"loss.weight": torch.ones(3), **prefixed("model.", original.state_dict())}
    checkpoint = {"state_dict": content, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2"}
    assert same(filled_from(tmp_path / "last.ckpt", checkpoint), original)
    assert "its 'state_dict', names that begin with 'model.'; 1 other tensors are not used" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["ema", "state_dict_ema", "model_ema", "params_ema"])
def test_a_moving_average_is_preferred_and_said(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    last, averaged = made(2), made(3)
    content = {"state_dict": last.state_dict(), key: prefixed("module.", averaged.state_dict())}
    assert same(filled_from(tmp_path / "w.pth", content), averaged)
    assert f"its {key!r}" in capsys.readouterr().err


def test_two_networks_in_a_file_are_not_chosen_from_in_silence(tmp_path: Path) -> None:
    student, teacher = made(2), made(3)
    content = {"state_dict": prefixed("student.", student.state_dict()) | prefixed("teacher.", teacher.state_dict())}
    with pytest.raises(UsageError, match=r"several networks that fit.*'student\.'.*'teacher\.'") as refused:
        filled_from(tmp_path / "w.pth", content)
    run_line(str(refused.value))
    assert same(filled_from(tmp_path / "again.pth", torch.load(tmp_path / "w-state_dict.pth")), teacher)


def run_line(message: str) -> None:
    """Run the shell line that an error ends with, as a user would paste it."""
    (line,) = re.findall(r"python (-c .*)$", message)
    subprocess.run([sys.executable, *shlex.split(line)], check=True)


def test_counters_of_batch_norm_may_be_missing_or_too_many(tmp_path: Path) -> None:
    original = made()
    without = {name: value for name, value in original.state_dict().items() if "num_batches" not in name}
    fresh = filled_from(tmp_path / "w.pth", without)
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in without.items())
    more = original.state_dict() | {"0.num_batches_tracked": torch.tensor(3)}
    assert same(filled_from(tmp_path / "more.pth", more), original)


def test_a_file_for_other_classes_names_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of a network for 1000 classes, here there are 3"):
        filled_from(tmp_path / "w.pth", prefixed("module.", made(classes=1000).state_dict()))


def test_a_deeper_network_does_not_pass_for_a_shallow_one(tmp_path: Path) -> None:
    deeper = made().state_dict() | {"4.weight": torch.ones(3)}
    with pytest.raises(UsageError, match=r"1 unknown: 4\.weight"):
        filled_from(tmp_path / "w.pth", deeper)


class Trained(nn.Module):
    """A network whose class only its maker has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"model": net, "epoch": 1}])
def test_a_pickled_module_gets_a_line_that_converts_it(
    tmp_path: Path, wrap: Callable[[nn.Module], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it's mine.pth"
    torch.save(wrap(nn.Linear(2, 2)), path)
    with pytest.raises(UsageError, match=r"pickle of Python objects \(torch\.nn\.modules\.linear\.Linear") as refused:
        read_weights(path)
    assert "\x1b" not in str(refused.value)
    run_line(str(refused.value))
    found = read_weights(tmp_path / "it's mine-weights.pth")
    assert set(found.state_dicts[""]) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04 cut off", "may be cut off"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"plain text", "cannot be read as weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as refused:
        read_weights(path)
    assert "\n" not in str(refused.value)
    assert "two options" not in str(refused.value)


def test_a_torchscript_program_is_no_file_of_weights(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.trace(nn.Linear(2, 2), torch.rand(1, 2)).save(tmp_path / "t.pt")
    with pytest.raises(UsageError, match=r"TorchScript program.*teacher\.kind=program"):
        read_weights(tmp_path / "t.pt")


def test_a_file_is_read_by_what_it_holds_and_not_by_its_name(tmp_path: Path) -> None:
    tensors = {"weight": torch.rand(2, 2), "bias": torch.rand(2)}
    save_file(tensors, tmp_path / "w.pth")
    torch.save(tensors, tmp_path / "zip.safetensors")
    torch.save(tensors, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    for name in ("w.pth", "zip.safetensors", "old.safetensors"):
        (found,) = read_weights(tmp_path / name).state_dicts.values()
        assert {key: value.tolist() for key, value in found.items()} == {
            key: value.tolist() for key, value in tensors.items()
        }


def test_an_optimizers_state_and_names_without_numbers_are_no_weights(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 2)).sum().backward()
    optimizer.step()
    torch.save({"optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "o.pth")
    with pytest.raises(UsageError, match="the state of an optimizer and no network"):
        read_weights(tmp_path / "o.pth")
    torch.save(nn.Linear(2, 2, device="meta").state_dict(), tmp_path / "m.pth")
    with pytest.raises(UsageError, match="names and shapes only"):
        read_weights(tmp_path / "m.pth")


def test_a_list_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "w.pth")
    with pytest.raises(UsageError, match="it holds a list without named tensors"):
        read_weights(tmp_path / "w.pth")
