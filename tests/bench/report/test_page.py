"""The report page in a real browser: it works, looks right in width and colour, and never leaves its file."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from bench.compare.choice import Budget, choose
from bench.record import Device, Measurement
from bench.report.html import write_report
from bench.report.study_figures import Picture
from tests.bench.conftest import answering, make_launch

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
ONE_IMAGE, EIGHT_IMAGES = (f"Test CPU, {images} per call, 1 thread" for images in ("1 image", "8 images"))
RED_SQUARE = (
    "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHZpZXdCb3g9IjAgMCA5IDkiIHdpZHRoPSI5"
    "IiBoZWlnaHQ9IjkiPjxyZWN0IHdpZHRoPSI5IiBoZWlnaHQ9IjkiIGZpbGw9InJlZCIvPjwvc3ZnPg=="
)
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

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}; install it with: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory, make_measurement) -> Path:
    """Written once: a visit changes nothing."""
    taught = {"teacher_sha256": "checkpoint of resnet18"}
    steady = [1 + 0.001 * (number % 7) for number in range(120)]

    def row(name: str, median_ms: float, **fields):
        return make_measurement(
            name, samples_ms=tuple(median_ms * sample for sample in steady), launch_counts=(40, 40, 40), **fields
        )

    int8 = {"format": "litert", "precision": "int8", "accuracy": 0.90, "size_bytes": 1_700_000}
    here = {"measured_accuracy": 0.91, "measured_agreement": 0.99, "measured_images": 200}
    rows = [
        row("resnet18", 30.0, format="eager", accuracy=0.95, size_bytes=45_000_000),
        row("mobilenet_v3_small", 3.0, format="eager", accuracy=0.94, **taught),
        row("mobilenet_v3_small", 0.5, format="onnx", accuracy=0.94, **here, **taught),
        row("mobilenet_v3_small", 0.4, **int8, **taught),
        row("<b>ghost</b>", 0.9, format="onnx", accuracy=0.92, validity="noisy", reason="two modes", **taught),
        make_measurement("broken", format="executorch", samples_ms=(), validity="failed", reason="SIGSEGV", **taught),
        row("resnet18", 200.0, format="eager", accuracy=0.95, batch=8),
        row("mobilenet_v3_small", 20.0, format="eager", accuracy=0.94, batch=8, **taught),
        row("on_a_phone", 0.01, accuracy=0.95, device=EMULATED, **taught),
    ]
    pictures = [Picture("Accuracy of each student", "Study of nine epochs.", RED_SQUARE)]
    page = tmp_path_factory.mktemp("report") / "report.html"
    write_report(rows, page, pictures)
    return page


class Visit:
    """An opened page with everything it asked for and complained about."""

    def __init__(self, browser, report: Path, **options) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.route("**/*", self._only_the_file)
        self.url = report.as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("#trade .main-svg")

    def _only_the_file(self, route) -> None:
        route.continue_() if route.request.url == self.url else route.abort()

    def column(self, key: str) -> list[str]:
        """Texts of the rows' cells of a column, top to bottom, without the small print; hidden rows left out."""
        script = """key => {
            const heads = [...document.querySelectorAll('#measurements thead th')];
            const place = heads.findIndex(head => head.dataset.key === key);
            return [...document.querySelectorAll('#measurements tbody tr:not([hidden])')].map(row => {
                const cell = row.cells[place].cloneNode(true);
                cell.querySelectorAll('small, .under, .role').forEach(part => part.remove());
                return cell.textContent.trim();
            });
        }"""
        return self.page.evaluate(script, key)

    def head(self, key: str):
        return self.page.locator(f"#measurements thead th[data-key={key}]")

    def open_row(self, name: str) -> None:
        self.page.locator("#measurements tbody .open", has_text=name).first.click()
        expect(self.page.locator("#detail")).to_be_visible()

    def set_limit(self, name: str, value: str) -> None:
        self.page.locator(f"#budget [name={name}]").fill(value)

    def close(self) -> None:
        """End the visit; nothing may have been complained about or asked of any network."""
        self.context.close()
        assert self.complaints == []
        assert {url for url in self.requests if not url.startswith("data:")} == {self.url}


