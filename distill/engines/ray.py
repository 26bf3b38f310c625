"""Cells as Ray tasks, on this machine or on a cluster: GPUs in fractions, and another try when a worker or node dies.

A task starts the cell's process and waits for it. A cell whose worker died goes on from its last finished epoch, on
whichever node is free; so all nodes share the study's folder.
"""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.contract import sha256_of_file
from distill.engines.cell_process import failure_of, start_cell, stop
from distill.engines.engine import LOOK_EVERY_S, Ended, Event, Options, Quiet, Started
from distill.errors import UsageError
from distill.system import TOOLKIT_FOLDER

RETRIES = 3
"""More tries of a cell whose worker or node died; a run that fails by itself is not tried again."""
CONNECT_S = 10


@contextmanager
def open_engine(study_file: Path, options: Options) -> Iterator["RayEngine"]:
    """Connect to `options.address`, or start Ray on this machine and stop it at the end.

    Args:
        study_file: the study's record, which every node must see.
        options: a cell takes one CPU and, where there are GPUs, one GPU, unless they say otherwise.

    Raises:
        UsageError: no Ray, no cluster there, no node that could hold a cell, or one that does not see the study.
    """
    options.allow("ray", "address", "cpus_per_cell", "gpus_per_cell")
    ray = _import()
    _connect(ray, options.address)
    try:
        engine = _engine_for(ray.nodes(), options)
        _check_nodes(ray, study_file.absolute())
        yield engine
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class RayEngine:
    """Runs cells as tasks of the cluster this process is connected to.

    Attributes:
        cpus: of a cell; as many threads.
        gpus: of a cell; 0 hides the node's GPUs from it.
    """

    cpus: int
    gpus: float

    def run(self, folders: Sequence[Path]) -> Iterator[Event]:
        """See `Engine`."""
        ray = _import()
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)(run_cell)
        conditions = f"as Ray tasks of {self.cpus} CPU and {self.gpus:g} GPU"
        running = {
            task.remote(str(folder.absolute()), self.cpus, self.gpus > 0, conditions, str(Path.cwd())): folder
            for folder in folders
        }
        started: set[Path] = set()
        try:
            while running:
                ready, _ = ray.wait(list(running), timeout=LOOK_EVERY_S, fetch_local=False)
                for steps in ready:
                    folder = running[steps]
                    event = _next_event(ray, steps, folder, begins=folder not in started)
                    if isinstance(event, Ended):
                        del running[steps]
                    started.add(folder)
                    yield event
                yield Quiet()
        finally:
            for steps in running:
                ray.cancel(steps)


def run_cell(folder: str, threads: int, gpu: bool, conditions: str, cwd: str) -> Iterator[str | None]:
    """The task: yields the node's name when the cell's process was started, then why it failed, or None."""
    path = Path(folder)
    process = start_cell(path, threads=threads, gpu=gpu, conditions=conditions, cwd=cwd)
    try:
        yield socket.gethostname()
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):  # short waits: a cancelled task stops between them
                process.wait(timeout=LOOK_EVERY_S)
        yield failure_of(path, process.returncode)
    finally:
        stop(process)


def hash_seen_here(file: str) -> str | None:
    """Task on every node: the hash of a file as this node sees it, or None."""
    path = Path(file)
    return sha256_of_file(path) if path.is_file() else None


def _import() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(
            "--engine ray needs Ray, which is not installed here. "
            "Install it with: uv pip install 'pocket-distill[ray]' (or pip install ray), or use --engine local."
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    if address is not None:
        _check_address(address)
    settings: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(**settings, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise UsageError(
            f"cannot start with {where}: {str(error).splitlines()[0]} "
            "The cluster must run the same versions of Ray and Python as this command."
        ) from error


def _check_address(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        raise UsageError(f"--address {address}: expected HOST:PORT of the cluster's head node, e.g. 192.0.2.1:6379.")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise UsageError(
            f"--address {address}: nobody answers there ({error}). Start a cluster with `ray start --head`, which "
            "prints its address, or leave --address out to use this machine alone."
        ) from error


def _engine_for(nodes: Sequence[dict[str, Any]], options: Options) -> RayEngine:
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    most_gpus = max(amounts.get("GPU", 0.0) for amounts in resources)
    cpus = options.cpus_per_cell or 1
    gpus = min(1.0, most_gpus) if options.gpus_per_cell is None else options.gpus_per_cell
    if gpus > 1 and gpus != int(gpus):
        raise UsageError(f"--gpus-per-cell {gpus:g}: Ray gives out parts of one GPU or whole GPUs.")
    if not any(amounts.get("CPU", 0.0) >= cpus and amounts.get("GPU", 0.0) >= gpus for amounts in resources):
        largest = "; ".join(f"{amounts.get('CPU', 0):g} CPU, {amounts.get('GPU', 0):g} GPU" for amounts in resources)
        raise UsageError(
            f"no node can hold a cell of {cpus} CPU and {gpus:g} GPU; the nodes have: {largest}. "
            "Lower --cpus-per-cell or --gpus-per-cell."
        )
    return RayEngine(cpus, gpus)


def _check_nodes(ray: Any, study_file: Path) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0)(hash_seen_here)
    answers = {
        node["NodeID"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(study_file))
        for node in ray.nodes()
        if node["Alive"]
    }
    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    for node, answer in answers.items():
        try:
            sha256 = ray.get(answer)
        except ray.exceptions.RayError as error:
            reason = str(error).splitlines()[-1]
            raise UsageError(
                f"node {names[node]} cannot load this toolkit ({reason}). Install it there, or keep it at "
                f"{TOOLKIT_FOLDER} on a file system that all nodes share."
            ) from error
        if sha256 != sha256_of_file(study_file):
            raise UsageError(
                f"node {names[node]} does not see {study_file}. All nodes must share the study's folder: "
                "choose one on a shared file system with --out."
            )


def _next_event(ray: Any, steps: Iterator[Any], folder: Path, *, begins: bool) -> Event:
    try:
        value = ray.get(next(steps))
    except ray.exceptions.RayTaskError as error:
        return Ended(folder, f"{type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        return Ended(folder, f"its Ray worker or node died, and so in {RETRIES} more tries: {reason}")
    return Started(folder, value) if begins else Ended(folder, value)
