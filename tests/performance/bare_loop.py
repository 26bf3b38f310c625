"""The loop anybody would write, as a worker of the bench: `bare_loop.py JOB RESULT READY`, one thread, batch 1.

Artifacts whose folder has a file `bare` are timed by the loop below, all others by the bench's own worker. Both take a
burst of samples whenever it is their turn. Run by benching.py.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BARE = "bare"
BURSTS = 32
BURST_S = 0.05
CALLS_BEFORE = 20


def open_call(kind: str, path: str, images: np.ndarray) -> Callable[[], object]:
    if kind == "onnx":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        binding.bind_cpu_input(session.get_inputs()[0].name, images)
        binding.bind_output(session.get_outputs()[0].name)
        return lambda: session.run_with_iobinding(binding)
    if kind == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        return interpreter.invoke
    import torch

    torch.set_num_threads(1)
    tensor = torch.from_numpy(images)
    if kind == "executorch":
        from executorch.extension.pybindings import _C as bindings

        bindings._unsafe_reset_threadpool(1)
        method = bindings._load_program(path).load_method("forward")
        return lambda: method.call((tensor,), clone_outputs=False)
    from distill import checkpoint

    network = torch.jit.load(path) if kind == "torchscript" else checkpoint.load(Path(path).parent).model
    return torch.inference_mode()(lambda: network(tensor))


def burst(call: Callable[[], object]) -> list[float]:
    for _ in range(CALLS_BEFORE):
        call()
    samples: list[float] = []
    end = time.perf_counter() + BURST_S
    while (began := time.perf_counter()) < end:
        call()
        samples.append(1000 * (time.perf_counter() - began))
    return samples


def main(job_path: Path, result_path: Path, ready: int) -> None:
    from bench.cpu import worker
    from export.artifact.manifest import read_artifact
    from export.proof.golden import INPUT_FILE

    job = worker.Job.model_validate_json(job_path.read_bytes())
    folder = Path(job.folder)
    if not (folder / BARE).exists():
        return worker.main(job_path, result_path, ready)
    manifest = read_artifact(folder)

    def wait(state: bytes) -> None:
        os.write(ready, state)
        sys.stdin.readline()

    wait(worker.MORE)
    call = open_call(manifest.format, str(folder / manifest.file("model")), np.load(folder / INPUT_FILE))
    burst(call)
    bursts: list[list[float]] = []
    while len(bursts) < BURSTS:
        wait(worker.MORE)
        bursts.append(burst(call))
    wait(worker.ENOUGH)
    result_path.write_text(json.dumps(outcome(bursts, manifest.format, job.together)))


def outcome(bursts: list[list[float]], runtime: str, together: str | None) -> dict[str, object]:
    unknown = dict.fromkeys(
        ("steady", "load_ms", "first_inference_ms", "other_work_share", "stolen_share", "waiting_share")
    )
    counts = [len(one) for one in bursts]
    launch = {"sample_count": sum(counts), "warmup_count": 0, "warmup_s": 0.0, "burst_counts": counts}
    timed = {"runtime": runtime, "runtime_version": "", "threads_active": 1, "input": "golden"}
    clocks = dict.fromkeys(("mhz_before", "mhz_after", "throttled"))
    samples = [sample for one in bursts for sample in one]
    return {"timed": {**timed, **clocks, "launch": {**unknown, **launch, "together": together}, "samples_ms": samples}}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