@pytest.fixture
def visit(browser, report) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.close()


@pytest.fixture
def phone_visit(browser, report) -> Iterator[Visit]:
    visit = Visit(browser, report, **PHONE)
    yield visit
    visit.close()


def test_a_head_sorts_its_column_both_ways_with_missing_values_last(visit):
    head = visit.head("median_ms")
    head.locator("button").click()
    ascending = visit.column("median_ms")
    assert head.get_attribute("aria-sort") == "ascending"
    assert ascending[-1] == "–"
    assert [float(text) for text in ascending[:-1]] == sorted(float(text) for text in ascending[:-1])
    assert float(ascending[0]) == pytest.approx(0.4, rel=0.01)

    head.locator("button").click()
    descending = visit.column("median_ms")
    assert head.get_attribute("aria-sort") == "descending"
    assert descending == [*reversed(ascending[:-1]), "–"]

    visit.head("name").locator("button").click()
    assert head.get_attribute("aria-sort") is None
    assert visit.column("name") == sorted(visit.column("name"), key=str.lower)


def test_a_head_can_be_reached_and_pressed_by_keyboard(visit):
    visit.head("accuracy").locator("button").focus()
    visit.page.keyboard.press("Enter")
    assert visit.head("accuracy").get_attribute("aria-sort") == "ascending"


def test_filters_narrow_the_table_together_and_can_be_cleared(visit):
    page = visit.page
    expect(page.locator("#count")).to_have_text("8 rows")
    page.locator("select[name=format]").select_option("onnx")
    assert visit.column("format") == ["onnx", "onnx"]
    page.locator("input[name=search]").fill("MOBILE")
    assert visit.column("name") == ["mobilenet_v3_small"]
    expect(page.locator("#count")).to_have_text("1 of 8 rows")
    page.locator("input[name=search]").fill("nothing like this")
    assert visit.column("name") == []
    expect(page.locator("#empty")).to_be_visible()
    page.locator("#filters button[type=reset]").click()
    expect(page.locator("#count")).to_have_text("8 rows")


def test_all_columns_are_shown_when_asked_for(visit):
    macs = visit.head("macs")
    expect(macs).to_be_hidden()
    visit.page.locator("#all-columns").click()
    expect(macs).to_be_visible()
    assert visit.column("measured_accuracy").count("91.00") == 1


def test_limits_filter_the_table_draw_lines_and_name_the_best(visit):
    page = visit.page
    expect(page.locator("#answer")).to_contain_text("Set a limit to see which of 3 models fits best.")
    expect(page.locator("#answer")).to_contain_text("1 row (its row is failed)")
    visit.set_limit("latency_ms", "2")
    # Both fit; their accuracies are shown to differ, so the faster one does not win.
    expect(page.locator("#answer strong")).to_have_text("mobilenet_v3_small, onnx fp32")
    expect(page.locator("#answer")).to_contain_text(
        "3 of 3 models fit. Against the runner-up, mobilenet_v3_small, litert int8, it is 4.2 points more accurate"
    )
    assert sorted(visit.column("format")) == ["litert", "onnx", "onnx"]
    expect(page.locator("#count")).to_have_text("3 of 8 rows, 5 outside the budget")
    expect(page.locator("#trade .annotation", has_text="at most 2 ms")).to_be_visible()

    visit.set_limit("latency_ms", "0.45")
    expect(page.locator("#answer strong")).to_have_text("mobilenet_v3_small, litert int8")
    visit.set_limit("accuracy_percent", "98")
    expect(page.locator("#answer strong")).to_have_text("Nothing fits.")
    expect(page.locator("#answer")).to_contain_text(
        "rules out 2 of 3 models. The nearest miss is mobilenet_v3_small, litert int8: accuracy 94.74 %."
    )
    expect(page.locator("#empty")).to_be_visible()

    page.locator("#budget button[type=reset]").click()
    expect(page.locator("#count")).to_have_text("8 rows")
    visit.set_limit("size_mb", "2")
    expect(page.locator("#answer strong")).to_have_text("mobilenet_v3_small, litert int8")
    assert visit.column("format") == ["litert"]


