"""The page in a real browser: it fits every screen, needs nothing but itself, and opens what it hides."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from android_demo.ship.page import render
from android_demo.ship.record import Ship

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
GOLDEN = Path(__file__).parent / "golden/ship.json"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}; install it with: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


def opened(browser: Browser, folder: Path, record: Ship, width_px: int) -> Page:
    """The page on a screen of this width; anything that it asks of a network or complains about fails the test."""
    file = folder / "ship.html"
    file.write_text(render(record))
    page = browser.new_page(viewport={"width": width_px, "height": 800})
    page.on("request", lambda request: _only_the_file(request.url))
    page.on("console", lambda message: pytest.fail(message.text))
    page.goto(file.as_uri())
    return page


def _only_the_file(url: str) -> None:
    assert url.startswith("file:"), url


def changed(**changes: Any) -> Ship:
    return Ship.from_json(json.dumps(json.loads(GOLDEN.read_text()) | changes), source="golden")


@pytest.mark.parametrize("width_px", [360, 390, 800, 1600])
def test_no_screen_has_to_be_scrolled_sideways(browser: Browser, tmp_path: Path, width_px: int) -> None:
    page = opened(browser, tmp_path, changed(device="A-phone-with-a-name-that-has-no-blank-" * 4), width_px)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("rehearsal on an emulated phone")).to_be_visible()
    page.close()


def test_every_part_of_the_decision_can_be_read(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, Ship.read(GOLDEN), 1600)
    titles = page.get_by_role("heading", level=2).all_inner_texts()
    assert titles == [
        "The question",
        "The winner, and what each other would cost",
        "What the phone answered",
        "The app",
        "What was rejected, and why",
        "How the students were trained",
        "What is unproven",
        "How it was found",
    ]
    row = page.locator("tr.winner")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("winner")
    page.get_by_text("files that the numbers come from").click()
    expect(page.get_by_text("out/ship/app.apk")).to_be_visible()
    page.close()


def test_where_nothing_fits_the_page_says_what_would_have_to_give(browser: Browser, tmp_path: Path) -> None:
    raw = json.loads(GOLDEN.read_text())
    kill = {"limit": "--max-latency-ms", "value": 5.0, "breaking": 2, "alone": 6.4321}
    choice = raw["choice"] | {"winner": None, "runner_up": None, "kills": [kill]}
    record = changed(outcome="nothing-fits", bundle=None, app=None, choice=choice)
    page = opened(browser, tmp_path, record, 390)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Nothing fits")
    expect(page.get_by_text("Nearest miss")).to_be_visible()
    expect(page.get_by_text("2 of 2 candidates break it; alone it would have to be: at most 6.433 ms")).to_be_visible()
    expect(page.get_by_role("heading", name="Who was measured")).to_be_visible()
    expect(page.locator("tr.winner")).to_have_count(0)
    page.close()
