"""One run in several processes: `torchrun --nproc-per-node 4 -m distill run RECIPE`, on one machine or many.

How many there are is no setting of a run and does not change its identity. Every batch of the configured size is
divided evenly among the processes, gradients are averaged over them (DDP), and so are the losses that are shown. The
first process evaluates, writes and prints; the others learn of it. All must see the same disk.

What is computed is what one process computes with the same batches, up to rounding, but for two things that depend on
how a batch is divided: dropout and stochastic depth draw per process, and on the CPU batch normalisation sees only a
process's own share (on CUDA its statistics are those of the whole batch).
"""

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import ParamSpec, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from distill.config import RunConfig
from distill.errors import ToolError, UsageError
from distill.system import started_by_torchrun
from distill.terminal import say
from distill.training.batches import Share
from distill.training.lightning import DDPStrategy, Fabric

LONGEST_WAIT = timedelta(hours=12)
"""For the first process, while it evaluates or asks the teacher. A process that dies is noticed at once by torchrun."""

P = ParamSpec("P")
T = TypeVar("T")


class Processes:
    """The processes that compute one run together; usually there is one.

    Attributes:
        fabric: device, precision and gradients of this process.
        share: this process's part of every batch.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.share = Share(fabric.global_rank, fabric.world_size)

    def first(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Let the first process do some work; all return what it returns, or raise its error if it is for the user."""
        if self.share.count == 1:
            return work(*args, **kwargs)
        result, error = None, None
        if self.share.number == 0:
            try:
                result = work(*args, **kwargs)
            except ToolError as raised:
                error = raised
        result, error = self.fabric.broadcast((result, error))
        if error is not None:
            raise error
        return result  # pyright: ignore[reportReturnType]

    @contextmanager
    def first_goes_ahead(self) -> Generator[None]:
        """The first process goes through the block alone; the others find in the cache what it made."""
        if self.share.number != 0:
            self.fabric.barrier()
        try:
            yield
        finally:
            if self.share.number == 0:
                self.fabric.barrier()

    def share_statistics(self, networks: Sequence[nn.Module]) -> None:
        """Let batch normalisation see the whole batch; on the CPU torch cannot, which is said."""
        layers = [layer for network in networks for layer in network.modules() if isinstance(layer, _BatchNorm)]
        if self.share.count == 1 or not layers:
            return
        if self.fabric.device.type == "cuda":
            # torch's own conversion loses the activation inside timm's normalisation layers.
            from timm.layers.norm_act import convert_sync_batchnorm

            for network in networks:
                for name, child in network.named_children():
                    network.add_module(name, convert_sync_batchnorm(child))
            return
        say(
            f"on the CPU batch normalisation sees only a process's own share (1/{self.share.count}) of a batch, "
            "so the result is not quite that of one process"
        )


def start_processes(config: RunConfig) -> Processes:
    """Device, precision, and the other processes if torchrun started some.

    Raises:
        UsageError: a GPU was demanded and there is none, or there are fewer than processes.
    """
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise UsageError(
            "device=cuda was demanded, but torch sees no CUDA GPU on this machine. "
            "Use --set device=auto to train on the CPU, or check the driver with nvidia-smi."
        )
    on_gpu = has_gpu and config.device != "cpu"
    everywhere, here = started_by_torchrun()
    if on_gpu and here > torch.cuda.device_count():
        raise UsageError(
            f"torchrun started {here} processes on this machine, but torch sees {torch.cuda.device_count()} GPU(s). "
            f"Use --nproc-per-node {torch.cuda.device_count()}, or --set device=cpu."
        )
    precision = config.training.precision
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu else "32-true"
    if precision == "bf16-mixed" and not on_gpu and not has_bfloat16():
        say(
            "this processor has no instructions for bfloat16: training.precision=bf16-mixed will be slower here than "
            "32-true"
        )
    accelerator = "cuda" if on_gpu else "cpu"
    if everywhere == 1:
        return Processes(Fabric(accelerator=accelerator, devices=1, precision=precision))
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    strategy = DDPStrategy(timeout=LONGEST_WAIT, find_unused_parameters=config.method.needs.idle_parameters)
    fabric = Fabric(
        accelerator=accelerator, devices=here, num_nodes=everywhere // here, strategy=strategy, precision=precision
    )
    fabric.launch()
    return Processes(fabric)


def has_bfloat16() -> bool:
    """True if this processor multiplies matrices of bfloat16 by instructions of its own."""
    return any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
