"""The agent as an app that makes a mistake: `python3 faulty_agent.py MISTAKE AGENT JOB FOLDER`."""

import importlib.util
import sys
import time

BUSY_NS = 5_000_000


def main(mistake: str, path: str, job: str, folder: str) -> None:
    spec = importlib.util.spec_from_file_location("agent", path)
    assert spec is not None
    assert spec.loader is not None
    agent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agent)
    MISTAKES[mistake](agent)
    agent.main([job, folder, "--instrument", "app"])


def swapped_channels(agent) -> None:
    resize = agent.Path.resize
    agent.Path.resize = lambda self, picture: resize(self, picture)[::-1]


def another_resize(agent) -> None:
    resize = agent.Path.resize

    def cropped(self, picture):
        self.rule = {**self.rule, "resize": "crop"}
        return resize(self, picture)

    agent.Path.resize = cropped


def nearest_pixels(agent) -> None:
    resize = agent.Path.resize

    def nearest(self, picture):
        size = self.rule["size_px"]
        return resize(self, picture.resize((size, size), 0))

    agent.Path.resize = nearest


def decoder_fails(agent) -> None:
    decode, count = agent.Path.decode, [0]

    def sometimes(self, data):
        count[0] += 1
        if count[0] % 10 == 0:
            raise OSError("its format is not known here")
        return decode(self, data)

    agent.Path.decode = sometimes


def another_output(agent, change) -> None:
    open_onnx = agent.RUNTIMES["onnx"]

    def changed():
        model = open_onnx()

        class Changed(model):
            def bind(self, batch):
                call = super().bind(batch)
                return lambda: change(call())

        return Changed

    agent.RUNTIMES["onnx"] = changed


def class_order(agent) -> None:
    another_output(agent, lambda logits: logits[:, [1, 2, 0]])


def corrupted(agent) -> None:
    import numpy

    rng = numpy.random.default_rng(1)
    another_output(agent, lambda logits: rng.normal(size=logits.shape).astype("f4") * abs(logits).max())


def wrong_now_and_then(agent) -> None:
    import os
    import random

    chance = random.Random(os.getpid())
    another_output(agent, lambda logits: logits + 1e-4 * (chance.random() < 0.03))


def dies_half_way(agent) -> None:
    """As the app does when the system needs its memory; once, then not again."""
    import os
    import signal

    decode, count = agent.Path.decode, [0]

    def dying(self, data):
        count[0] += 1
        if count[0] == 40 and not os.path.exists("/data/local/tmp/died"):
            open("/data/local/tmp/died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(self, data)

    agent.Path.decode = dying


def on_a_gpu(agent, logged: str) -> None:
    """As LiteRT in the app: it takes the accelerator asked for, does not say what ran, and logs it."""
    open_litert = agent.RUNTIMES["onnx"]

    def accelerated():
        model = open_litert()

        class Accelerated(model):
            def describe(self):
                return {**super().describe(), "accelerator_active": None}

        return Accelerated

    agent.RUNTIMES["litert"] = accelerated
    measure_into = agent.measure_into

    def asked(seen, job, model, *more):
        print(logged, flush=True)
        measure_into(seen, job, {**model, "accelerator": None}, *more)

    agent.measure_into = asked


REPLACING = "INFO: Replacing {} out of 12 node(s) with delegate ({}) node, yielding 1 partitions for subgraph 0 (main)."


def all_on_gpu(agent) -> None:
    on_a_gpu(agent, REPLACING.format(12, "LiteRtGpuDelegate"))


def some_on_gpu(agent) -> None:
    on_a_gpu(agent, REPLACING.format(7, "LiteRtGpuDelegate"))


def fallen_back(agent) -> None:
    on_a_gpu(agent, REPLACING.format(12, "TfLiteXNNPackDelegate"))


def silent_about_gpu(agent) -> None:
    on_a_gpu(agent, "INFO: Loaded a model")


def busy(work):
    def longer(*arguments):
        until = time.perf_counter_ns() + BUSY_NS
        result = work(*arguments)
        while time.perf_counter_ns() < until:
            pass
        return result

    return longer


def slow_answers(agent) -> None:
    decode = agent.Path.decode

    def slow(self, data):
        time.sleep(0.03)
        return decode(self, data)

    agent.Path.decode = slow


def slow_decode(agent) -> None:
    agent.Path.decode = busy(agent.Path.decode)


def slow_resize(agent) -> None:
    agent.Path.resize = busy(agent.Path.resize)


MISTAKES = {
    work.__name__: work
    for work in (
        swapped_channels,
        another_resize,
        nearest_pixels,
        decoder_fails,
        class_order,
        corrupted,
        wrong_now_and_then,
        dies_half_way,
        all_on_gpu,
        some_on_gpu,
        fallen_back,
        silent_about_gpu,
        slow_answers,
        slow_decode,
        slow_resize,
    )
}
MISTAKES["none"] = lambda agent: None

if __name__ == "__main__":
    main(*sys.argv[1:])
