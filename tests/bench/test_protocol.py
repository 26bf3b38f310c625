"""The device protocol: its records, the schemas written from them, and the one instrument that is written in Python."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from bench.instruments import agent
from bench.protocol import FOLDER, RECORDS, Job, Progress, Result, schema
from bench.timing import loop as timing
from bench.timing.loop import HostLimits, Limits
from distill.errors import UsageError
from tests.bench import timed


@pytest.mark.parametrize("name", RECORDS)
def test_the_schemas_on_disk_are_those_of_the_records(name: str):
    assert json.loads((FOLDER / f"{name}.schema.json").read_text()) == schema(name)


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_says_what_it_means(name: str):
    def undescribed(node: dict, path: str) -> list[str]:
        found = [
            f"{path}.{key}"
            for key, value in node.get("properties", {}).items()
            if "description" not in value and "$ref" not in value
        ]
        return found + [one for key, value in node.get("$defs", {}).items() for one in undescribed(value, key)]

    limits_are_described_as_a_whole = {"Limits." + field for field in Limits.model_fields}
    assert set(undescribed(schema(name), name)) <= limits_are_described_as_a_whole


def test_the_examples_are_valid():
    job = Job.read(FOLDER / "job.example.json")
    result = Result.read(FOLDER / "result.example.json")
    lines = (FOLDER / "progress.example.jsonl").read_text().splitlines()
    progress = [Progress.from_json(line, source="example") for line in lines]
    assert {job.run_id, result.run_id, *(one.run_id for one in progress)} == {job.run_id}
    assert [one.stage for one in progress] == ["loading", "measuring", "checking", "done"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("file", "../job.json"), ("file", "a b"), ("file", "-rf"), ("id", "x;reboot"), ("input_file", "$(id)")],
)
def test_file_names_of_a_job_are_plain(field: str, value: str):
    raw = json.loads((FOLDER / "job.example.json").read_text())
    raw["models"][0][field] = value
    with pytest.raises(UsageError, match=rf"models\.0\.{field}"):
        Job.from_json(json.dumps(raw), source="job")


def test_a_result_whose_time_goes_backwards_is_refused():
    raw = json.loads((FOLDER / "result.example.json").read_text())
    raw["ended_ns"] = raw["began_ns"] - 1
    with pytest.raises(UsageError, match="lies before began_ns"):
        Result.from_json(json.dumps(raw), source="result")


def test_an_engine_that_is_wrong_in_3_per_cent_of_calls_is_found_in_a_hundred_and_a_right_one_never_accused():
    """By chance the hundred calls of 1 - 0.97**100 = 95.2 % of all launches show it."""
    rng, right = np.random.default_rng(2), np.array([[1.0, -2.0]], dtype=np.float32)
    found = 0
    for _ in range(1000):
        is_wrong = iter(rng.random(100) < 0.03)
        first, outputs = agent.repeated(lambda: right + np.float32(next(is_wrong)), 100)  # noqa: B023
        assert sum(output["calls"] for output in outputs) == 100
        found += len(outputs) == 2
    assert 0.95 <= 1 - 0.97**100 < 0.96
    assert 0.93 <= found / 1000 <= 0.975
    first, outputs = agent.repeated(lambda: right, 100)
    assert first.tolist() == [1.0, -2.0]
    assert [(output["calls"], output["max_abs_difference"]) for output in outputs] == [(100, 0.0)]


class Clock:
    """Advances by a fixed step at every reading and by more in every call."""

    def __init__(self, call_ns: int) -> None:
        self.now = 0
        self.call_ns = call_ns

    def __call__(self) -> int:
        self.now += 1_000
        return self.now

    def work(self) -> None:
        self.now += self.call_ns


@pytest.mark.parametrize("call_ns", [1_000, 2_000_000, 400_000_000, 20_000_000_000])
@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(warmup_count=1, warmup_s=0.0, min_count=1, min_s=0.0, max_count=1),
        Limits(min_count=50, max_count=60, min_s=0.1, max_s=2.0, warmup_cap_s=1.0),
    ],
)
def test_the_agent_stops_where_the_loop_of_the_desk_stops(call_ns: int, limits: Limits):
    def run(measure: Callable[[Clock], object]) -> object:
        return measure(Clock(call_ns))

    floors_alone = HostLimits(**limits.model_dump(), steady_within=None, half_width=None, burst_s=None)
    desk = run(lambda clock: timed.measure(clock.work, limits=floors_alone, clock=clock))
    found = run(lambda clock: agent.time_calls(clock.work, limits.model_dump(), clock))
    assert isinstance(desk, timing.Timing)
    assert isinstance(found, dict)
    assert found["samples_ns"] == [round(ms * timing.NS_PER_MS) for ms in desk.samples_ms]
    assert (found["warmup_count"], found["warmup_s"]) == (desk.warmup.count, desk.warmup.seconds)
    assert found["first_inference_ms"] == desk.first_ms
