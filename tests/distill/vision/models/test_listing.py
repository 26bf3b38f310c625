"""What `distill list --models` says: figures as the papers count them, and what was proven."""

import json

import pytest

from distill.vision.models import MODELS
from distill.vision.models.listing import look_at
from distill.vision.models.proven import Artifact, Network, read_proven
from tests.distill.test_train import call

PROVEN = Artifact(
    verdict="pass",
    agreement=1.0,
    max_abs_difference=1e-5,
    size_bytes=1,
    pieces=None,
    outside=None,
    seconds=1.0,
    cause=None,
    versions={},
)
FAILED = PROVEN.model_copy(update={"verdict": "failed", "cause": "no such operation"})


@pytest.mark.parametrize(
    ("name", "millions", "macs", "has_branches", "licence"),
    [
        ("mobilenet_v4_conv_small", 3.8, 0.2e9, False, "apache-2.0"),  # arXiv:2404.10518, table 1
        ("mobileone_s0", 2.1, 275e6, True, "mobileone-license"),  # arXiv:2206.04040, table 6
        ("repvit_m0_9", 5.1, 0.8e9, True, "apache-2.0"),  # arXiv:2307.09283, table 1
        ("mobilenet_v3_small", 2.5, 56e6, False, ""),  # arXiv:1905.02244, table 3
    ],
)
def test_a_network_costs_what_its_paper_says_once_it_is_folded(
    name: str, millions: float, macs: float, has_branches: bool, licence: str
) -> None:
    listed = look_at(name, 224, {})
    assert listed.parameters == pytest.approx(millions * 1e6, rel=0.03)
    assert listed.macs == pytest.approx(macs, rel=0.08)
    assert (listed.folded, listed.licence, listed.proven) == (has_branches, licence, None)


def test_a_network_that_takes_no_such_pictures_has_no_figure_of_them() -> None:
    assert look_at("ghostnet_v2_100", 32, {}).macs is None
    assert look_at("deit_tiny", 64, {}).macs is not None


def test_formats_are_named_by_what_was_seen_of_them() -> None:
    artifacts = {"onnx fp32": PROVEN, "onnx int8": FAILED, "coreml fp32": FAILED, "litert fp32": PROVEN}
    known = {"resnet8": Network(size_px=32, num_classes=10, parameters=1, macs=1, artifacts=artifacts)}
    assert look_at("resnet8", 32, known).proven_in_words == "ONNX LRT, not ML"
    assert look_at("resnet8", 32, {}).proven_in_words == "–"


def test_what_is_kept_is_of_networks_that_exist() -> None:
    assert all(name in MODELS or name.startswith("timm:") for name in read_proven().networks)


def test_the_command_lists_the_table_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: MODELS[name] for name in ("resnet8", "starnet_s1")}
    monkeypatch.setattr("distill.vision.models.listing.MODELS", few)
    assert call(monkeypatch, "list", "--models", "--size", "64", "--json") == 0
    resnet, starnet = json.loads(capsys.readouterr().out)
    assert (resnet["name"], starnet["name"], starnet["published_px"]) == ("resnet8", "starnet_s1", 224)
    assert starnet["macs"] < 50e6
    assert call(monkeypatch, "list", "--models", "--size", "64") == 0
    assert "starnet_s1" in capsys.readouterr().err
