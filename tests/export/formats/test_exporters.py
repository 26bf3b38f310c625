"""Every precision by its real toolchain and in its real runtime; recipes are followed to the letter."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper
from torch.fx.traceback import NodeSource

from distill.checkpoint import Checkpoint
from distill.errors import UsageError
from export.artifact.manifest import Manifest
from export.artifact.runner import open_runner, run_all
from export.convert import convert, warnings_to_log
from export.formats import FORMATS, Target, exporter
from export.formats.job import ExportedModel, ExportJob
from export.formats.litert.metadata import noted
from export.formats.onnx.hard_swish import in_integers
from export.formats.torchscript import METADATA
from export.graph.provenance import shared_histories
from export.proof.evidence import Evidence
from export.proof.limits import FLOAT_MIN_AGREEMENT
from export.quantize.recipe import QuantizationRecipe
from tests.export.conftest import MADE_ALONE

STEM, HEAD = "network.conv_stem", "network.classifier"
Export = Callable[..., tuple[Path, ExportedModel]]


@pytest.fixture
def export(tmp_path: Path, checkpoint: Checkpoint, evidence: Evidence) -> Export:
    """export(format, precision, recipe, batch) by the exporter alone -> the model's file and what was said of it."""

    def run(
        format: str, precision: str, recipe: QuantizationRecipe | None = None, batch: int = 1
    ) -> tuple[Path, ExportedModel]:
        folder = tmp_path / f"{format}-{precision}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        assert evidence.calibration is not None
        job = ExportJob(
            model=checkpoint.model,
            card=checkpoint.card,
            precision=precision,  # type: ignore[arg-type]
            batch=batch,
            calibration_images=checkpoint.card.preprocess.to_input(evidence.calibration.images),
            checkpoint=checkpoint.folder,
            folder=folder,
            recipe=recipe,
        )
        with warnings_to_log():
            exported = exporter(format).export(job)  # type: ignore[arg-type]
        return folder / exported.files[0], exported

    return run


