"""The agent as the app of a phone that is slower in some formats: `python3 slower_app.py ONNX=MS,… AGENT JOB FOLDER`.

So phones of one machine can rank models differently, as real ones do.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

NS_PER_MS = 1_000_000


def main(delays: str, path: str, job: str, folder: str) -> None:
    spec = importlib.util.spec_from_file_location("agent", path)
    assert spec is not None
    assert spec.loader is not None
    agent: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agent)
    for name, ms in delays_ms(delays).items():
        agent.RUNTIMES[name] = slower(agent.RUNTIMES[name], ms)
    agent.main([job, folder, "--instrument", "app"])


def delays_ms(text: str) -> Mapping[str, float]:
    """From "onnx=6,litert=3"; raises ValueError for anything else."""
    pairs = (part.partition("=") for part in text.split(","))
    return {name: float(ms) for name, _, ms in pairs}


def slower(open_runtime: Callable[[], Any], ms: float) -> Callable[[], Any]:
    """An engine of which every call takes that much longer at least."""

    def opened() -> Any:
        model = open_runtime()

        class Slower(model):
            def bind(self, batch: Any) -> Callable[..., Any]:
                call = super().bind(batch)

                def longer(*arguments: Any) -> Any:
                    until = time.perf_counter_ns() + int(ms * NS_PER_MS)
                    result = call(*arguments)
                    while time.perf_counter_ns() < until:
                        pass
                    return result

                return longer

        return Slower

    return opened


if __name__ == "__main__":
    main(*sys.argv[1:])
