"""What is asked: which data, which teacher, which device, inside which budget, in which time."""

import re
from typing import Annotated, Literal

from pydantic import Field

from distill.contract import Strict
from distill.errors import UsageError
from distill.vision.tasks import ACCURACY, Measure

DeviceName = Literal["cpu", "android"]
LatencyName = Literal["model", "pipeline"]
Positive = Annotated[float, Field(gt=0)]

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Budget(Strict):
    """Limits of the model that goes out; None = no limit.

    Attributes:
        max_latency_ms: per call; the upper end of the median's 95 % interval has to keep it.
        max_size_mb: of the model on disk, 10^6 bytes; on phones with what its runtime adds to the app.
        min_relative_accuracy: share of the teacher's accuracy; the lower end of its 95 % interval has to keep it.
        max_memory_mb: peak of the process, runtime included, 10^6 bytes.
    """

    max_latency_ms: Positive
    max_size_mb: Positive | None = None
    min_relative_accuracy: Annotated[float, Field(gt=0, le=1.5)] | None = None
    max_memory_mb: Positive | None = None

    def options(self) -> list[str]:
        """As `bench choose` takes them."""
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        return [f"--{name.replace('_', '-')}={value:g}" for name, value in given.items()]

    def in_words(self, measure: Measure = ACCURACY) -> str:
        """E.g. "at most 5 ms per call, at least 98 % of the teacher's accuracy", or of the task's measure."""
        parts = [f"at most {self.max_latency_ms:g} ms per call"]
        if self.min_relative_accuracy is not None:
            parts.append(f"at least {100 * self.min_relative_accuracy:g} % of the teacher's {measure.title}")
        if self.max_size_mb is not None:
            parts.append(f"at most {self.max_size_mb:g} MB")
        if self.max_memory_mb is not None:
            parts.append(f"at most {self.max_memory_mb:g} MB of memory")
        return ", ".join(parts)


class Question(Strict):
    """Everything that was asked.

    Attributes:
        data: folder of pictures; None for those that the teacher learnt from, or the embedded phantom.
        teacher: run or checkpoint folder; None for one that is trained first.
        device: what it has to run on.
        time_s: for the whole loop.
        epochs: full length of a finalist's training; less where the time is short.
        students: networks to choose among.
        formats, precisions: to export them to.
        serials: of the phones; empty: the only one there is. With several the one whose time is worst decides.
        latency: what counts; None: the whole path from picture to answer on phones, the model's call elsewhere.
        sustained: how long each runs without a pause before what remains when it is warm counts; None = at rest.
        pictures: held-out ones that a phone answers, as files.
        repeats: calls with one input, whose outputs must agree.
        install: put the app on the phone.
        settings: further `KEY=VALUE` of `distill run`, for every student, and for a teacher that is trained here where
            they are of the data, the images or the device.
    """

    data: str | None
    teacher: str | None
    device: DeviceName
    budget: Budget
    time_s: Positive
    epochs: Annotated[int, Field(ge=1)]
    students: Annotated[tuple[str, ...], Field(min_length=1)]
    formats: Annotated[tuple[str, ...], Field(min_length=1)]
    precisions: Annotated[tuple[str, ...], Field(min_length=1)]
    threads: Annotated[int, Field(ge=1)]
    launches: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)]
    serials: tuple[str, ...]
    latency: LatencyName | None
    sustained: str | None
    pictures: Annotated[int, Field(ge=0)]
    repeats: Annotated[int, Field(ge=1)]
    install: bool
    settings: tuple[str, ...]


def seconds_of(text: str) -> float:
    """A duration such as "2h", "1h30m", "90s"; a bare number is minutes.

    Raises:
        UsageError: it is not one.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    total = sum(float(number) * UNITS_S[unit or "m"] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text.strip() or total <= 0:
        raise UsageError(f"--time {text!r} is no duration. Write it like this: --time 2h, 1h30m, 45m or 90s.")
    return total


def in_words(seconds: float) -> str:
    """A duration for people: "2 h 5 min", "12 min", "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listed(text: str, option: str) -> tuple[str, ...]:
    """Names from "a,b", none twice.

    Raises:
        UsageError: an empty name.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names) or any(name.startswith("-") for name in names):
        raise UsageError(f"{option} {text!r} is not a list of names. Write it like this: {option} a,b")
    return tuple(dict.fromkeys(names))