def scales(path: Path) -> list[float]:
    """Scales of the activations of an ONNX model, in order of its QuantizeLinear nodes."""
    model = onnx.load(path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [float(constants[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"]


def quantized_convolutions(path: Path) -> list[bool]:
    """For each convolution of an ONNX model, whether its weights are integers."""
    model = onnx.load(path)
    producers = {output: node.op_type for node in model.graph.node for output in node.output}
    return [producers.get(n.input[1]) == "DequantizeLinear" for n in model.graph.node if n.op_type == "Conv"]


def tensor_types(path: Path) -> list[tuple[str, int]]:
    """Name and type of each tensor of a .tflite file; several may have one name."""
    graph = schema.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
    return [(graph.Tensors(i).Name().decode(), graph.Tensors(i).Type()) for i in range(graph.TensorsLength())]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "precision", "share"),
    [
        ("onnx", "fp16", 0.6),
        ("litert", "fp16", 0.7),
        ("litert", "int8-dynamic", 0.6),
        ("litert", "int8-weights", 0.6),
        ("litert", "int16x8", 0.7),
        ("executorch", "fp16", 1.2),
        ("executorch-portable", "fp32", 1.2),
    ],
)
def test_every_other_precision_runs_and_keeps_the_model(artifact, format: str, precision: str, share: float) -> None:
    _, manifest = artifact(format, precision)
    _, full = artifact(format.removesuffix("-portable"), "fp32")
    assert manifest.parity.verdict == ("pass" if precision in FLOAT_MIN_AGREEMENT else "open")
    assert manifest.parity.top1_agreement >= 0.98
    assert manifest.parity.mean_abs_difference < 0.2
    assert manifest.size_bytes < share * full.size_bytes
    assert manifest.input.dtype == manifest.output.dtype == "float32"
    assert (manifest.recipe is not None) == precision.startswith("int")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["executorch-vulkan", "executorch-coreml"])
def test_delegates_for_other_devices_take_the_whole_graph_and_are_not_called_proven(artifact, format: str) -> None:
    _, manifest = artifact(format, "fp16")
    assert manifest.parity.verdict == "not-run"
    assert manifest.delegation.backend == format.removeprefix("executorch-")
    assert manifest.delegation.pieces == 1


@pytest.mark.slow
@pytest.mark.parametrize(("format", "precision"), [("executorch", "int8"), ("litert", "int8"), ("executorch", "fp32")])
def test_quantized_graphs_stay_in_one_piece(artifact, format: str, precision: str) -> None:
    delegation = artifact(format, precision)[1].delegation
    assert (delegation.pieces, delegation.undelegated) == (1, {})


def test_labels_and_hash_stand_in_each_formats_own_place(artifact, checkpoint: Checkpoint) -> None:
    with warnings_to_log():
        from executorch.extension.pybindings import _C as bindings

    def path(format: str) -> Path:
        folder, manifest = artifact(format, "int8" if format != "torchscript" else "fp32")
        return folder / manifest.file("model")

    session = onnxruntime.InferenceSession(path("onnx"), providers=["CPUExecutionProvider"])
    content = path("litert").read_bytes()
    program = bindings._load_program(str(path("executorch")))
    extra = {METADATA: ""}
    with warnings_to_log():
        torch.jit.load(path("torchscript"), _extra_files=extra)
    for name, expected in {
        "labels": json.dumps(checkpoint.card.class_names),
        "checkpoint_sha256": checkpoint.card.weights_sha256,
        "input_size_px": "32",
    }.items():
        assert session.get_modelmeta().custom_metadata_map[name] == expected
        assert noted(content, name) == expected
        assert program.load_method(name).call(()) == [expected]
        assert json.loads(extra[METADATA])[name] == expected


def test_weights_of_a_tflite_file_are_inside_the_flatbuffer_and_aligned(artifact) -> None:
    folder, manifest = artifact("litert", "int8")
    content = (folder / manifest.file("model")).read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    assert sum(buffer.DataLength() for buffer in buffers) > 0.5 * len(content)
    assert all(buffer.Offset() <= 1 for buffer in buffers)
    starts = {b._tab.Vector(b._tab.Offset(4)) % 16 for b in buffers if b.DataLength()}
    assert starts == {0}


def test_equal_vectors_of_a_tflite_file_are_written_once(artifact) -> None:
    folder, manifest = artifact("litert", "int8")
    model = schema.Model.GetRootAs((folder / manifest.file("model")).read_bytes(), 0)
    graph = model.Subgraphs(0)
    quantized = [graph.Tensors(index).Quantization() for index in range(graph.TensorsLength())]
    found = [one.ZeroPointAsNumpy() for one in quantized if one is not None and one.ZeroPointLength() > 1]
    places = {zeros.__array_interface__["data"][0] for zeros in found}
    assert len(found) > len(places) == len({zeros.tobytes() for zeros in found})


def test_an_onnx_file_holds_no_shapes_that_its_runtime_infers_itself(artifact) -> None:
    folder, manifest = artifact("onnx", "int8")
    assert not onnx.load(folder / manifest.file("model")).graph.value_info


@pytest.mark.parametrize("format", ["onnx", "litert"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_two_exports_are_byte_identical(export: Export, format: str, precision: str) -> None:
    assert export(format, precision)[0].read_bytes() == export(format, precision)[0].read_bytes()


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_another_recipe_does_not_convert_or_observe_again(
    export: Export, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = export(format, "int8")
    module = exporter(format)  # type: ignore[arg-type]

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("was done again")

    for name in ("observe", "to_onnx" if format == "onnx" else "convert"):
        monkeypatch.setattr(module, name, forbidden)
    other, said = export(format, "int8", QuantizationRecipe(calibrator="percentile", percentile=99.0))
    assert other.read_bytes() != first.read_bytes()
    assert said.calibrator == "percentile 99"
    assert QuantizationRecipe.model_validate_json(json.dumps(said.recipe)).percentile == 99.0


def test_a_calibrator_that_clips_gives_finer_scales(export: Export) -> None:
    full = scales(export("onnx", "int8", QuantizationRecipe(calibrator="min-max"))[0])
    clipped = scales(export("onnx", "int8", QuantizationRecipe(calibrator="percentile", percentile=95.0))[0])
    assert len(full) == len(clipped)
    assert sum(clipped) < sum(full)
    assert all(c <= f for c, f in zip(clipped, full, strict=True))


def test_onnx_layers_named_float_are_float_and_the_others_are_not(export: Export) -> None:
    plain, _ = export("onnx", "int8")
    kept, said = export("onnx", "int8", QuantizationRecipe(float_layers=(STEM,)))
    assert all(quantized_convolutions(plain))
    assert quantized_convolutions(kept)[0] is False
    assert all(quantized_convolutions(kept)[1:])
    assert said.recipe is not None
    assert said.recipe["float_layers"] == [STEM]


def test_litert_layers_named_float_are_float_and_the_others_are_not(export: Export) -> None:
    int8_types = schema.TensorType.INT8
    plain = tensor_types(export("litert", "int8")[0])
    kept = tensor_types(export("litert", "int8", QuantizationRecipe(float_layers=(HEAD,)))[0])
    head = [name for name, type in plain if name.startswith(HEAD) and type == int8_types]
    assert head
    assert not [name for name, type in kept if name.startswith(HEAD) and type == int8_types]
    assert [name for name, type in kept if type == int8_types]


def test_executorch_layers_named_float_are_float_and_the_others_are_not(checkpoint: Checkpoint) -> None:
    from export.graph.layers import module_of

    images = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}

    def quantized(recipe: QuantizationRecipe) -> dict[str, bool]:
        """Per convolution or linear layer, whether its weights are integers."""
        program = torch.export.export(checkpoint.model, (torch.from_numpy(images[:1]),))
        with warnings_to_log():
            from export.formats.executorch.int8 import quantize

            graph = quantize(program, recipe, images).graph
        weighted = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)
        return {
            module_of(node): "dequantize" in str(node.args[1].target) for node in graph.nodes if node.target in weighted
        }

    plain, kept = (
        quantized(QuantizationRecipe()),
        quantized(QuantizationRecipe(float_layers=(STEM, "network.blocks.0"))),
    )
    assert all(plain.values())
    for name, is_integer in kept.items():
        assert is_integer == (not name.startswith((STEM, "network.blocks.0")))
    for name, value in checkpoint.model.state_dict().items():
        assert torch.equal(value, before[name]), f"quantizing changed {name} of the caller's model"


@pytest.mark.parametrize("format", ["executorch", "onnx", "litert"])
def test_unknown_layers_are_refused_with_the_nearest(export: Export, format: str) -> None:
    with pytest.raises(UsageError, match=r"float_layers names 'network.conv_sten'.*did you mean network.conv_stem"):
        export(format, "int8", QuantizationRecipe(float_layers=("network.conv_sten",)))


@pytest.mark.parametrize(
    ("format", "precision", "recipe", "message"),
    [
        ("executorch", "int8", QuantizationRecipe(float_operations=("hard-swish",)), "cannot leave every 'hard-swish'"),
        ("litert", "int8-dynamic", QuantizationRecipe(calibrator="mse"), "has no calibrator 'mse'"),
        ("litert", "int8-weights", QuantizationRecipe(float_operations=("add",)), "cannot leave every 'add'"),
    ],
)
def test_what_an_exporter_would_not_follow_is_refused(
    export: Export, format: str, precision: str, recipe: QuantizationRecipe, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export(format, precision, recipe)


@pytest.mark.parametrize("recipe", [{"calibrator": "percentile"}, {"percentile": 99.9}, {"calibrator": "mean"}])
def test_recipes_that_contradict_themselves_are_errors(recipe: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"percentile|calibrator"):
        QuantizationRecipe.model_validate(recipe)


@pytest.mark.parametrize(("format", "batch"), [("onnx", 3), ("onnx", -1), ("litert", 3), ("torchscript", -1)])
def test_other_batches_agree_with_eager(
    tmp_path: Path, checkpoint: Checkpoint, evidence: Evidence, format: str, batch: int
) -> None:
    manifest: Manifest = convert(checkpoint, Target(format, "fp32", batch), evidence, tmp_path / "artifact")  # type: ignore[arg-type]
    assert manifest.parity.top1_agreement == 1.0
    pictures = np.random.default_rng(5).random((6, 3, 32, 32), dtype=np.float32)
    runner = open_runner(tmp_path / "artifact", manifest, threads=1)
    with torch.inference_mode():
        expected = checkpoint.model(torch.from_numpy(pictures)).numpy()
    sizes = (3,) if batch == 3 else (1, 2, 3)
    np.testing.assert_allclose(run_all(runner, pictures, batch_sizes=sizes), expected, atol=1e-3)


def test_every_refusal_has_a_reason() -> None:
    for name, entry in FORMATS.items():
        for precision, reason in entry.refused.items():
            assert len(reason) > 15, f"{name} {precision}"
            assert precision not in entry.schemes
        assert set(entry.usual) & set(entry.schemes)


def test_hard_swish_in_integers_is_hard_swish_within_a_step() -> None:
    """Against NumPy on every value that an integer tensor can have."""
    scale, zero = np.float32(0.05), np.uint8(100)
    helper = onnx.helper
    constants = {"s": scale, "z": zero, "so": np.float32(0.04), "zo": np.uint8(10)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("HardSwish", ["d"], ["h"], "swish"),
        helper.make_node("QuantizeLinear", ["h", "so", "zo"], ["hq"]),
        helper.make_node("DequantizeLinear", ["hq", "so", "zo"], ["y"]),
    ]
    value = [onnx.TensorProto.FLOAT, [256]]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", *value)],
        [helper.make_tensor_value_info("y", *value)],
        [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert in_integers(model) == 1
    assert "HardSwish" not in [node.op_type for node in model.graph.node]
    onnx.checker.check_model(model, full_check=True)
    x = ((np.arange(256) - 100) * scale).astype(np.float32)
    expected = x * np.clip(x + 3, 0, 6) / 6
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": x})[0]
    # Half a step of the result, and half a step of the gate (1/255) times the value.
    np.testing.assert_array_less(np.abs(found - expected), 0.5 * 0.04 + np.abs(x) / 255 / 2 + 0.02)


@pytest.mark.slow
def test_sharing_the_history_of_nodes_changes_no_byte(export: Export) -> None:
    copied, _ = export("litert", "fp32")
    with shared_histories():
        shared, _ = export("litert", "fp32")
    assert copied.read_bytes() == shared.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # coremltools leaves a temporary folder to the garbage collector
@pytest.mark.parametrize(("format", "precision"), [("executorch", "int8"), ("coreml", "palette4")])
def test_neither_what_was_made_before_in_the_same_process_nor_a_shared_history_changes_a_byte(
    artifact, export: Export, format: str, precision: str
) -> None:
    """There alone in an interpreter, as tables that were built once are never built again, and with histories shared;
    here after its fp32 and whatever else, with histories copied. For formats whose precisions share more, see
    `test_what_precisions_share_is_converted_once_and_changes_no_file`.
    """
    assert (format, precision) in MADE_ALONE
    alone, manifest = artifact(format, precision)
    export(format, "fp32")
    model, said = export(format, precision)
    folder = Path(str(model).removesuffix(str(said.files[0])))
    assert {str(name) for name in said.files} == {file.path for file in manifest.files if file.role == "model"}
    for name in said.files:
        assert (folder / name).read_bytes() == (alone / name).read_bytes(), name


def test_the_record_of_a_nodes_history_is_shared_only_while_asked_for() -> None:
    record = NodeSource(None, "a pass")
    with shared_histories():
        assert copy.deepcopy([record])[0] is record
    assert copy.deepcopy([record])[0] is not record
