"""Small networks that toolchains got wrong, could not take or made so that no runtime loads them."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.checkpoint import Checkpoint
from distill.errors import WorkFailed
from distill.vision.models import ImageClassifier
from export.artifact import manifest as manifests
from export.artifact.manifest import Manifest
from export.artifact.runner import open_runner, run_all
from export.convert import convert
from export.formats import Target
from export.formats.litert.floats import Model
from export.proof.evidence import Evidence, eager_logits
from export.proof.smallest import show
from export.quantize.recipe import QuantizationRecipe
from export.run.worker import blame

# Converters warn of their insides.
pytestmark = pytest.mark.filterwarnings("ignore")

Make = Callable[..., tuple[Path, Manifest]]


class Base(nn.Module):
    """Features [B, 8, 8, 8] of pictures of 32 px, and four logits from their means."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.first(x).relu())).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Thirds(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        gate = F.interpolate(F.avg_pool2d(h, 4, 2), size=h.shape[-2:], mode="nearest")
        ramp = torch.linspace(0, 2, h.shape[-1]).view(1, 1, 1, -1) ** 2
        return self.head((h * gate.sigmoid() * ramp).mean((2, 3)))


class Fractions(Base):
    """Enlarges three and five places to eight, and holds no other constant."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        smaller, small = F.avg_pool2d(h, 4, 2), F.avg_pool2d(h, 4, 1)
        gate = F.interpolate(small, size=h.shape[-2:]) + F.interpolate(smaller, size=h.shape[-2:])
        return self.head((h * gate.sigmoid()).mean((2, 3)))


class PaddedPool(Base):
    """Zeros around values below zero, of which a max pool takes the largest."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.pad(self.features(x) - 9, (1, 1, 1, 1)), 3, 2)
        return self.head(h.mean((2, 3)))


class GroupNorms(Base):
    """Two group norms, which share constants in ONNX, and numbers that are far from zero beside their spread."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.GroupNorm(4, 8), nn.GroupNorm(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.other(self.one(self.features(x) + 30)) * 3).relu().mean((2, 3)))


class Doubled(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        return self.head((h * F.interpolate(F.avg_pool2d(h, 2), scale_factor=2.0, mode="nearest")).mean((2, 3)))


class Fused(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x).mean((2, 3))
        h = torch.addcmul(h, h, h.tanh(), value=0.5) + torch.addcdiv(h, h, 1 + h.abs())
        return self.head(torch.sub(torch.add(h, h.tanh(), alpha=0.3), h.sin(), alpha=2))


class Resized(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        small = F.avg_pool2d(h, 2)
        h = h * F.interpolate(small, scale_factor=2.0, mode="bilinear") + F.interpolate(small, scale_factor=2.0)
        return self.head(F.normalize(h.mean((2, 3)), dim=1) + h.square().amax((2, 3)))


class Quotient(Base):
    """Divides by a sum that pictures make large or small, as linear attention does."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        return self.head((h / (h.sum(1, keepdim=True) + 1e-3)).mean((2, 3)))


class Tokens(Base):
    """A transformer's block: a token of its own before all others, layer normalisation, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(1, 1, 8))
        self.layer_norm, self.mixed = nn.LayerNorm(8), nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        own = self.own.expand(len(x), -1, -1)
        h = torch.cat([own, F.avg_pool2d(self.features(x), 2).flatten(2).mT], 1)
        q, k, v = self.mixed(self.layer_norm(h)).chunk(3, -1)
        h = h + (q @ k.mT).softmax(-1) @ v
        return self.head(h[:, 1:].mean(1))


class MixedHeads(Base):
    """Attention whose heads are mixed by convolutions, as EfficientFormerV2's are."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.behind = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x).flatten(2).view(len(x), 2, 4, 64)
        shares = self.behind(self.before(h.mT @ h).softmax(-1))
        return self.head((h @ shares).flatten(1, 2).mean(2))


