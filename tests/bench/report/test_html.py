import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.compare.choice import Budget, choose
from bench.compare.speed_up import compare
from bench.record import Device, append
from bench.report.drawn_samples import MAX_POINTS, drawn_points, histogram
from bench.report.html import headline, page_content, period, render, write_report
from bench.report.row import marks
from bench.report.study_figures import INDEX_FILE, MAX_SVG_BYTES, read_figures
from bench.timing.proportions import share_interval
from distill.errors import UsageError
from tests.bench.conftest import answering
from tests.bench.synthetic import launches_of

TEACHER = {"teacher_sha256": "checkpoint of teacher"}
EMULATED = Device(
    kind="android",
    name="Emulated phone",
    os="Android 14",
    cores=4,
    memory_bytes=2**32,
    instrument="app",
    serial="emulator-5554",
    emulated=True,
)


@pytest.fixture
def measurements(make_measurement):
    return [
        make_measurement("teacher", format="eager", samples_ms=(30.0,), accuracy=0.90, size_bytes=45_000_000),
        make_measurement("good", samples_ms=(2.0,), accuracy=0.89, **TEACHER),
        make_measurement("fast", samples_ms=(1.0,), accuracy=0.80, **TEACHER),
    ]


def test_the_title_is_the_fastest_student_that_keeps_the_goal(measurements):
    assert headline(compare(measurements)) == (
        "good as onnx fp32 is 15.0 × faster than the teacher and keeps 98.9 % of its accuracy"
    )


def test_the_title_is_of_a_student_that_is_shown_to_keep_the_goal_image_by_image(make_measurement):
    teacher = make_measurement("teacher", format="eager", samples_ms=(30.0,), accuracy=0.95, **answering(range(60)))
    shown = make_measurement("shown", samples_ms=(2.0,), accuracy=0.945, **TEACHER, **answering(range(66)))
    elsewhere = make_measurement(
        "elsewhere", samples_ms=(1.0,), accuracy=0.945, **TEACHER, **answering(range(600, 666))
    )
    rows = compare([teacher, shown, elsewhere])
    assert [row.relative_accuracy for row in rows[1:]] == pytest.approx([0.945 / 0.95] * 2)
    assert headline(rows).startswith("shown as onnx fp32")
    assert "paired by image" in render([teacher, shown, elsewhere])
    assert "is shown to keep 98" in render([teacher, elsewhere])


def test_a_page_of_masks_speaks_of_the_miou_and_one_of_two_tasks_of_quality(measurements):
    masks = [row.model_copy(update={"subject": of_task(row, "segmentation")}) for row in measurements]
    assert headline(compare(masks)).endswith("and keeps 98.9 % of its mIoU")
    page = render(masks)
    assert "mIoU 89.0\u00a0% on 1,000 held-out images" in page
    assert "<dt>mIoU kept</dt>" in page
    read = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page[: page.index("<script")], flags=re.DOTALL)
    assert "ccura" not in read
    assert "mIoU against latency" in read
    content = page_content(masks)
    assert content["data"]["measure"]["heading"] == "mIoU"
    assert content["accuracies"] is None, "the interval of a share of right pictures is none of a mean over pixels"
    assert {row["conditions"] for row in content["data"]["rows"]} == {
        "Test CPU, segmentation, 1 image per call, 1 thread"
    }
    both = page_content(
        [*measurements, measurements[1].model_copy(update={"subject": of_task(measurements[1], "depth")})]
    )
    assert both["data"]["measure"]["title"] == "quality"


def of_task(row, task):
    return row.subject.model_copy(update={"task": task, "manifest_sha256": f"{task} {row.subject.name}"})


def test_a_row_is_held_against_none_of_another_task(make_measurement):
    masks = make_measurement("slow", format="eager", samples_ms=(30.0,), task="segmentation")
    depth = make_measurement("depth", samples_ms=(1.0,), task="depth")
    assert [row.base_name for row in compare([masks, depth])] == ["slow", None]


def test_a_wrong_row_is_never_the_title_and_a_badly_known_one_by_the_least_it_reaches(measurements, make_measurement):
    fast = {"samples_ms": (0.5,), "accuracy": 0.9, "reason": "heat or spread", **TEACHER}
    throttled = make_measurement("throttled", validity="throttled", **fast)
    assert headline(compare([*measurements, throttled])).startswith("good as onnx")
    noisy = make_measurement("noisy", validity="noisy", **fast)
    assert headline(compare([*measurements, noisy])).startswith("noisy as onnx fp32 is at least")


