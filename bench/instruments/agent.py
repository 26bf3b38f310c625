"""The `python` instrument: measures models on a board that has Linux and Python, by the protocol of `bench/protocol/`.

    python3 agent.py JOB FOLDER

It is one file that is pushed to the device: standard library only, and NumPy with the runtime of each model, and
Pillow where pictures are to be read, imported when needed. It knows nothing of this toolkit and writes nothing but its
files in FOLDER.
"""

import argparse
import gc
import hashlib
import json
import math
import os
import platform
import re
import sys
import time
import zipfile
from array import array

VERSION = "0.1.0"
SCHEMA_VERSION = 4
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
TELL_EVERY_S = 1.0
TOP = 5
LARGEST_COUNT_OF_OUTPUTS = 100
STAGES = ("decode_ns", "resize_ns", "convert_ns", "call_ns", "top_k_ns")


def main(arguments=None):
    """Do a job. A broken job or model gives an error result, not an exception."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("folder")
    parser.add_argument("--instrument", default="python", help="the name to report")
    options = parser.parse_args(arguments)
    run_id = os.path.basename(os.path.dirname(os.path.abspath(options.job)))
    report = Report(options.folder, run_id)
    result = new_result(run_id, options.instrument)
    try:
        with open(options.job, "rb") as file:
            text = file.read()
        result["job_sha256"] = hashlib.sha256(text).hexdigest()
        job = json.loads(text)
        refuse_other_version(job)
        folder = os.path.dirname(os.path.abspath(options.job))
        pictures = Pictures(os.path.join(os.path.dirname(folder), "pictures"), job["pictures"])
        for model in job["models"]:
            report.progress("loading", model["id"])
            result["models"].append(measure_model(job, model, folder, pictures, report))
    except Exception as error:
        result["error"] = words(error)
    report.finish(result)


class Report:
    """The files an instrument writes: progress lines, and a result and logits that appear whole or not at all."""

    def __init__(self, folder, run_id):
        self.run_id = run_id
        self.result_path = os.path.join(folder, f"{run_id}.result.json")
        self.progress_path = os.path.join(folder, f"{run_id}.progress.jsonl")
        self.logits_path = os.path.join(folder, f"{run_id}.logits.bin")

    def progress(self, stage, model_id=None, done=None, total=None):
        """Append one line."""
        line = {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "stage": stage,
            "model_id": model_id,
            "pid": os.getpid(),
            "at_ns": since_boot_ns(),
            "done": done,
            "total": total,
        }
        with open(self.progress_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def finish(self, result):
        """Write the result beside its name, sync it, and give it its name."""
        result["ended_ns"] = since_boot_ns()
        write_whole(self.result_path, json.dumps(result, allow_nan=False).encode())
        self.progress("failed" if result["error"] else "done")

    def logits(self, data):
        """Write the logits of all pictures; returns their hex SHA-256."""
        write_whole(self.logits_path, data)
        return hashlib.sha256(data).hexdigest()


def write_whole(path, data):
    """Write bytes beside a name, sync them, and give them the name."""
    unfinished = path + ".tmp"
    with open(unfinished, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def new_result(run_id, instrument):
    """A result without models."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "instrument": instrument,
        "instrument_version": VERSION,
        "error": None,
        "job_sha256": None,
        "boot_id": first_match("/proc/sys/kernel/random/boot_id", r"(\S+)"),
        "abi": {"x86_64": "x86_64", "aarch64": "arm64-v8a"}.get(platform.machine(), platform.machine()),
        "began_ns": since_boot_ns(),
        "ended_ns": 0,
        "models": [],
    }


def refuse_other_version(job):
    """Raise ValueError for a job this file was not written for."""
    version = job.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"the job has schema version {version!r}, this instrument ({VERSION}) knows {SCHEMA_VERSION}")


def measure_model(job, model, folder, pictures, report):
    """What was seen of one model; whatever goes wrong becomes its `error`."""
    seen = {
        "id": model["id"],
        "sha256": None,
        "error": None,
        "runtime": None,
        "runtime_version": None,
        "threads_active": None,
        "accelerator_active": None,
        "load_ms": None,
        "first_inference_ms": None,
        "warmup_count": 0,
        "warmup_s": 0.0,
        "samples_ns": [],
        "sample_count": 0,
        "golden_output": [],
        "peak_memory_bytes": None,
        "readings": [],
        "outputs": [],
        "stages": None,
        "answered": 0,
        "unreadable": [],
        "logits_sha256": None,
    }
    try:
        seen["sha256"] = refuse_changed(os.path.join(folder, model["file"]), model["sha256"])
        refuse_changed(os.path.join(folder, model["input_file"]), model["input_sha256"])
        measure_into(seen, job, model, folder, pictures, report)
    except Exception as error:
        seen["error"] = words(error)
        seen["samples_ns"], seen["sample_count"], seen["golden_output"] = [], 0, []
        seen["outputs"], seen["stages"] = [], None
    return seen


