# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser, opened from disk: what a reader sees and does with it."""

from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page
from reference_run import make_hostile_run, make_reference_run

from lightning_interp.dashboards.report import write_report
from lightning_interp.dashboards.theme import INKS

FIRST = "#run1-losses .main-svg"
PAPERS = {name: ink.paper for name, ink in INKS.items()}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report([make_reference_run(tmp_path_factory.mktemp("report"))]).as_uri()


def layout(page: Page, key: str) -> dict:
    """What is drawn of a figure: its scales, ticks and paper."""
    return page.evaluate(
        """(key) => {
            const drawn = document.getElementById(key)._fullLayout;
            const texts = [...document.querySelectorAll(`#${key} .x2tick text`)].map((each) => each.textContent);
            return { x: drawn.xaxis.type, y: drawn.yaxis.type, paper: drawn.paper_bgcolor, ticks: texts };
        }""",
        key,
    )


def see_everything(page: Page) -> int:
    """Scroll through the page, so that every figure is drawn; returns how many there are.

    Scrolled by a script: Playwright's own way first waits until a figure no longer moves, and those above it are being drawn.
    """
    figures = page.locator(".figure").all()
    for figure in figures:
        figure.evaluate("(each) => each.scrollIntoView({ block: 'center' })")
        figure.locator(".main-svg").first.wait_for()
    return len(figures)


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("light", 400),
        ("dark", 1280),
        *(pytest.param(*each, marks=pytest.mark.verify) for each in [("light", 1280), ("dark", 400)]),
    ],
)
def test_report_fits_its_window_in_both_themes(visit, overflow, contrast_of, address, theme, width):
    page = visit(address, theme=theme, width=width, wait_for=FIRST)
    assert see_everything(page) >= 6
    assert overflow(page) <= 0
    assert layout(page, "run1-losses")["paper"] == PAPERS[theme]
    texts = contrast_of(page, "h1, h2, h3, p, td, th, li, a, button, caption, summary")
    assert len(texts) > 50 and min(texts) >= 4.5  # WCAG 2.1, 1.4.3


def test_report_shows_the_phases_of_the_reference_run(visit, address):
    page = visit(address, wait_for=FIRST)
    rows = page.locator("table").first.locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[:2] for row in rows] == [
        ["fitting", "0"],
        ["memorization", "200"],
        ["circuit formation", "1,400"],
        ["cleanup", "9,800"],
        ["converged", "12,700"],
    ]
    assert "grokking" in page.inner_text(".verdict")


def test_report_switches_time_and_values(visit, address):
    page = visit(address, wait_for=FIRST)
    before = layout(page, "run1-losses")
    page.get_by_role("group", name="Time axis").get_by_role("button", name="linear").click()
    page.get_by_role("group", name="Axis of values").get_by_role("button", name="linear").click()
    page.wait_for_timeout(300)
    after = layout(page, "run1-losses")
    assert (before["x"], before["y"], after["x"], after["y"]) == ("log", "log", "linear", "linear")
    assert after["ticks"] == ["0", "5,000", "10,000", "15,000"] and "200" in before["ticks"]


def test_report_changes_its_theme_by_a_button(visit, address):
    page = visit(address, wait_for=FIRST)
    page.get_by_role("button", name="dark").click()
    page.wait_for_timeout(300)
    assert layout(page, "run1-losses")["paper"] == PAPERS["dark"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 27, 34)"


def test_report_has_few_ticks_on_a_narrow_screen(visit, address):
    page = visit(address, width=400, wait_for=FIRST)
    assert 2 <= len(layout(page, "run1-losses")["ticks"]) <= 5


def test_report_is_reached_by_the_keyboard(visit, address):
    """The skip link first, then every control, each with a visible focus; Space presses."""
    page = visit(address, wait_for=FIRST)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    names = []
    for _ in range(7):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.textContent"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert names == ["log", "linear", "log", "linear", "auto", "light", "dark"]
    page.keyboard.press("Space")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_report_figures_have_names_for_those_who_cannot_see_them(visit, address):
    page = visit(address, wait_for=FIRST)
    figure = page.get_by_role("img", name="Losses and phases")
    described = page.inner_text(f"#{figure.get_attribute('aria-describedby')}")
    assert described.startswith("Losses on the probe")


def test_report_headings_are_in_order(visit, address):
    page = visit(address, wait_for=FIRST)
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((each) => Number(each.tagName[1]))")
    assert levels[0] == 1 and all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_report_without_scripts_still_has_its_tables(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert "Figures need JavaScript" in page.inner_text("noscript") and page.locator("tbody tr").count() > 10
    context.close()


def test_report_of_a_hostile_run_does_no_harm(visit, tmp_path: Path):
    page = visit(write_report([make_hostile_run(tmp_path)]).as_uri(), wait_for=FIRST)
    see_everything(page)
    assert page.evaluate("window.harm") is None
    assert "<script>window.harm = 1</script>" in page.inner_text("main")


def test_report_of_two_runs_draws_them_together(visit, tmp_path: Path):
    runs = [make_reference_run(tmp_path, name=name, every=every) for name, every in (("one", 1), ("two", 2))]
    page = visit(write_report(runs, tmp_path).as_uri(), wait_for="#together-runs .main-svg")
    page.get_by_role("link", name="two").click()
    assert page.url.endswith("#run2")
