"""The loop anybody would write: `bare_loop.py FORMAT FOLDER MODEL` prints latencies in ms, one thread, batch 1."""

import sys
import time
from pathlib import Path

import numpy as np

kind, folder, model = sys.argv[1:]
path, images = f"{folder}/{model}", np.load(f"{folder}/golden_input.npy")
if kind == "onnx":
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    binding = (session := ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])).io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, images)
    binding.bind_output(session.get_outputs()[0].name)
    call = lambda: session.run_with_iobinding(binding)  # noqa: E731
elif kind == "litert":
    from ai_edge_litert.interpreter import Interpreter

    (interpreter := Interpreter(model_path=path, num_threads=1)).allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    call = interpreter.invoke
else:
    import torch

    torch.set_num_threads(1)
    tensor = torch.from_numpy(images)
    if kind == "executorch":
        from executorch.extension.pybindings import portable_lib

        portable_lib._unsafe_reset_threadpool(1)
        method = portable_lib._load_program(path).load_method("forward")
        call = lambda: method.call((tensor,), clone_outputs=False)  # noqa: E731
    else:
        from distill import checkpoint

        network = torch.jit.load(path) if kind == "torchscript" else checkpoint.load(Path(folder)).model
        call = torch.inference_mode()(lambda: network(tensor))
for _ in range(100):
    call()
samples, end = [], time.perf_counter() + 1
while (began := time.perf_counter()) < end:
    call()
    samples.append(1000 * (time.perf_counter() - began))
print(*samples)