def refuse_changed(path, expected):
    """Hex SHA-256 of a file; ValueError if it is not the expected one."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise ValueError(f"{path} has SHA-256 {digest.hexdigest()[:12]}…, the job says {expected[:12]}…")
    return digest.hexdigest()


def measure_into(seen, job, model, folder, pictures, report):
    """Load, then answer all pictures, or warm up, sample, and take the golden output."""
    import numpy

    open_model = RUNTIMES.get(model["format"])
    if open_model is None:
        raise ValueError(f"this instrument has no runtime for {model['format']}, only {', '.join(RUNTIMES)}")
    if model["accelerator"] is not None:
        raise ValueError(f"this instrument runs models on the processor only, not on {model['accelerator']}")
    values = numpy.fromfile(os.path.join(folder, model["input_file"]), dtype="<f4")
    batch = numpy.ascontiguousarray(values.reshape(model["input_shape"]), dtype=numpy.float32)
    open_model = open_model()
    began = time.perf_counter_ns()
    runtime = open_model(os.path.join(folder, model["file"]), model, job["threads"])
    seen["load_ms"] = (time.perf_counter_ns() - began) / NS_PER_MS
    seen.update(runtime.describe())
    if job["task"] == "answer":
        answer_all(seen, runtime, batch, model, pictures, report)
        return
    call = runtime.bind(batch)
    readings = [reading(0)]
    report.progress("measuring", model["id"])
    timing = time_calls(call, job["limits"], time.perf_counter_ns)
    if len(pictures) and job["batch"] == 1:
        seen["stages"] = time_path(runtime, batch.copy(), model, pictures, job["limits"], time.perf_counter_ns)
        call = runtime.bind(batch)
    readings.append(reading(len(timing["samples_ns"])))
    report.progress("checking", model["id"])
    output, seen["outputs"] = repeated(call, job["repeats"])
    seen.update(timing)
    seen["sample_count"] = len(timing["samples_ns"])
    seen["golden_output"] = [float(logit) if numpy.isfinite(logit) else None for logit in output]
    peak = first_match("/proc/self/status", r"VmHWM:\s*(\d+) kB")
    seen["peak_memory_bytes"] = int(peak) * 1024 if peak else None
    seen["readings"] = readings


def repeated(call, count):
    """The first output of `count` calls with one input, and which different ones there were."""
    import numpy

    outputs = {}
    first = numpy.array(call(), dtype="<f4").reshape(-1)
    for number in range(count):
        output = numpy.array(call(), dtype="<f4").reshape(-1) if number else first
        digest = hashlib.sha256(output.tobytes()).hexdigest()
        if digest not in outputs and len(outputs) < LARGEST_COUNT_OF_OUTPUTS:
            difference = float(numpy.abs(output - first).max())
            outputs[digest] = [0, difference if numpy.isfinite(difference) else None]
        # Beyond the most that are told apart, every new one counts as the last.
        outputs[digest if digest in outputs else next(reversed(outputs))][0] += 1
    told = [
        {"sha256": digest, "calls": calls, "max_abs_difference": difference}
        for digest, (calls, difference) in outputs.items()
    ]
    return first, told


class Pictures:
    """The picture files of a job, in order; their zip files are opened and checked when the first one is read."""

    def __init__(self, folder, packs):
        self.folder, self.packs, self.entries = folder, packs, None

    def __len__(self):
        return sum(pack["count"] for pack in self.packs)

    def read(self, index):
        """The bytes of one file."""
        if self.entries is None:
            self.entries = [entry for pack in self.packs for entry in self._open(pack)]
        archive, name = self.entries[index]
        return archive.read(name)

    def _open(self, pack):
        path = os.path.join(self.folder, pack["file"])
        refuse_changed(path, pack["sha256"])
        archive = zipfile.ZipFile(path)
        names = archive.namelist()
        if len(names) != pack["count"]:
            raise ValueError(f"{path} holds {len(names)} pictures, the job says {pack['count']}")
        return [(archive, name) for name in names]


class Path:
    """From a picture's bytes to the values of an input, step by step, with Pillow: the rule of the job's model."""

    def __init__(self, rule):
        self.rule = rule

    def decode(self, data):
        """Upright pixels on white, mode L or RGB, colours as stored; profiles, ink and 16 bits are for the app."""
        import io

        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(data)) as stored:
            stored.load()
            picture = ImageOps.exif_transpose(stored)
        if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            white = Image.new("RGB", picture.size, (255, 255, 255))
            white.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
            picture = white
        mode = "L" if self.rule["channels"] == 1 else "RGB"
        return picture if picture.mode == mode else picture.convert(mode)

    def resize(self, picture):
        """uint8 [C, size, size]."""
        import numpy
        from PIL import Image

        size = self.rule["size_px"]
        resampling = Image.Resampling[self.rule["interpolation"].upper()]
        if self.rule["crop_share"] is not None:
            picture = picture.resize((size, size), resampling, box=self._box(*picture.size))
        elif self.rule["resize"] == "crop":
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            picture = picture.crop((left, top, left + side, top + side))
        if picture.size != (size, size):
            picture = picture.resize((size, size), resampling)
        return numpy.asarray(picture, dtype=numpy.uint8).reshape(size, size, -1).transpose(2, 0, 1)

    def _box(self, width, height):
        """What is seen if the shorter side is scaled and the centre is cut: left, top, right, bottom."""
        size, shorter = self.rule["size_px"], math.floor(self.rule["size_px"] / self.rule["crop_share"])
        ends = []
        for side, other in ((width, height), (height, width)):
            scaled = shorter if side <= other else shorter * side // other
            first = round((scaled - size) / 2)
            ends.append((first * side / scaled, min(float(side), (first + size) * side / scaled)))
        return ends[0][0], ends[1][0], ends[0][1], ends[1][1]

    def convert(self, pixels, target):
        """Write pixels as values in [0, 1] into float32 [C, size, size]."""
        import numpy

        numpy.divide(pixels, numpy.float32(255), out=target)


def answer_all(seen, runtime, batch, model, pictures, report):
    """Every picture through decoder, resize and model; logits into their file."""
    import numpy

    path, total = Path(model["pictures"]), len(pictures)
    logits = numpy.full((total, model["output_shape"][1]), numpy.nan, dtype="<f4")
    call, size, told = runtime.bind(batch), len(batch), time.monotonic()
    report.progress("answering", model["id"], 0, total)
    for start in range(0, total, size):
        filled = []
        for index in range(start, min(start + size, total)):
            try:
                path.convert(path.resize(path.decode(pictures.read(index))), batch[index - start])
                filled.append(index)
            except Exception as error:
                seen["unreadable"].append({"index": index, "reason": words(error)})
        if filled:
            call = runtime.bind(batch)
            output = numpy.asarray(call(), dtype=numpy.float32).reshape(size, -1)
            logits[filled] = output[[index - start for index in filled]]
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            report.progress("answering", model["id"], min(start + size, total), total)
    seen["answered"] = total
    seen["logits_sha256"] = report.logits(logits.tobytes())


def time_path(runtime, batch, model, pictures, limits, clock):
    """The stages of the whole path, over the pictures in turn that can be decoded; None if none can."""
    path = Path(model["pictures"])
    files = [data for data in (pictures.read(index) for index in range(len(pictures))) if decodes(path, data)]
    if not files:
        return None
    marks, number = [], 0

    def call():
        nonlocal number
        data = files[number % len(files)]
        number += 1
        began = clock()
        picture = path.decode(data)
        decoded = clock()
        pixels = path.resize(picture)
        resized = clock()
        path.convert(pixels, batch[0])
        run = runtime.bind(batch)
        converted = clock()
        output = run()
        called = clock()
        top_classes(output)
        marks.append((began, decoded, resized, converted, called, clock()))

    timing = time_calls(call, limits, clock)
    kept = marks[len(marks) - len(timing["samples_ns"]) :]
    stages = {name: [mark[at + 1] - mark[at] for mark in kept] for at, name in enumerate(STAGES)}
    return {**stages, "total_ns": timing["samples_ns"]}


def decodes(path, data):
    """Whether a picture can be decoded here; which cannot is told where pictures are answered."""
    try:
        path.decode(data)
    except Exception:
        return False
    return True


def top_classes(output):
    """The likeliest classes of one picture with their shares, as an app shows them."""
    import numpy

    logits = numpy.asarray(output, dtype=numpy.float64).reshape(-1)
    shares = numpy.exp(logits - logits.max())
    shares /= shares.sum()
    order = numpy.argsort(-logits, kind="stable")[:TOP]
    return [(int(index), float(shares[index])) for index in order]


def time_calls(call, limits, clock):
    """First call, warm-up, samples, by the rules of the protocol; the clock is read right around each call."""
    began = clock()
    call()
    first_ns = clock() - began
    warmup_count, warmup_ns, began = 0, 0, clock()
    while warmup_ns < limits["warmup_cap_s"] * NS_PER_S:
        if warmup_count >= limits["warmup_count"] and warmup_ns >= limits["warmup_s"] * NS_PER_S:
            break
        call()
        warmup_count += 1
        warmup_ns = clock() - began
    gc.collect()
    gc.disable()
    try:
        samples_ns = sample(call, limits, clock)
    finally:
        gc.enable()
    return {
        "first_inference_ms": first_ns / NS_PER_MS,
        "warmup_count": warmup_count,
        "warmup_s": warmup_ns / NS_PER_S,
        "samples_ns": samples_ns,
    }


def sample(call, limits, clock):
    """Every timed call in nanoseconds."""
    # All memory is taken here, so that no sample pays for a growing list.
    samples_ns = array("q", bytes(8 * limits["max_count"]))
    floor_ns, cap_ns = limits["min_s"] * NS_PER_S, limits["max_s"] * NS_PER_S
    min_count, max_count = limits["min_count"], limits["max_count"]
    count, began = 0, clock()
    while count < max_count:
        start = clock()
        call()
        end = clock()
        samples_ns[count] = end - start
        count += 1
        if end - began >= (floor_ns if count >= min_count else cap_ns):
            break
    return samples_ns[:count].tolist()


def reading(sample_index):
    """The board's state now."""
    core = first_match("/proc/self/stat", r"^.*\) (?:\S+ ){36}(\d+)")
    khz = first_match(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", r"(\d+)") if core else None
    return {
        "at_ns": since_boot_ns(),
        "sample_index": sample_index,
        "thermal_status": None,
        "thermal_headroom": None,
        "core": int(core) if core else None,
        "core_khz": int(khz) if khz else None,
    }


def open_onnx():
    """ONNX Runtime on the CPU; input and output are bound once, a call copies nothing."""
    import numpy
    import onnxruntime

    class Model:
        def __init__(self, path, model, threads):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self.model = model

        def describe(self):
            threads = self.session.get_session_options().intra_op_num_threads
            return described("onnxruntime", onnxruntime.__version__, threads, None)

        def bind(self, batch):
            logits = numpy.empty(self.model["output_shape"], dtype=numpy.float32)
            binding, value = self.session.io_binding(), onnxruntime.OrtValue.ortvalue_from_numpy
            binding.bind_ortvalue_input(self.model["input_name"], value(batch))
            binding.bind_ortvalue_output(self.model["output_name"], value(logits))
            run = self.session.run_with_iobinding

            def call():
                # Without run options: even empty ones cost ONNX Runtime some 30 us in every call.
                run(binding)
                return logits

            return call

    return Model


def open_litert():
    """LiteRT's interpreter with XNNPACK; the input is written once, the logits are copied out."""
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    class Model:
        def __init__(self, path, model, threads):
            self.interpreter = Interpreter(model_path=path, num_threads=threads)
            self.interpreter.allocate_tensors()
            self.threads = threads

        def describe(self):
            return described("litert", version("ai-edge-litert"), self.threads, "xnnpack")

        def bind(self, batch):
            interpreter = self.interpreter
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
            output = interpreter.get_output_details()[0]["index"]

            def call():
                interpreter.invoke()
                return interpreter.get_tensor(output)

            return call

    return Model


def open_executorch():
    """ExecuTorch through the bindings of its package, which need torch on the board."""
    import warnings
    from importlib.metadata import version

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.extension.pybindings import portable_lib

    class Model:
        def __init__(self, path, model, threads):
            # XNNPACK takes the pool when the program is loaded.
            portable_lib._unsafe_reset_threadpool(threads)
            self.program = portable_lib._load_program(path)
            self.method = self.program.load_method("forward")

        def describe(self):
            threads = portable_lib._threadpool_get_thread_count()
            return described("executorch", version("executorch"), threads, "xnnpack")

        def bind(self, batch):
            images, method = (torch.from_numpy(batch),), self.method

            def call():
                return method.call(images, clone_outputs=False)[0].numpy()

            return call

    return Model


def open_torchscript():
    """A TorchScript trace in libtorch."""
    import warnings

    import torch

    class Model:
        def __init__(self, path, model, threads):
            torch.set_num_threads(threads)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.model = torch.jit.load(path, map_location="cpu")

        def describe(self):
            return described("libtorch", torch.__version__, torch.get_num_threads(), None)

        def bind(self, batch):
            images, model = torch.from_numpy(batch), self.model

            def call():
                with torch.inference_mode():
                    return model(images).numpy()

            return call

    return Model


RUNTIMES = {
    "executorch": open_executorch,
    "litert": open_litert,
    "onnx": open_onnx,
    "torchscript": open_torchscript,
}
"""By format: imports the runtime and returns a class made from (path, model of the job, threads)."""


def described(runtime, version, threads, accelerator):
    """The fields of a model's result that the runtime knows."""
    return {
        "runtime": runtime,
        "runtime_version": version,
        "threads_active": threads,
        "accelerator_active": accelerator,
    }


def since_boot_ns():
    """Nanoseconds since boot, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def first_match(path, pattern):
    """First group of a pattern in a file; None where there is no such file or no match."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            match = re.search(pattern, file.read())
    except OSError:
        return None
    return match.group(1) if match else None


def words(error):
    """An exception as one line."""
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
    sys.stdout.flush()