def test_the_title_is_the_least_a_noisy_row_reaches_and_says_so(make_measurement):
    launches = {"samples_ms": (0.5, 0.5, 0.6, 0.6, 0.7, 0.7), "launch_counts": (2, 2, 2)}
    doubt = {"accuracy": 0.9, "validity": "noisy", "reason": "spread", **TEACHER}
    teacher = make_measurement("teacher", format="eager", samples_ms=(30.0,), accuracy=0.90)
    rows = [teacher, make_measurement("noisy", **launches, **doubt)]
    row = next(row for row in compare(rows) if row.role == "student")
    assert row.speed_up.low < row.speed_up.value
    assert headline(compare(rows)).startswith(f"noisy as onnx fp32 is at least {row.speed_up.low:.1f} × faster")
    assert "The row in the title is noisy" in render(rows)


def test_the_title_counts_the_rows_of_each_device(measurements, make_measurement):
    phone = make_measurement("phone", samples_ms=(1.0,), accuracy=None, device=EMULATED)
    assert headline(compare([*measurements[1:], phone])) == "2 measurements on Test CPU, 1 on Emulated phone"


def test_without_a_teacher_the_page_says_so_and_names_the_base(measurements):
    page = render([measurements[1]])
    assert "No teacher was measured in eager PyTorch" in page
    assert "There is no eager row at all" in page
    assert "1 measurement on Test CPU" in page


def test_a_teacher_whose_goal_nobody_reaches_is_told(measurements):
    assert "No student measured here is shown to keep 98&nbsp;%" in render([measurements[0], measurements[2]])


def test_older_measurements_of_a_cell_are_counted_and_not_shown(measurements):
    content = page_content([*measurements, measurements[1]])
    assert (content["superseded"], len(content["rows"])) == (1, 3)


def test_a_failed_row_is_in_the_table_with_its_reason(measurements, make_measurement):
    failed = make_measurement("bad", samples_ms=(), validity="failed", reason="ended by SIGSEGV", **TEACHER)
    content = page_content([*measurements, failed])
    assert content["rows"][-1].name == "bad"
    assert [record["reason"] for record in content["doubtful"]] == ["ended by SIGSEGV"]
    assert content["data"]["rows"][-1]["detail"]["histogram"] is None
    assert "ended by SIGSEGV" in render([*measurements, failed])


def test_names_and_reasons_cannot_inject_markup(make_measurement):
    hostile = "</script><img src=x onerror=alert(1)>"
    page = render([make_measurement(hostile, validity="noisy", reason=hostile)])
    assert hostile not in page


def test_the_period_names_one_day_once(make_measurement):
    times = ("2026-11-21T08:03:00+00:00", "2026-11-21T09:00:00+00:00", "2026-11-22T00:00:00+00:00")
    one, two, three = (make_measurement(utc_time=time) for time in times)
    assert period([two, one]) == "21 November 2026, 08:03 to 09:00 UTC"
    assert period([one, three]) == "21 November 2026, 08:03 to 22 November 2026, 00:00 UTC"


