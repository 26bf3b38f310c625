"""What the Core ML exporter writes: every student in every kind of precision, metadata, and the same bytes twice."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill.checkpoint import Checkpoint
from distill.errors import UsageError
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from export.formats import FORMATS
from export.formats.job import ExportJob
from export.proof.evidence import Evidence
from export.proof.limits import FLOAT_MIN_AGREEMENT
from export.quantize.recipe import QuantizationRecipe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # coremltools warns of its own source when Python compiles it
    from coremltools.converters.mil.mil import Program as UnwrittenProgram
    from coremltools.optimize.coreml import decompress_weights
    from coremltools.proto import Model_pb2

    from export.artifact.mil.interpreter import Interpreter
    from export.artifact.mil.package import model_file
    from export.artifact.mil.program import Named, Operation, Program, Reference, TensorType, read_program
    from export.formats.coreml import exporter as coreml
    from export.formats.coreml.compression import activation_ranges, int8_weights, palette, shared_by_concatenation

# coremltools warns of its insides while it converts, and leaves a temporary folder to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore")

STUDENTS = ("mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "ghostnet_100")
SIZE = 64

# How far logits may lie from eager's, as a share of what they vary by from image to image. A network without training
# amplifies rounding: the error of this ShuffleNet is 4e-5 in fp32 and, with 13 bits fewer, 0.2 in fp16.
TOLERANCE = {"fp32": 2e-4, "fp16": 0.4}


def pictures(count: int, seed: int) -> torch.Tensor:
    """Smooth grey pictures of different brightness, [N, 1, SIZE, SIZE] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 5, 5, generator=generator) * torch.rand(count, 1, 1, 1, generator=generator)
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")


def randomise(model: torch.nn.Module) -> None:
    """Scales and statistics of a network that is not trained, of the size that its activations have."""
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        torch.nn.init.uniform_(norm.weight, 0.7, 1.4, generator=generator)
        torch.nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
    with torch.no_grad():
        model.train()(pictures(32, seed=0))
    model.eval()


@pytest.fixture
def job(checkpoint: Checkpoint, evidence: Evidence, tmp_path: Path) -> Callable[..., ExportJob]:
    """job(precision) -> an export of the tiny checkpoint into an empty folder; any field can be replaced."""

    def make(precision: str, folder: str = "artifact", **changes: Any) -> ExportJob:
        (tmp_path / folder).mkdir()
        assert evidence.calibration is not None
        images = checkpoint.card.preprocess.to_input(evidence.calibration.images)
        made = ExportJob(
            model=checkpoint.model,
            card=checkpoint.card,
            precision=precision,
            batch=1,
            calibration_images=images,
            checkpoint=checkpoint.folder,
            folder=tmp_path / folder,
        )
        return replace(made, **changes)

    return make


def save(model: Any, folder: Path) -> Program:
    model.save(str(folder / "model.mlpackage"))
    return read_program(folder / "model.mlpackage")


def logits_of(model: Any, images: torch.Tensor, folder: Path) -> torch.Tensor:
    folder.mkdir()
    interpreter = Interpreter(save(model, folder))
    return torch.cat([interpreter.run({"images": image[None]})["logits"] for image in images])