class Pointwise(Base):
    """A matrix product over the channels of a picture, then a factor for each, as in networks of ConvNeXt's kind."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(8, 16), nn.Linear(16, 8)
        self.factors = nn.Parameter(torch.rand(8) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        mixed = self.narrow(self.wide(h.permute(0, 2, 3, 1)).relu()) * self.factors
        return self.head((h + mixed.permute(0, 3, 1, 2)).mean((2, 3)))


class Branches(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x).mean((2, 3))
        if x.mean() > 1.9:
            h = -h
        return self.head(h)


@pytest.fixture
def make(checkpoint: Checkpoint, evidence: Evidence, tmp_path: Path) -> Make:
    """make(network, format, precision) -> an artifact of a network that tells the tiny checkpoint's pictures apart."""

    def run(network: Base, format: str, precision: str = "fp32", *, allow_loss: bool = False) -> tuple[Path, Manifest]:
        card, images = checkpoint.card, evidence.held_out.images
        torch.manual_seed(0)
        model = ImageClassifier(network, card.preprocess)
        pixels = torch.from_numpy(card.preprocess.to_input(images))
        with torch.no_grad():
            for layer in (network.first, network.second):
                layer.weight.copy_(torch.randn(layer.weight.shape) / layer.weight[0].numel() ** 0.5)
            network.norm.momentum = None
            model.train()(pixels)
            logits = model.eval()(pixels)
            network.head.weight *= (2 / logits.std(0))[:, None]
            network.head.bias -= model(pixels).mean(0)
        logits = eager_logits(model, card.preprocess, images, lambda done, total: None)
        assert len(set(logits.argmax(1))) > 1, "the pictures exercise it"
        held_out = replace(evidence.held_out, labels=None, eager_logits=logits, seed=None, data_sha256=None)
        untrained = replace(checkpoint, card=card.model_copy(update={"training": None}), model=model)
        target = Target(format, precision)  # type: ignore[arg-type]
        folder = tmp_path / target.name
        proof = Evidence(held_out, evidence.calibration)
        return folder, convert(untrained, target, proof, folder, allow_loss=allow_loss)

    return run


class Attends(Base):
    """Attention of two heads among the 64 places, with a bias; the first place answers."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.bias = nn.Buffer(torch.linspace(-1, 1, 64).expand(1, 1, 64, 64).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        places = self.features(x).flatten(2).transpose(1, 2)
        heads = (
            layer(places).reshape(len(x), 64, 2, 4).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(*heads, attn_mask=self.bias)
        return self.head(seen.transpose(1, 2).reshape(len(x), 64, 8)[:, 0])


def test_xnnpack_takes_attention_in_one_piece(make: Make) -> None:
    _, manifest = make(Attends(), "executorch")
    assert (manifest.parity.verdict, manifest.parity.top1_agreement) == ("pass", 1.0)
    assert manifest.delegation is not None
    assert (manifest.delegation.pieces, manifest.delegation.undelegated) == (1, {})
    assert "rewritten but for the rounding alike: 1 × attention in parts" in manifest.notes


@pytest.mark.parametrize(
    ("network", "format"),
    [
        (Thirds, "litert"),
        (Fractions, "litert"),
        (Doubled, "litert"),
        (PaddedPool, "onnx"),
        (GroupNorms, "executorch"),
        (Fused, "coreml"),
        (Fused, "litert"),
        (Resized, "coreml"),
        (MixedHeads, "executorch"),
        (Tokens, "executorch"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_its_logits_are_eagers(make: Make, network: type[Base], format: str) -> None:
    _, manifest = make(network(), format)
    assert (manifest.parity.verdict, manifest.parity.top1_agreement) == ("pass", 1.0)


@pytest.mark.parametrize(
    ("network", "precision"),
    [(Quotient, "int8"), (Tokens, "int8"), (Tokens, "int16x8")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_whatever_is_divided_by_stays_float_and_answers_are_numbers_of_any_picture(
    make: Make, network: type[Base], precision: str
) -> None:
    folder, manifest = make(network(), "litert", precision, allow_loss=True)
    content = (folder / "model.tflite").read_bytes()
    model = Model(content)
    divisions = [each for each in model.operations if each.name in ("DIV", "RSQRT")]
    assert divisions
    assert all(model.is_float(index) for each in divisions for index in each.inputs)
    assert sum(each.name in ("CONV_2D", "FULLY_CONNECTED") for each in model.operations) >= 3
    dark = np.full((1, *manifest.preprocess.input_shape), 1e-3, np.float32)
    logits = run_all(open_runner(folder, manifest, threads=1), np.concatenate([dark, 1 - dark]), batch_sizes=(1,))
    assert np.isfinite(logits).all()
    assert manifest.parity.top1_agreement is not None
    assert manifest.parity.top1_agreement > 0.9


def test_litert_loads_the_quantized_biases_of_products_of_pictures(make: Make) -> None:
    _, manifest = make(Pointwise(), "litert", "int8", allow_loss=True)
    assert manifest.parity.top1_agreement is not None
    assert manifest.parity.top1_agreement > 0.9


class Activated(Attends):
    """Attention, and GELU behind it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(super().forward(x)) * 2