def test_no_measurement_is_an_error_that_names_the_command(tmp_path):
    with pytest.raises(UsageError, match="python -m bench"):
        write_report([], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_emulated_rows_stand_apart_and_nothing_is_ranked_by_them(measurements, make_measurement):
    emulated = make_measurement("phone", samples_ms=(0.1,), accuracy=0.9, device=EMULATED, **TEACHER)
    content = page_content([*measurements, emulated])
    ranked, apart = ([record["name"] for record, _ in table["rows"]] for table in content["tables"])
    assert (sorted(ranked), apart) == (["fast", "good", "teacher"], ["phone (emulated)"])
    assert content["conditions"] == ["Test CPU, 1 image per call, 1 thread"]
    assert content["title"].startswith("good as onnx")
    assert content["data"]["rows"][-1]["candidate"] is None


def test_a_column_that_no_row_fills_is_left_out_and_one_that_tells_rows_apart_is_shown(measurements, make_measurement):
    def shown(rows):
        return {field.key: rank for field, rank in page_content(rows)["tables"][0]["columns"]}

    alone = shown(measurements)
    assert "measured_accuracy" not in alone
    assert (alone["batch"], alone["macs"]) == ("more", "more")
    other = make_measurement("good", batch=8, measured_accuracy=0.8, measured_images=50, **TEACHER)
    both = shown([*measurements, other])
    assert (both["batch"], both["measured_accuracy"]) == ("main", "more")


def test_the_spread_between_launches_is_of_their_medians(make_measurement):
    row = make_measurement(samples_ms=(1.0, 1.0, 1.0, 1.1, 1.1), launch_counts=(3, 2))
    (record,) = page_content([row])["ranked"]
    assert record["between_launches"] == pytest.approx(0.1)
    assert record["median_low_ms"] <= record["median_ms"] <= record["median_high_ms"]
    assert page_content([make_measurement()])["ranked"][0]["between_launches"] is None


def test_the_page_knows_what_choose_knows(make_measurement):
    taught = {"teacher_sha256": "checkpoint of teacher", "accuracy_images": 2000}
    rows = [
        make_measurement("teacher", format="eager", samples_ms=(30.0,) * 40, accuracy=0.90, accuracy_images=2000),
        make_measurement("slow", samples_ms=(2.0,) * 40, accuracy=0.895, **taught),
        make_measurement("even", samples_ms=(1.0,) * 40, accuracy=0.890, **taught),
        make_measurement("poor", samples_ms=(0.5,) * 40, accuracy=0.70, **taught),
        make_measurement("hot", samples_ms=(0.1,) * 40, accuracy=0.9, validity="throttled", reason="heat", **taught),
        make_measurement("noisy", samples_ms=(0.1,) * 40, accuracy=0.8, validity="noisy", reason="spread", **taught),
    ]
    told = {record["name"]: record for record in page_content(rows)["data"]["rows"]}
    found = choose(rows, Budget())
    assert found.winner is not None
    assert found.winner.row.subject.name == "even"
    assert {name for name, one in told.items() if one["candidate"]} == {"slow", "even", "poor", "noisy"}
    assert told["hot"]["excluded"] == "its row is throttled"
    assert told["noisy"]["candidate"]["is_on_front"]
    for candidate in found.candidates:
        ends = told[candidate.row.subject.name]["candidate"]
        assert (ends["low_ms"], ends["high_ms"]) == (candidate.latency_ms.low, candidate.latency_ms.high)
    front = {one.row.subject.name for one in found.front}
    assert {name for name, one in told.items() if one["candidate"] and one["candidate"]["is_on_front"]} == front


def test_an_accelerator_that_was_not_active_is_a_mark(make_measurement):
    missed = make_measurement(accelerator_requested="nnapi", accelerator_active=None)
    assert marks(missed) == [{"word": "no nnapi", "reason": "nnapi was asked for, nothing that is known was active"}]
    assert marks(make_measurement(accelerator_requested="nnapi", accelerator_active="nnapi")) == []


def test_an_accuracy_stands_once_per_artifact_and_where_measured_once_per_place(make_measurement):
    told = {"accuracy": 0.9, "accuracy_images": 1000}
    twice = [make_measurement(**told), make_measurement(batch=8, **told)]
    found = page_content(twice)["accuracies"]
    assert len(found["rows"]) == 1
    ((_, (known,)),) = found["rows"]
    assert (known.low, known.high) == pytest.approx(share_interval(0.9, 1000))
    assert (known.start, known.width) == pytest.approx((0, 100))
    here = {"measured_accuracy": 0.88, "measured_images": 200}
    other = make_measurement(**told, **here)
    other = other.model_copy(update={"device": other.device.model_copy(update={"name": "Other CPU"})})
    measured = [make_measurement(**told, **here), make_measurement(batch=8, **told, **here), other]
    assert [len(bars) for _, bars in page_content(measured)["accuracies"]["rows"]] == [2, 2]
    assert page_content([make_measurement(accuracy=None, accuracy_images=0)])["accuracies"] is None


@pytest.mark.parametrize(("right", "count"), [(0, 10), (5, 10), (10, 10), (1862, 2000)])
def test_a_share_has_wilsons_interval(right, count):
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert share_interval(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_no_images_have_no_interval():
    with pytest.raises(ValueError, match="no images"):
        share_interval(0.5, 0)


def test_few_samples_are_all_drawn_and_of_many_the_ends_of_every_stretch():
    assert drawn_points([1.23456, 2.0], 10) == [1.235, 2.0]
    samples = np.full(10_000, 1.0)
    samples[[17, 5_000, 9_999]] = 9.0, 0.25, 7.0
    points = drawn_points(samples.tolist(), MAX_POINTS)
    assert len(points) <= MAX_POINTS
    assert [point for point in points if point != 1] == [9.0, 0.25, 7.0]


def test_the_histogram_counts_every_call():
    launches = launches_of(np.random.default_rng(1), 3, 500, between=0.01, spread=0.02, correlation=0.3)
    launches[1, 7] = 50.0
    found = histogram(launches.tolist())
    assert sum(found.counts) + found.beyond == launches.size
    assert (found.start_ms, found.slowest_ms) == (pytest.approx(launches.min(), rel=1e-5), 50.0)
    assert found.start_ms + len(found.counts) * found.width_ms < 2


def test_a_heavy_tail_does_not_flatten_the_histogram():
    calls = [1 + 0.001 * (number % 10) for number in range(900)] + [5.0] * 100
    found = histogram([calls])
    assert found.start_ms + len(found.counts) * found.width_ms < 1.1
    assert (found.beyond, sum(found.counts)) == (100, 900)


def test_equal_samples_have_one_bar_to_stand_in():
    found = histogram([[2.0] * 30])
    assert sum(found.counts) == 30
    assert found.width_ms > 0


@pytest.fixture
def figures(tmp_path):
    """A folder of figures: the second drawing is larger than may be embedded."""
    folder = tmp_path / "figures"
    folder.mkdir()
    entries = [
        {"name": name, "title": f"Title of {name}", "caption": f"Caption of {name}", "png": f"{name}.png"}
        | {"svg": f"{name}.svg"}
        for name in ("small", "large")
    ]
    (folder / INDEX_FILE).write_text(json.dumps(entries))
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"><rect width="9" height="9"/></svg>'
    (folder / "small.svg").write_text(svg)
    (folder / "large.svg").write_text(svg + " " * MAX_SVG_BYTES)
    for name in ("small", "large"):
        (folder / f"{name}.png").write_bytes(b"\x89PNG of " + name.encode())
    return folder


def test_figures_are_embedded_and_of_a_huge_drawing_its_pixels(figures):
    small, large = read_figures(figures)
    assert (small.title, small.caption) == ("Title of small", "Caption of small")
    kind, data = small.source.split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data) == (figures / "small.svg").read_bytes()
    assert large.source.startswith("data:image/png;base64,")


def test_figures_that_are_not_there_are_an_error_that_names_the_command(figures):
    with pytest.raises(UsageError, match=r"cannot read .*figures\.json.*python -m distill figures"):
        read_figures(figures.parent)
    (figures / "small.svg").unlink()
    with pytest.raises(UsageError, match=r"names .*small\.svg, which cannot be read"):
        read_figures(figures)


@pytest.mark.parametrize("png", ["../secret.png", "/etc/passwd", ""])
def test_an_index_cannot_reach_outside_its_folder(figures, png):
    entry = {"name": "one", "title": "", "caption": "", "png": png, "svg": "one.svg"}
    (figures / INDEX_FILE).write_text(json.dumps([entry]))
    with pytest.raises(UsageError, match=r"is not an index of figures: 0\.png"):
        read_figures(figures)


def test_the_command_puts_figures_of_several_studies_on_the_page(figures, make_measurement, tmp_path):
    journal, page = tmp_path / "m.jsonl", tmp_path / "page.html"
    append(journal, make_measurement())
    command = [sys.executable, "-m", "bench", "report", "--measurements", journal, "--out", page]
    ended = subprocess.run([*command, "--figures", figures, "--figures", figures], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"{page}\n"), ended.stderr
    assert page.read_text().count("Caption of small") == 2
    told = subprocess.run([*command, "--json"], capture_output=True, text=True)
    document = json.loads(told.stdout)
    assert (document["report"], document["rows"], document["cut_lines"]) == (str(page), 1, [])
    assert document["title"] == "1 measurement on Test CPU"
    missing = subprocess.run([*command, "--figures", tmp_path], capture_output=True, text=True)
    assert missing.returncode == 2
    assert "python -m distill figures" in " ".join(missing.stderr.replace("│", " ").split())


def test_captions_cannot_inject_markup(figures, make_measurement):
    entries = json.loads((figures / INDEX_FILE).read_text())
    entries[0]["caption"] = hostile = "<script>alert(1)</script>"
    (figures / INDEX_FILE).write_text(json.dumps(entries))
    page = render([make_measurement()], read_figures(figures))
    assert hostile not in page
    assert "Title of large" in page