def test_whoever_might_win_were_it_known_better_is_named(browser, make_measurement, tmp_path):
    samples = tuple(latency for latency in (2.0, 2.6, 3.2) for _ in range(20))
    rows = [
        make_measurement("known", samples_ms=(1.0,) * 60, launch_counts=(20, 20, 20), accuracy=0.8),
        make_measurement("vague", samples_ms=samples, launch_counts=(20, 20, 20), accuracy=0.9, validity="noisy"),
    ]
    write_report(rows, tmp_path / "report.html")
    visit = Visit(browser, tmp_path / "report.html")
    visit.set_limit("latency_ms", "3")
    expect(visit.page.locator("#answer strong")).to_have_text("known, onnx fp32")
    expect(visit.page.locator("#answer")).to_contain_text(
        "Might win if known better: vague, onnx fp32 (noisy). To tell, measure again with --launches 5, on a quieter"
    )
    visit.set_limit("accuracy_percent", "85")
    expect(visit.page.locator("#answer strong")).to_have_text("Nothing fits for sure.")
    visit.close()


def test_a_limit_on_accuracy_holds_for_the_lower_end_of_what_is_kept_for_sure(browser, make_measurement, tmp_path):
    teacher = make_measurement("teacher", format="eager", samples_ms=(30.0,), accuracy=0.95, **answering(range(60)))
    fields = {"teacher_sha256": "checkpoint of teacher", "accuracy": 0.945}
    shown = make_measurement("shown", samples_ms=(2.0,), **fields, **answering(range(66)))
    elsewhere = make_measurement("elsewhere", samples_ms=(1.0,), **fields, **answering(range(600, 666)))
    write_report([teacher, shown, elsewhere], tmp_path / "report.html")
    visit = Visit(browser, tmp_path / "report.html")
    visit.set_limit("accuracy_percent", "98")
    expect(visit.page.locator("#answer strong")).to_have_text("shown, onnx fp32")
    expect(visit.page.locator("#answer")).to_contain_text(
        "elsewhere, onnx fp32. To tell, export with more held-out images"
    )
    visit.close()


def test_a_page_of_depth_chooses_and_speaks_by_its_own_share(browser, make_measurement, tmp_path):
    depth = {"task": "depth", "launch_counts": (20, 20, 20)}
    rows = [
        make_measurement("small", samples_ms=(1.0,) * 60, accuracy=0.6, **depth),
        make_measurement("large", samples_ms=(2.0,) * 60, accuracy=0.9, **depth),
    ]
    write_report(rows, tmp_path / "report.html")
    visit = Visit(browser, tmp_path / "report.html")
    visit.set_limit("latency_ms", "1.5")
    expect(visit.page.locator("#answer")).to_contain_text("small, onnx fp32 fits best: 1 ms (at most")
    expect(visit.page.locator("#answer")).to_contain_text(", 60.0 % δ < 1.25,")
    expect(visit.page.locator("#answer")).to_contain_text("the best by δ < 1.25 of all")
    expect(visit.page.locator("#trade .ytitle")).to_have_text("δ < 1.25")
    visit.open_row("small")
    expect(visit.page.locator("#detail-figures")).to_contain_text("δ < 1.25 at export")
    visit.close()