def test_litert_keeps_in_one_piece_what_xnnpack_takes_in_float_alone(make: Make) -> None:
    folder, manifest = make(Activated(), "litert", "int8", allow_loss=True)
    assert manifest.delegation is not None
    assert (manifest.delegation.pieces, manifest.delegation.undelegated) == (1, {})
    model = Model((folder / "model.tflite").read_bytes())
    kept = [each for each in model.operations if each.name in ("GELU", "SOFTMAX", "BATCH_MATMUL")]
    assert {each.name for each in kept} == {"GELU", "SOFTMAX", "BATCH_MATMUL"}
    assert all(model.is_float(index) for each in kept for index in (*each.inputs, *each.outputs))
    weighted = [each for each in model.operations if each.name in ("CONV_2D", "FULLY_CONNECTED")]
    assert weighted
    assert not any(model.is_float(each.outputs[0]) for each in weighted)


def test_executorchs_divisor_is_never_an_integer() -> None:
    int8 = importlib.import_module("export.formats.executorch.int8")
    recipe = QuantizationRecipe(calibrator="mse")
    program = torch.export.export(Quotient().eval(), (torch.rand(1, 3, 32, 32),))
    graph = int8.quantize(program, recipe, np.random.default_rng(0).random((8, 3, 32, 32), np.float32)).graph
    (division,) = [node for node in graph.nodes if node.target is torch.ops.aten.div.Tensor]
    divided, divisor = division.args
    assert "dequantize" in str(divided.target)
    assert divisor.target is torch.ops.aten.add.Tensor
    assert "dequantize" not in str(divisor.args[0].target)


class Turned(Base):
    """Places behind a token of their own, turned in another way each; a concatenation has one range."""

    def __init__(self, turn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.token, self.turn = nn.Parameter(torch.full((1, 1, 8), 9.0)), turn

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.token, self.turn(self.features(x).flatten(2))], 1)).mean(1)


@pytest.mark.parametrize(
    "turn",
    [lambda h: h.mT, lambda h: h.transpose(1, 2), lambda h: h.permute(0, 2, 1)],
    ids=["mT", "transpose", "permute"],
)
def test_what_only_moves_values_keeps_their_range(turn: Callable[[Tensor], Tensor]) -> None:
    """XNNPACK loads no transposition between two ranges."""
    int8 = importlib.import_module("export.formats.executorch.int8")
    program = torch.export.export(Turned(turn).eval(), (torch.rand(1, 3, 32, 32),))
    images = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    graph = int8.quantize(program, QuantizationRecipe(calibrator="mse"), images).graph
    moves = [node for node in graph.nodes if node.target in int8.MOVES]
    assert moves
    for node in moves:
        (behind,) = node.users
        assert behind.args[1:3] == node.args[0].args[1:3], "scale and zero point"


def test_onnx_takes_group_norms_beside_integers(make: Make) -> None:
    _, manifest = make(GroupNorms(), "onnx", "int8", allow_loss=True)
    assert manifest.parity.verdict != "not-run"


def test_onnxs_small_divisor_is_not_rounded_to_zero(make: Make) -> None:
    folder, manifest = make(Quotient(), "onnx", "int8", allow_loss=True)
    dark = np.full((1, *manifest.preprocess.input_shape), 1e-3, np.float32)
    logits = run_all(open_runner(folder, manifest, threads=1), np.concatenate([dark, 1 - dark]), batch_sizes=(1,))
    assert np.abs(logits).max() < 50
    assert manifest.parity.top1_agreement is not None
    assert manifest.parity.top1_agreement > 0.9


def test_litert_enlarges_by_no_whole_number_in_one_piece(make: Make) -> None:
    _, manifest = make(Fractions(), "litert")
    assert manifest.delegation is not None
    assert (manifest.delegation.pieces, manifest.delegation.undelegated) == (1, {})


