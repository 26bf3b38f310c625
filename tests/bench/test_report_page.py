"""The report page in a real browser: it works, looks right in width and colour, and never leaves its file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from bench.report import write_report

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
MEDIAN = 5
NAME = 0

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


@pytest.fixture
def report(tmp_path, make_measurement) -> Path:
    taught = {"teacher_sha256": "checkpoint of resnet18"}
    steady = [1 + 0.001 * (number % 7) for number in range(120)]

    def row(name: str, median_ms: float, **fields):
        return make_measurement(name, samples_ms=tuple(median_ms * sample for sample in steady), **fields)

    rows = [
        row("resnet18", 30.0, format="eager", accuracy=0.95, size_bytes=45_000_000),
        row("mobilenet_v3_small", 3.0, format="eager", accuracy=0.94, **taught),
        row("mobilenet_v3_small", 0.5, format="onnx", accuracy=0.94, **taught),
        row(
            "mobilenet_v3_small", 0.4, format="litert", precision="int8", accuracy=0.93, size_bytes=1_700_000, **taught
        ),
        row("<b>ghost</b>", 0.9, format="onnx", accuracy=0.92, **taught),
        make_measurement("broken", format="executorch", samples_ms=(), validity="failed", reason="SIGSEGV", **taught),
        row("resnet18", 200.0, format="eager", accuracy=0.95, batch=8),
        row("mobilenet_v3_small", 20.0, format="eager", accuracy=0.94, batch=8, **taught),
    ]
    write_report(rows, tmp_path / "report.html")
    return tmp_path / "report.html"


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

    def column(self, index: int) -> list[str]:
        """Texts of the visible cells of a column, top to bottom."""
        script = """column => [...document.querySelectorAll('#measurements tbody tr:not([hidden])')]
                    .map(row => row.cells[column].textContent.trim())"""
        return self.page.evaluate(script, index)

    def head(self, title: str):
        return self.page.locator("#measurements thead th", has_text=title).first


@pytest.fixture
def visit(browser, report) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.context.close()
    assert visit.complaints == []
    assert set(visit.requests) - {"data:,"} == {visit.url}


def test_a_head_sorts_its_column_both_ways_with_missing_values_last(visit):
    head = visit.head("Median")
    head.locator("button").click()
    ascending = visit.column(MEDIAN)
    assert head.get_attribute("aria-sort") == "ascending"
    assert ascending[-1] == "–"
    assert [float(text) for text in ascending[:-1]] == sorted(float(text) for text in ascending[:-1])
    assert float(ascending[0]) == pytest.approx(0.4, rel=0.01)

    head.locator("button").click()
    descending = visit.column(MEDIAN)
    assert head.get_attribute("aria-sort") == "descending"
    assert descending == [*reversed(ascending[:-1]), "–"]

    visit.head("Model").locator("button").click()
    assert head.get_attribute("aria-sort") is None
    assert visit.column(NAME) == sorted(visit.column(NAME), key=str.lower)


def test_a_head_can_be_reached_and_pressed_by_keyboard(visit):
    visit.head("Accuracy").locator("button").focus()
    visit.page.keyboard.press("Enter")
    assert visit.head("Accuracy").get_attribute("aria-sort") == "ascending"


def test_filters_narrow_the_table_together_and_can_be_cleared(visit):
    page = visit.page
    assert page.locator("#count").text_content() == "8 rows"
    page.locator("select[name=format]").select_option("onnx")
    assert visit.column(1) == ["onnx", "onnx"]
    page.locator("input[name=search]").fill("MOBILE")
    assert visit.column(NAME) == ["mobilenet_v3_small"]
    assert page.locator("#count").text_content() == "1 of 8 rows"
    page.locator("input[name=search]").fill("nothing like this")
    assert visit.column(NAME) == []
    assert page.locator("#empty").is_visible()
    page.locator("#filters button[type=reset]").click()
    expect(page.locator("#count")).to_have_text("8 rows")
    assert len(visit.column(NAME)) == 8


def test_pointing_at_a_bubble_shows_its_figures(visit):
    # The last point of the last trace is the small int8 bubble.
    visit.page.locator("#trade").scroll_into_view_if_needed()
    box = visit.page.locator("#trade .scatterlayer .trace").last.locator(".point").last.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.wait_for_selector("#trade .hoverlayer .hovertext")
    text = visit.page.locator("#trade .hoverlayer .hovertext").text_content()
    for part in (
        "mobilenet_v3_small",
        "litert int8",
        "speed-up 75.00 ×",
        "size 1.70 MB",
        "accuracy 93.0 %",
        "120 samples",
    ):
        assert part in text


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
    visit.page.locator("#conditions").select_option("Test CPU, 8 images per call, 1 thread")
    assert (before, visit.page.locator("#trade .scatterlayer .point").count()) == (5, 2)
    assert visit.page.locator("#latency .scatterlayer .point").count() == 2


def test_names_are_shown_as_they_are_and_never_as_markup(visit):
    assert "<b>ghost</b>" in visit.column(NAME)
    assert visit.page.locator("main b").count() == 0
    ticks = visit.page.locator("#latency .ytick").all_text_contents()
    assert any("<b>ghost</b>" in tick for tick in ticks)


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_no_screen_has_to_be_scrolled_sideways(browser, report, width: int):
    visit = Visit(browser, report, viewport={"width": width, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.context.close()


def test_dark_and_light_follow_the_system(browser, report):
    grounds = []
    for scheme in ("light", "dark"):
        visit = Visit(browser, report, color_scheme=scheme)
        grounds.append(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        visit.page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
        grounds.append(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        visit.context.close()
    assert grounds[0] == grounds[3] != grounds[1] == grounds[2]
