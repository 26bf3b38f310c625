"""Devices by name: `DEVICES` is the one table."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.android.options import PhoneOptions, open_phones
from bench.cpu.options import HostOptions, open_cpu
from bench.cuda.device import CudaOptions, open_cuda
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.session.device import DeviceBench
from bench.timing.loop import Limits
from distill.errors import UsageError


@dataclass(frozen=True)
class Options:
    """What a session asks of a device.

    Attributes:
        timeout_s: seconds one process may take.
        accuracy: what is asked about accuracy, of any of them.
        path: what is asked about the whole path; GPUs do not look at it.
        host: what is asked of this machine; phones do not look at it.
        phone: what is asked of phones; nobody else looks at it.
        cuda: what is asked of GPUs, beside what is asked of this machine.
    """

    timeout_s: float = 120.0
    accuracy: AccuracyOptions = field(default_factory=AccuracyOptions)
    path: PathOptions = field(default_factory=PathOptions)
    host: HostOptions = field(default_factory=HostOptions)
    phone: PhoneOptions = field(default_factory=PhoneOptions)
    cuda: CudaOptions = field(default_factory=CudaOptions)


@dataclass(frozen=True)
class DeviceEntry:
    """How a device is opened, and whether it is this machine: then only one bench may run on it."""

    open: Callable[[Options], DeviceBench]
    is_this_machine: bool


DEVICES: dict[str, DeviceEntry] = {
    "cpu": DeviceEntry(
        lambda options: open_cpu(options.host, options.accuracy, options.path, timeout_s=options.timeout_s),
        is_this_machine=True,
    ),
    "android": DeviceEntry(
        lambda options: open_phones(
            options.phone, options.accuracy, options.path, limits=Limits(), timeout_s=options.timeout_s
        ),
        is_this_machine=False,
    ),
    "cuda": DeviceEntry(
        lambda options: open_cuda(options.host, options.accuracy, options.cuda, timeout_s=options.timeout_s),
        is_this_machine=True,
    ),
}


def find_device(name: str) -> DeviceEntry:
    """The entry of a device.

    Raises:
        UsageError: there is no such device.
    """
    if name in DEVICES:
        return DEVICES[name]
    raise UsageError(
        f"There is no device {name!r}. Devices of this version: {', '.join(DEVICES)}. Use --device cpu to measure on "
        "this machine."
    )