def test_enlarging_to_whole_pixels_stays_the_runtimes_own_operation(make: Make) -> None:
    _, manifest = make(Doubled(), "litert")
    assert manifest.delegation is not None
    assert manifest.delegation.undelegated in ({}, {"RESIZE_NEAREST_NEIGHBOR": 1})


@pytest.mark.parametrize("format", ["torchscript", "onnx"])
def test_a_network_that_branches_on_its_picture_is_refused_by_name(make: Make, tmp_path: Path, format: str) -> None:
    with pytest.raises(
        WorkFailed, match=r"branches on its picture.*Branches in test_hard_networks.py, line \d+ \(`if x"
    ):
        make(Branches(), format)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_proven_here_is_kept_unproven_on_request(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = importlib.import_module("export.artifact.mil.interpreter")
    known = {name: function for name, function in interpreter.OPERATIONS.items() if name != "relu"}
    monkeypatch.setattr(interpreter, "OPERATIONS", known)
    with pytest.raises(
        WorkFailed, match=r"cannot be proven here: operation 'relu'.*Keep it unproven with --allow-loss"
    ):
        make(Base(), "coreml")
    folder, manifest = make(Base(), "coreml", allow_loss=True)
    assert (manifest.parity.verdict, manifest.allowed_loss) == ("not-run", False)
    assert "unproven" in manifest.parity.reason
    assert manifests.read_artifact(folder) == manifest


def test_what_only_training_needs_is_folded_and_the_manifest_says_so(make: Make) -> None:
    class Branched(Base):
        def __init__(self) -> None:
            super().__init__()
            self.side: nn.Conv2d | None = nn.Conv2d(3, 8, 1, 2)

        def features(self, x: Tensor) -> Tensor:
            x = self.first(x) if self.side is None else self.first(x) + self.side(x)
            return self.norm(self.second(x.relu())).relu()

        def reparameterize(self) -> None:
            assert self.side is not None
            with torch.no_grad():
                self.first.weight[:, :, 1:2, 1:2] += self.side.weight
                self.first.bias += self.side.bias
            self.side = None

    network = Branched()
    before = sum(parameter.numel() for parameter in network.parameters())
    _, manifest = make(network, "torchscript")
    assert manifest.parity.verdict == "pass"
    assert manifest.num_parameters == before - 32
    (note,) = manifest.notes
    assert f"{before:,} parameters became {before - 32:,}" in note


class Smoothed(Base):
    """litert-torch has no enlarging by cubic splines that smooths."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        return self.head(F.interpolate(h, size=(5, 5), mode="bicubic", antialias=True).mean((2, 3)))


def test_a_converters_fault_is_shown_by_the_one_operation_that_it_is_in(
    make: Make, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="Lowering not found") as caught:
        make(Smoothed(), "litert")
    model = ImageClassifier(Smoothed().eval(), checkpoint.card.preprocess).eval()
    file = tmp_path / "smallest_litert_fp32.py"
    untrained = replace(checkpoint, model=model)
    assert blame(Target("litert", "fp32"), untrained, WorkFailed("no room"), file) == ""
    words = blame(Target("litert", "fp32"), untrained, caught.value, file)
    assert words.endswith(f"fails on aten._upsample_bicubic2d_aa.vec alone, too: {file} shows it.")
    text = file.read_text()
    assert "litert-torch 0." in text
    assert "Lowering not found: aten._upsample_bicubic2d_aa" in text
    assert "torch.ops.aten._upsample_bicubic2d_aa.vec(x0, [5, 5], False, None)" in text
    names = {}
    exec(text, names)
    picture = torch.rand(1, 3, 14, 14)
    assert torch.equal(
        names["make"](64)(picture)[0],
        F.interpolate(
            picture.flatten()[:512].reshape(1, 8, 8, 8), size=(5, 5), mode="bicubic", antialias=True
        ).flatten()[:64],
    )


def test_where_every_operation_is_right_by_itself_none_is_blamed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = ImageClassifier(Base().eval(), checkpoint.card.preprocess).eval()
    target, file = Target("onnx", "fp32"), tmp_path / "smallest.py"
    assert show(replace(checkpoint, model=model), target, RuntimeError("relu"), file, convert) is None
    assert not file.exists()