def types(program: Program) -> list[str]:
    return [operation.type for operation in program.operations]


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_computes_what_eager_computes(
    name: str, job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # coremltools looks at its program after each of a hundred passes; here it is computed what comes out.
    monkeypatch.setattr(UnwrittenProgram, "validate", lambda *_, **__: None)
    preprocess = Preprocess.model_validate({"size_px": SIZE, "channels": 1, "mean": (0.2,), "std": (0.25,)})
    torch.manual_seed(0)
    model = build(name, num_classes=10, preprocess=preprocess)
    randomise(model)
    images = pictures(8, seed=1)
    with torch.no_grad():
        expected = model(images)
    spread = float((expected - expected.mean(0)).abs().max())
    card = job("fp32").card.model_copy(update={"preprocess": preprocess})
    student = job("fp16", "student", model=model, card=card)
    half = coreml.convert(student, coreml.CONVERSIONS["fp16"])
    floats = {"fp32": coreml.convert(student, coreml.CONVERSIONS["fp32"]), "fp16": half}
    found = {precision: logits_of(made, images, tmp_path / precision) for precision, made in floats.items()}
    for precision, tolerance in TOLERANCE.items():
        assert (found[precision] - expected).abs().max() < tolerance * spread, precision
    assert torch.equal(found["fp32"].argmax(1), expected.argmax(1))
    for compression, made in {"int8": int8_weights(half), "palette": palette(half, 4)}.items():
        compressed = logits_of(made, images, tmp_path / compression)
        decompressed = logits_of(decompress_weights(made), images, tmp_path / f"{compression}-decompressed")
        assert torch.equal(compressed, decompressed), f"{compression}: not the weights that coremltools decodes"
        assert not torch.equal(compressed, found["fp16"])


@pytest.mark.parametrize("precision", FORMATS["coreml"].schemes)
def test_every_precision_is_proven_and_says_what_it_needs(artifact, precision: str) -> None:
    _, manifest = artifact("coreml", precision)
    # 60 images are all there are, and too few to show that no more than 1 % of the accuracy is lost.
    assert manifest.parity.verdict == ("pass" if precision in FLOAT_MIN_AGREEMENT else "open")
    assert manifest.parity.num_images == 60
    assert manifest.minimum_runtime == ("iOS 17, macOS 14" if precision == "int8" else "iOS 16, macOS 13")
    assert (manifest.calibration is not None) == (precision == "int8")
    assert [file.path for file in manifest.files if file.role == "model"] == [
        "model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
        "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
        "model.mlpackage/Manifest.json",
    ]
    full = artifact("coreml", "fp32")[1]
    if precision == "fp32":
        assert manifest.parity.top1_agreement == 1.0
        assert manifest.parity.max_abs_difference < 1e-4
    else:
        assert 1e-4 < manifest.parity.max_abs_difference
        assert manifest.size_bytes < full.size_bytes


def test_table_and_exporter_have_the_same_precisions() -> None:
    assert set(coreml.CONVERSIONS) == set(FORMATS["coreml"].schemes)


def test_int8_computes_on_integers_where_its_scheme_says(artifact) -> None:
    folder, manifest = artifact("coreml", "int8")
    program = read_program(folder / "model.mlpackage")
    defined = {output.name: operation for operation in program.operations for output in operation.outputs}
    for operation in program.operations:
        if operation.type in ("conv", "linear"):
            (x,) = operation.inputs["x"]
            assert isinstance(x, Reference)
            assert defined[x.name].type == "dequantize"
    assert manifest.calibration is not None
    assert manifest.calibration.calibrator == "mse"
    assert QuantizationRecipe.model_validate(manifest.recipe, strict=False).calibrator == "mse"


def test_a_recipe_is_followed_or_refused(job) -> None:
    def quantizations(folder: str, **settings: Any) -> int:
        made = job("int8", folder, recipe=QuantizationRecipe(**settings))
        exported = coreml.export(made)
        assert exported.recipe is not None
        assert exported.recipe["calibrator"] == settings["calibrator"]
        return types(read_program(made.folder / "model.mlpackage")).count("quantize")

    everything = quantizations("everything", calibrator="min-max")
    assert quantizations("no-sums", calibrator="min-max", float_operations=("add", "pool")) <= everything
    with pytest.raises(UsageError, match="cannot leave single layers in float"):
        coreml.export(job("int8", "layers", recipe=QuantizationRecipe(float_layers=("network",))))
    with pytest.raises(UsageError, match="cannot leave every 'multiply' in float"):
        coreml.export(job("int8", "kinds", recipe=QuantizationRecipe(float_operations=("multiply",))))
    with pytest.raises(UsageError, match="takes no recipe"):
        coreml.export(job("int8-weights", "weights", recipe=QuantizationRecipe()))


def test_ranges_are_of_all_images_and_hold_zero(artifact, evidence: Evidence) -> None:
    folder, manifest = artifact("coreml", "fp16")
    program = read_program(folder / "model.mlpackage")
    assert evidence.calibration is not None
    images = manifest.preprocess.to_input(evidence.calibration.images)
    ranges = activation_ranges(program, images, "images", QuantizationRecipe(calibrator="min-max"))
    assert ranges["images"] == {"rmin": 0.0, "rmax": pytest.approx(float(images.max()))}
    interpreter = Interpreter(program)
    logits = np.concatenate([interpreter.run({"images": torch.from_numpy(i[None])})["logits"] for i in images])
    assert ranges["logits"]["rmin"] == pytest.approx(min(0.0, float(logits.min())))
    assert ranges["logits"]["rmax"] == pytest.approx(max(0.0, float(logits.max())))


def test_what_is_concatenated_shares_the_widest_range_over_chains() -> None:
    def joined(output: str, *inputs: str) -> Operation:
        return Operation(
            "concat", {"values": tuple(map(Reference, inputs))}, (Named(output, TensorType("fp32", (1,))),)
        )

    operations = (joined("c", "a", "b"), joined("g", "e", "f"), joined("d", "c", "e"))
    program = Program(inputs=(), outputs=("d",), operations=operations, constants={})
    alone = {name: {"rmin": -float(i), "rmax": float(i)} for i, name in enumerate("abcdefgx")}
    shared = shared_by_concatenation(program, alone)
    assert {name: entry["rmax"] for name, entry in shared.items()} == {**dict.fromkeys("abcdefg", 6.0), "x": 7.0}


def test_the_model_itself_says_what_it_is_and_nothing_of_this_machine(artifact, checkpoint: Checkpoint, job) -> None:
    folder, _ = artifact("coreml", "fp16")
    content = model_file(folder / "model.mlpackage").read_bytes()
    model = Model_pb2.Model()
    model.ParseFromString(content)
    metadata = model.description.metadata
    assert dict(metadata.userDefined) == job("fp16").metadata()
    assert metadata.userDefined["checkpoint_sha256"] == checkpoint.card.weights_sha256
    assert not metadata.author
    for text in (b"site-packages", str(Path(__file__).parents[3]).encode(), b"/tmp"):
        assert text not in content


def test_two_exports_are_equal_to_the_byte(artifact, job) -> None:
    """In int8; for others see `test_exporters.py`."""
    earlier, manifest = artifact("coreml", "int8")
    again = job("int8")
    said = coreml.export(again)
    assert {str(name) for name in said.files} == {file.path for file in manifest.files if file.role == "model"}
    for name in said.files:
        assert (again.folder / name).read_bytes() == (earlier / name).read_bytes(), name


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_another_batch_size_is_written_and_computes_the_same(job, precision: str) -> None:
    images = job(precision, "none").calibration[:39]
    logits: list[np.ndarray] = []
    for batch in (1, 3):
        made = job(precision, f"batch-{batch}", batch=batch, calibration_images=images)
        assert coreml.export(made).batch == batch
        interpreter = Interpreter(read_program(made.folder / "model.mlpackage"))
        parts = [images[start : start + batch] for start in range(0, 12, batch)]
        logits.append(np.concatenate([interpreter.run({"images": torch.from_numpy(part)})["logits"] for part in parts]))
    one_by_one, together = logits
    assert np.abs(one_by_one).max() > 5
    # Sums in another order: the last bits of a float, and now and then another integer.
    assert np.abs(one_by_one - together).mean() < (1e-5 if precision == "fp32" else 0.3)
    np.testing.assert_array_equal(one_by_one.argmax(1), together.argmax(1))