@pytest.fixture
def many(make_measurement) -> list[Measurement]:
    """Rows of three checkpoints; some in turn, some of one launch, some without answers to the same images."""
    rng = np.random.default_rng(1)
    launch = make_launch(20)
    groups = [
        [launch.model_copy(update={"together": f"{turn} {nth}", "burst_counts": (2,) * 10}) for nth in range(3)]
        for turn in range(6)
    ]
    rows: list[Measurement] = []
    for number in range(24):
        checkpoint, in_turn = number % 3, number % 4 < 2
        launches = groups[number // 4] if in_turn else [make_launch(60)] if number % 4 == 2 else [make_launch(20)] * 3
        known = answering(rng.choice(1200, size=100 - 24 * checkpoint + number, replace=False)) if number % 5 else {}
        rows.append(
            make_measurement(
                f"network {number}",
                samples_ms=tuple((1 + checkpoint + 0.02 * number) * rng.lognormal(0, 0.15, 60)),
                launches=tuple(launches),
                checkpoint_sha256=f"checkpoint {checkpoint}",
                teacher_sha256="checkpoint of teacher",
                accuracy=0.917 + 0.02 * checkpoint - 0.0008 * number,
                top1_agreement=0.99 if number % 2 else None,
                size_bytes=2_000_000 + 100_000 * number,
                **known,
            )
        )
    teacher = make_measurement("teacher", format="eager", samples_ms=(30.0,), accuracy=0.96, **answering(range(48)))
    return [teacher, *rows]


def test_the_page_chooses_what_the_command_chooses(browser, many, tmp_path):
    budgets = [
        {"latency_ms": latency_ms, "accuracy_percent": percent}
        for latency_ms in (1.2, 1.6, 2.5, 3.4, 5.0)
        for percent in (90, 94, 97)
    ]
    write_report(many, tmp_path / "report.html")
    visit = Visit(browser, tmp_path / "report.html")
    told = visit.page.evaluate(
        """budgets => budgets.map(limits => {
            const candidates = candidatesAmong(RANKED), winner = winnerIn(RANKED, limits);
            const open = contenders(candidates, winner, limits);
            return [winner && winner.size_bytes, open.map(row => row.size_bytes).sort()];
        })""",
        budgets,
    )
    visit.close()
    winners, among = set(), 0
    for budget, (winner, contenders) in zip(budgets, told, strict=True):
        limits = Budget(budget["latency_ms"], min_relative_accuracy=budget["accuracy_percent"] / 100)
        choice = choose(many, limits)
        assert winner == (choice.winner and choice.winner.size_bytes)
        assert contenders == sorted(contender.candidate.size_bytes for contender in choice.contenders)
        among += len(contenders)
        winners.add(winner)
    assert len(winners) > 3
    assert among > len(budgets)


def test_what_does_not_fit_fades_in_the_figure(visit):
    def faded() -> int:
        points = visit.page.locator("#trade .scatterlayer .point")
        return points.evaluate_all("points => points.filter(one => one.style.opacity < 0.5).length")

    assert faded() == 0
    visit.set_limit("latency_ms", "0.7")
    visit.page.wait_for_selector("#trade .annotation:has-text('at most 0.7 ms')")
    assert faded() == 3


def test_the_latency_axis_can_be_linear(visit):
    ticks = visit.page.locator("#trade .xtick")
    assert "0.5 ms" in ticks.all_text_contents()
    visit.page.locator("#log-latency").uncheck()
    expect(ticks.filter(has_text="0.5 ms")).to_have_count(0)
    assert "30" in ticks.all_text_contents()


def test_pointing_at_a_bubble_shows_its_figures_and_pressing_it_opens_its_row(visit):
    # The last point of the last trace is the small int8 bubble.
    visit.page.locator("#trade").scroll_into_view_if_needed()
    box = visit.page.locator("#trade .scatterlayer .trace").last.locator(".point").last.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.mouse.move(*middle)
    visit.page.wait_for_selector("#trade .hoverlayer .hovertext")
    text = visit.page.locator("#trade .hoverlayer .hovertext").text_content()
    parts = ("mobilenet_v3_small", "litert int8", "speed-up 75.00 ×", "size 1.70 MB", "accuracy 90.0 %", "120 samples")
    assert [part for part in parts if part not in text] == []
    visit.page.mouse.click(*middle)
    expect(visit.page.locator("#detail-kind")).to_have_text("litert int8, onnxruntime 1.31.1")


def test_a_format_can_be_hidden_and_shown_in_the_figures(visit):
    points = visit.page.locator("#trade .scatterlayer .point")
    button = visit.page.locator("#legend button", has_text="onnx")
    before = points.count()
    button.click()
    assert (points.count(), button.get_attribute("aria-pressed")) == (before - 2, "false")
    button.click()
    assert (points.count(), button.get_attribute("aria-pressed")) == (before, "true")


def test_other_conditions_change_the_figures(visit):
    before = visit.page.locator("#trade .scatterlayer .point").count()
    visit.page.locator("#conditions").select_option(EIGHT_IMAGES)
    assert (before, visit.page.locator("#trade .scatterlayer .point").count()) == (5, 2)


def test_a_press_on_a_row_opens_its_samples_launches_and_conditions(visit):
    page = visit.page
    visit.open_row("mobilenet_v3_small")
    page.wait_for_selector("#trace .main-svg")
    assert page.locator("#trace .scatterlayer .point").count() == 120
    assert page.locator("#histogram .barlayer .point").count() > 1
    assert page.locator("#launches tbody tr").count() == 3
    expect(page.locator("#trace-note")).to_contain_text("120 calls in 3 launches")
    figures, conditions = (
        page.locator("#detail-figures").text_content(),
        page.locator("#detail-conditions").text_content(),
    )
    assert re.search(r"Median per call0\.4\d* ms \(0\.\d+ to 0\.\d+\)", figures)
    assert "Other work before1.0 %" in conditions
    assert ONE_IMAGE in conditions
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()


def test_a_failed_row_opens_with_its_reason_and_without_figures(visit):
    visit.open_row("broken")
    expect(visit.page.locator("#detail-reason")).to_have_text("SIGSEGV")
    expect(visit.page.locator("#detail-sampled")).to_be_hidden()
    visit.page.locator("#detail-close").click()
    expect(visit.page.locator("#detail")).to_be_hidden()


def test_a_label_tells_its_reason_to_a_mouse_and_to_the_keyboard(visit):
    tip, badge = visit.page.locator("#tip"), visit.page.locator("#measurements .badge.failed")
    expect(tip).to_be_hidden()
    badge.hover()
    expect(tip).to_have_text("SIGSEGV")
    visit.page.locator("h1").hover()
    expect(tip).to_be_hidden()
    visit.page.keyboard.press("Tab")
    badge.focus()
    expect(tip).to_be_visible()
    visit.page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_a_label_tells_its_reason_on_tap_and_does_not_open_the_row(phone_visit):
    page = phone_visit.page
    page.locator("#measurements .badge.failed").tap()
    expect(page.locator("#tip")).to_have_text("SIGSEGV")
    expect(page.locator("#detail")).to_be_hidden()
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["viewport"]["width"]
    page.locator("h1").tap()
    expect(page.locator("#tip")).to_be_hidden()


def test_a_phone_sees_the_key_columns_without_scrolling_the_table(phone_visit):
    page = phone_visit.page
    visible = page.locator("#measurements thead th:visible")
    assert [one.get_attribute("data-key") for one in visible.all()] == ["name", "median_ms", "validity", "accuracy"]
    assert page.evaluate("(([box]) => box.scrollWidth - box.clientWidth)(document.querySelectorAll('.scroll'))") <= 0
    page.locator("#measurements tbody tr").first.tap()
    expect(page.locator("#detail")).to_be_visible()
    assert page.evaluate("(box => box.scrollWidth - box.clientWidth)(document.getElementById('detail'))") <= 0


def test_emulated_rows_are_in_a_table_of_their_own_and_in_no_figure(visit):
    assert "on_a_phone (emulated)" not in visit.column("name")
    expect(visit.page.locator("#emulated .open")).to_have_text("on_a_phone (emulated)")
    assert "on_a_phone" not in visit.page.locator("#latency").text_content()
    visit.page.locator("#emulated .open").click()
    expect(visit.page.locator("#detail-name")).to_have_text("on_a_phone (emulated)")


def test_a_journal_of_emulated_rows_alone_has_a_page(browser, make_measurement, tmp_path):
    write_report([make_measurement("on_a_phone", device=EMULATED)], tmp_path / "page.html")
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#emulated .open").click()
    expect(page.locator("#detail-name")).to_have_text("on_a_phone (emulated)")
    assert page.locator("#trade").count() == 0
    context.close()
    assert complaints == []


def test_accuracies_stand_with_interval_and_number_of_images(visit):
    item = visit.page.locator("#accuracies li", has_text="onnx fp32").first
    assert re.search(r"94\.0\s%\s+92\.4 to 95\.3\s+at export, 1,000 images", item.inner_text())
    assert "measured here, 200 images, agreement 99.0" in item.inner_text()


def test_the_studys_figures_are_drawn_with_their_captions(visit):
    figure = visit.page.locator(".pictures figure")
    expect(figure.locator("figcaption")).to_have_text("Study of nine epochs.")
    assert figure.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 9


def test_names_are_shown_as_they_are_and_never_as_markup(visit):
    assert "<b>ghost</b>" in visit.column("name")
    assert visit.page.locator("main b").count() == 0
    ticks = visit.page.locator("#latency .ytick").all_text_contents()
    assert any("<b>ghost</b>" in tick for tick in ticks)


@pytest.mark.parametrize("width", [320, 360, 768, 1920])
def test_no_screen_has_to_be_scrolled_sideways(browser, report, width: int):
    visit = Visit(browser, report, viewport={"width": width, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.close()


CONTRAST = """() => {
    const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgb = colour => {
        probe.clearRect(0, 0, 1, 1);
        probe.fillStyle = colour;
        probe.fillRect(0, 0, 1, 1);
        return [...probe.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([red, green, blue]) => {
        const [r, g, b] = [red, green, blue].map(value => value / 255).map(
            value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (let one = element; one; one = one.parentElement) {
            const colour = rgb(getComputedStyle(one).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return rgb('white');
    };
    const texts = [...document.querySelectorAll('main *, dialog *')].filter(one => one.checkVisibility()
        && !one.closest('svg') && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    return texts.map(one => {
        const [light, dark] = [rgb(getComputedStyle(one).color), ground(one)].map(luminance).sort((a, b) => b - a);
        return [(light + 0.05) / (dark + 0.05), one.className, one.textContent.trim().slice(0, 30)];
    }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_against_its_ground(browser, report, scheme):
    visit = Visit(browser, report, color_scheme=scheme)
    visit.set_limit("latency_ms", "2")
    assert visit.page.evaluate(CONTRAST) == []
    visit.open_row("mobilenet_v3_small")
    assert visit.page.evaluate(CONTRAST) == []
    visit.close()


def test_dark_and_light_follow_the_system(browser, report):
    grounds = []
    for scheme in ("light", "dark"):
        visit = Visit(browser, report, color_scheme=scheme)
        grounds.append(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        visit.page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
        grounds.append(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        visit.close()
    assert grounds[0] == grounds[3] != grounds[1] == grounds[2]


LONG = (
    "mobilenetv4_hybrid_medium.ix_e550_r256_in1k hinton_kd",
    "timm-repvit_m1_0.dist_450e_in1k seed 0",
    "hf-" + "a" * 120,
)


@pytest.mark.parametrize("width", [390, 1600])
def test_long_names_leave_the_figure_its_room_and_keep_format_and_precision(
    browser, make_measurement, tmp_path: Path, width: int
) -> None:
    rows = [make_measurement(name, format="executorch", precision="int8") for name in (*LONG, "short")]
    write_report(rows, tmp_path / "r.html")
    visit = Visit(browser, tmp_path / "r.html", viewport={"width": width, "height": 900})
    over_edge = visit.page.evaluate(
        """() => [...document.querySelectorAll('#latency svg text')]
            .filter(text => /executorch/.test(text.textContent) && text.getBoundingClientRect().width)
            .map(text => [text, text.ownerSVGElement].map(one => one.getBoundingClientRect().right))
            .map(([own, room]) => own - room)"""
    )
    texts = visit.page.locator("#latency svg text", has_text="executorch").all_text_contents()
    plot = visit.page.evaluate("document.querySelector('#latency .nsewdrag').getBoundingClientRect().width")
    visit.context.close()
    assert visit.complaints == []
    assert plot > (width * 2 / 3 if width < 620 else 500)
    assert len(over_edge) == 4
    assert all(over_px <= 1 for over_px in over_edge)
    assert all(text.endswith("executorch int8") for text in texts), "what tells rows apart is never cut"
    assert any("…" in text for text in texts)
    assert any(text.startswith("short ") for text in texts)
