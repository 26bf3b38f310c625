"""The instrument's core on the JVM, driven by the device protocol, against ONNX Runtime on the same files."""

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.protocol import (
    Job,
    JobModel,
    PicturePack,
    PictureRule,
    Progress,
    Result,
    logits_file,
    progress_file,
    result_file,
)
from bench.session.answers.judge import distance
from bench.timing.loop import Limits
from distill.contract import sha256_of_file
from distill.vision.preprocess import Preprocess
from tests.android_demo.networks import CLASSES, SHAPE, classifier, per_pixel

onnxruntime = pytest.importorskip("onnxruntime")

RUN_ID = "0123456789abcdef" * 2
LIMITS = Limits(warmup_count=2, warmup_s=0, warmup_cap_s=5, min_count=5, min_s=0, max_count=5, max_s=5)


class Images:
    """What the quantizer calibrates on."""

    def __init__(self) -> None:
        self.rest = iter([{"images": image()} for _ in range(8)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.rest, None)


def image() -> NDArray[np.float32]:
    return np.random.default_rng(3).random(SHAPE, dtype=np.float32)


def quantized(path: Path) -> Path:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    target = path.with_name("int8.onnx")
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    # Without a dot product of its own (VNNI) a processor adds products in 16 bits; weights of eight bits overflow them.
    quantize_static(path, target, Images(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True, **kinds)
    return target


def logits_by_onnxruntime(path: Path) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": image()})[0][0]


Launch = Callable[..., Result]


@pytest.fixture
def launch(tmp_path: Path, core_jar: Path) -> Launch:
    """A function that measures ONNX files in one launch and gives the parsed result."""

    def measure(*files: Path, packs: tuple[PicturePack, ...] = (), **changes: object) -> Result:
        folder = tmp_path / RUN_ID
        folder.mkdir(exist_ok=True)
        (folder / "input.bin").write_bytes(image().astype("<f4").tobytes())
        models = []
        for number, file in enumerate(files):
            copy = folder / f"model_{number}.bin"
            copy.write_bytes(file.read_bytes())
            model = {
                "id": f"model_{number}",
                "format": "onnx",
                "file": copy.name,
                "sha256": sha256_of_file(copy),
                "size_bytes": copy.stat().st_size,
                "accelerator": None,
                "input_file": "input.bin",
                "input_sha256": sha256_of_file(folder / "input.bin"),
                "input_name": "images",
                "input_shape": SHAPE,
                "output_name": "logits",
                "output_shape": (1, CLASSES),
                "pictures": None,
            }
            models.append(JobModel.model_validate(model | changes))
        job = Job(
            run_id=RUN_ID,
            task="answer" if packs else "time",
            repeats=100,
            pictures=packs,
            threads=1,
            batch=1,
            limits=LIMITS,
            models=tuple(models),
        )
        job.write(folder / "job.json")
        run_main(core_jar, folder / "job.json", tmp_path)
        return Result.read(tmp_path / result_file(RUN_ID))

    return measure


def run_main(jar: Path, job: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    main = "org.pocketdistill.demo.jvm.InstrumentMain"
    return subprocess.run(
        ["java", "-Xmx256m", "-cp", str(jar), main, str(job), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_the_core_computes_is_what_onnx_runtime_computes(launch: Launch, tmp_path: Path) -> None:
    float_model = classifier(tmp_path / "float.onnx")
    int8_model = quantized(float_model)
    result = launch(float_model, int8_model)
    assert [model.error for model in result.models] == [None, None]
    for model, file, tolerance in zip(result.models, (float_model, int8_model), (1e-5, 2e-2), strict=True):
        expected = logits_by_onnxruntime(file)
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(model.golden_output, expected, atol=tolerance * np.abs(expected).max())
        assert [seen.calls for seen in model.outputs] == [100]


def test_a_model_that_answers_every_pixel_is_measured_as_any_other(launch: Launch, tmp_path: Path) -> None:
    network = per_pixel(tmp_path / "masks.onnx", 4)
    (model,) = launch(network, output_shape=(1, 4, *SHAPE[2:])).models
    assert model.error is None
    assert len(model.samples_ns) == 5
    expected = logits_by_onnxruntime(network).ravel()
    np.testing.assert_allclose(model.golden_output, expected, atol=1e-5 * np.abs(expected).max())


def pack(path: Path, kind: str, count: int) -> tuple[PicturePack, list[Image.Image]]:
    """Pictures of odd sides as files in a zip file, and what this machine's decoder makes of them."""
    rng, seen = np.random.default_rng(11), []
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            width, height = (int(side) for side in rng.integers(12, 48, 2))
            picture = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((width, height), 3)
            data = io.BytesIO()
            picture.save(data, kind, quality=90)
            archive.writestr(f"{number:08}", data.getvalue())
            seen.append(Image.open(data).convert("RGB"))
    return PicturePack(file=path.name, sha256=sha256_of_file(path), count=count), seen


@pytest.mark.parametrize(("kind", "count"), [("png", 1000), ("jpeg", 200)])
def test_its_answers_to_picture_files_are_those_of_this_machine(
    kind: str, count: int, launch: Launch, tmp_path: Path
) -> None:
    """PNGs to the last answer. Of JPEGs decoders differ by a level or two: these logits by 2 % of their spread."""
    (tmp_path / "pictures").mkdir()
    packed, pictures = pack(tmp_path / "pictures" / "all.zip", kind, count)
    network = classifier(tmp_path / "float.onnx")
    rule = PictureRule(size_px=SHAPE[2], resize="crop", crop_share=0.875, interpolation="bicubic", channels=3)
    (model,) = launch(network, packs=(packed,), pictures=rule).models
    assert (model.error, model.answered, model.unreadable) == (None, count, ())
    data = (tmp_path / logits_file(RUN_ID)).read_bytes()
    found = np.frombuffer(data, dtype="<f4").reshape(count, CLASSES)
    preprocess = Preprocess(**rule.model_dump(), mean=(0.5,) * 3, std=(0.5,) * 3)
    inputs = [preprocess.to_input(preprocess.resize_image(picture)[None]) for picture in pictures]
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(["logits"], {"images": values})[0] for values in inputs])
    # A network with random weights has a favourite; without it the pictures decide.
    here, there = ((logits - expected.mean(axis=0)).argmax(1) for logits in (expected, found))
    assert len(set(here.tolist())) == CLASSES
    if kind == "png":
        np.testing.assert_array_equal(there, here)
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    else:
        assert distance(found, expected) < 0.02
        assert np.mean(there == here) >= 0.98


def test_a_result_says_all_the_protocol_asks_for(launch: Launch, tmp_path: Path) -> None:
    result = launch(classifier(tmp_path / "float.onnx"))
    (model,) = result.models
    assert result.error is None
    assert result.run_id == RUN_ID
    assert f'version = "{result.instrument_version}"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert result.job_sha256 == sha256_of_file(tmp_path / RUN_ID / "job.json")
    assert result.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 0 < result.began_ns <= result.ended_ns
    assert model.sample_count == len(model.samples_ns) == 5
    assert model.warmup_count == 2
    assert min(model.samples_ns) > 0
    assert model.peak_memory_bytes
    assert model.peak_memory_bytes > 10_000_000
    read_at = [reading.sample_index for reading in model.readings]  # in between too, if five calls take long
    assert read_at == sorted(set(read_at))
    assert (read_at[0], read_at[-1]) == (0, 5)
    lines = (tmp_path / progress_file(RUN_ID)).read_text().splitlines()
    stages = [Progress.from_json(line, source="journal").stage for line in lines]
    assert stages == ["loading", "measuring", "checking", "done"]


def test_a_broken_model_fails_alone(launch: Launch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(classifier(tmp_path / "float.onnx").read_bytes()[:-40])
    result = launch(broken, tmp_path / "float.onnx")
    assert result.error is None
    assert "not a readable ONNX file" in (result.models[0].error or "")
    assert result.models[1].error is None


def test_a_format_without_an_engine_is_an_error_in_words(launch: Launch, tmp_path: Path) -> None:
    (model,) = launch(classifier(tmp_path / "float.onnx"), format="litert").models
    assert "engine for onnx models only" in (model.error or "")
    assert model.samples_ns == ()


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1}', "[]"])
def test_a_broken_job_gives_an_error_result(text: str, core_jar: Path, tmp_path: Path) -> None:
    job = tmp_path / RUN_ID / "job.json"
    job.parent.mkdir()
    job.write_text(text)
    assert run_main(core_jar, job, tmp_path).returncode == 1
    result = Result.read(tmp_path / result_file(RUN_ID))
    assert result.error
    assert result.models == ()


def test_the_protocols_example_job_is_understood(core_jar: Path, tmp_path: Path) -> None:
    """Its model file is not there, which is the model's error and not the job's."""
    source = Path(__file__).parent.parent.parent / "bench/protocol/job.example.json"
    job = tmp_path / RUN_ID / "job.json"
    job.parent.mkdir()
    job.write_bytes(source.read_bytes())
    run_main(core_jar, job, tmp_path)
    result = Result.read(tmp_path / result_file(json.loads(source.read_text())["run_id"]))
    assert result.error is None
    assert "model_0.bin" in (result.models[0].error or "")
