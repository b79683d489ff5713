# SPDX-License-Identifier: Apache-2.0
"""The live page in a real browser: what a reader sees, does and hears; what strangers are refused."""

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from reference_run import SCRIPT, append_snapshot, make_hostile_run, make_reference_run, rows

from lightning_interp.dashboards.live.app import make_app
from lightning_interp.dashboards.live.known_runs import KnownRuns
from lightning_interp.dashboards.live.security import trusted_hosts
from lightning_interp.dashboards.live.server import LiveServer, listen

FIGURE = "#content .main-svg"
CURVE = "document.querySelector('.js-plotly-plot').data[0].x.length"
PHASES = [
    "fitting 0–200",
    "memorization 200–1,400",
    "circuit formation 1,400–9,800",
    "cleanup 9,800–12,700",
    "converged 12,700–",
]
SECTIONS = ["Phases", "Measures", "Layers", "Components", "Training and monitor"]
INTERVAL_S = 0.2
SOON_MS = 15_000

Serve = Callable[..., str]


def server_of(*paths: Path, port: int = 0) -> LiveServer:
    app = make_app(KnownRuns(paths), interval_s=INTERVAL_S, hosts=trusted_hosts("127.0.0.1"))
    return LiveServer(app, listen("127.0.0.1", port))


@pytest.fixture(scope="module")
def port(whole: Path) -> int:
    """The port of every server: the browser keeps Plotly compiled for each address."""
    server = server_of(whole)
    server.close()
    return int(server.url.rstrip("/").rsplit(":", 1)[1])


@pytest.fixture
def serve(port: int) -> Iterator[Serve]:
    """Serves run directories; returns where the page is."""
    servers = []

    def start(*paths: Path) -> str:
        servers.append(server_of(*paths, port=port))
        return servers[-1].url

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reference_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hostile_run(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    return make_reference_run(tmp_path, name="growing", last_step=1300)


def open_section(page: Page, title: str) -> None:
    page.get_by_role("tab", name=title).click()
    page.wait_for_selector(f"h2.section-title:text-is('{title}')")


def axis(page: Page, figure: str, name: str) -> dict:
    """An axis of a figure as it is drawn."""
    return page.evaluate(
        """([figure, name]) => {
            const graph = [...document.querySelectorAll('.dash-graph')].find((each) => each.id.includes(figure));
            const { type, range } = graph.querySelector('.js-plotly-plot')._fullLayout[name];
            return { type, range: [...range] };
        }""",
        [figure, name],
    )


def until(page: Page, script: str, given: object = None) -> None:
    """Wait until a script gives true; playwright's own way needs `eval`, which the page's policy refuses."""
    deadline = time.monotonic() + SOON_MS / 1000
    while not page.evaluate(script, given):
        assert time.monotonic() < deadline, f"never true: {script}"
        page.wait_for_timeout(50)


def until_drawn(page: Page) -> None:
    """Wait until every figure of the section is there, however many it has."""
    graphs = "[...document.querySelectorAll('#content .dash-graph')]"
    until(page, f"{graphs}.every((each) => each.querySelector('.main-svg'))")


def paper(page: Page) -> str:
    return page.evaluate("document.querySelector('.js-plotly-plot')._fullLayout.paper_bgcolor")


def test_live_page_shows_the_phases_of_the_reference_run(serve, visit, whole):
    page = visit(serve(whole), wait_for=FIGURE)
    shown = [text.split(" (")[0] for text in page.locator(".phases li").all_inner_texts()]
    assert shown == PHASES
    assert "grokking" in page.inner_text(".verdict")
    assert page.inner_text(".state") == "Training finished, latest snapshot at step 16,000. The analysis is complete."


def test_live_page_draws_every_section(serve, visit, whole):
    page = visit(serve(whole), wait_for=FIGURE)
    headings = {}
    for title in SECTIONS:
        open_section(page, title)
        headings[title] = page.locator("h3").all_inner_texts()
        expect(
            page.locator(".js-plotly-plot .main-svg").first if headings[title] else page.locator("h2").last
        ).to_be_visible()
    assert headings["Phases"][:2] == ["Losses and phases", "Phase timeline"]
    assert "Progress measures" in headings["Measures"]
    assert "Settings of the training" in headings["Training and monitor"]


def test_live_page_says_what_is_not_drawn(serve, visit, whole):
    page = visit(serve(whole), wait_for=FIGURE)
    page.get_by_text("What is not drawn, and why").click()
    assert "Tensor components: not asked for" in page.inner_text(".missing")


def test_live_page_grows_with_the_run_and_announces_the_phase(serve, visit, growing):
    page = visit(serve(growing), wait_for=FIGURE)
    expect(page.locator(".phases li")).to_have_count(2)
    before = page.evaluate(CURVE)
    for step in [step for step in rows() if 1300 < step <= 3400]:
        append_snapshot(growing, step)
    expect(page.locator("#said")).to_have_text("Circuit formation began at step 1,400.", timeout=SOON_MS)
    expect(page.locator(".phases li")).to_have_count(3)
    expect(page.locator(".state").first).to_contain_text("latest snapshot at step 3,400")
    until(page, f"{CURVE} === {before + 21}")
    assert page.get_attribute("#said", "aria-live") == "polite"


def test_live_page_keeps_zoom_and_hidden_curves_when_the_run_grows(serve, visit, growing):
    page = visit(serve(growing), wait_for=FIGURE)
    plot = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert plot is not None
    page.mouse.move(plot["x"] + 0.3 * plot["width"], plot["y"] + 0.2 * plot["height"])
    page.mouse.down()
    page.mouse.move(plot["x"] + 0.6 * plot["width"], plot["y"] + 0.8 * plot["height"], steps=5)
    page.mouse.up()
    page.locator(".legendtoggle").first.click()
    until(page, "document.querySelector('.js-plotly-plot')._fullData[0].visible === 'legendonly'")
    zoomed = axis(page, "losses", "xaxis")["range"]
    before = page.evaluate(CURVE)
    append_snapshot(growing, 1400)
    until(page, f"{CURVE} === {before + 1}")
    assert axis(page, "losses", "xaxis")["range"] == pytest.approx(zoomed)
    assert page.evaluate("document.querySelector('.js-plotly-plot')._fullData[0].visible") == "legendonly"


def test_live_page_sends_nothing_where_nothing_changed(serve, visit, whole):
    page = visit(serve(whole), wait_for=FIGURE)
    nothing = '{"multi":true,"response":{}}'

    def answer() -> str:
        with page.expect_response(lambda response: response.request.method == "POST", timeout=SOON_MS) as asked:
            pass
        return asked.value.text()

    drawn = 0
    while answer() != nothing:
        drawn += 1
        assert drawn < 20, "the page never has everything"
    assert [answer() for _ in range(4)] == [nothing] * 4  # it goes on asking


def test_live_page_switches_scales(serve, visit, whole):
    page = visit(serve(whole), wait_for=FIGURE)
    drawn = [(axis(page, "losses", "xaxis")["type"], axis(page, "losses", "yaxis")["type"])]
    for control in ("Time", "Values"):
        group = page.get_by_role("group", name=control)
        group.get_by_role("button", name="linear").click()
        expect(group.get_by_role("button", name="linear")).to_have_attribute("aria-pressed", "true")
        name = "xaxis" if control == "Time" else "yaxis"
        until(page, f"document.querySelector('.js-plotly-plot')._fullLayout.{name}.type === 'linear'")
        drawn.append((axis(page, "losses", "xaxis")["type"], axis(page, "losses", "yaxis")["type"]))
    assert drawn == [("log", "log"), ("linear", "log"), ("linear", "linear")]


def test_live_page_follows_the_theme_of_the_system_until_one_is_chosen(serve, visit, whole):
    page = visit(serve(whole), theme="dark", wait_for=FIGURE)
    until(page, "document.documentElement.dataset.theme === 'dark'")
    dark = paper(page)
    page.emulate_media(color_scheme="light")
    until(page, "before => document.querySelector('.js-plotly-plot')._fullLayout.paper_bgcolor !== before", dark)
    assert (dark, paper(page)) == ("#161b22", "#ffffff")
    page.get_by_role("button", name="dark").click()
    until(page, "before => document.querySelector('.js-plotly-plot')._fullLayout.paper_bgcolor === before", dark)
    page.reload()
    page.wait_for_selector(FIGURE)
    until(page, "document.documentElement.dataset.theme === 'dark'")  # the choice is remembered


def test_live_page_pauses_and_follows_again(serve, visit, growing):
    page = visit(serve(growing), wait_for=FIGURE)
    asked = []
    page.on("request", lambda request: asked.append(request))
    page.get_by_role("button", name="pause").click()
    page.wait_for_timeout(2 * INTERVAL_S * 1000)
    for request in asked:
        request.response()  # what was under way has come
    append_snapshot(growing, 1400)
    page.wait_for_timeout(4 * INTERVAL_S * 1000)
    paused = page.inner_text(".state")
    page.get_by_role("button", name="follow").click()
    expect(page.locator(".state").first).to_contain_text("step 1,400", timeout=SOON_MS)
    assert "step 1,300" in paused


def test_live_page_is_worked_by_keyboard_alone(serve, visit, whole, growing):
    page = visit(serve(whole, growing), wait_for=FIGURE)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText).trim()")
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus on {reached[-1]} cannot be seen"
        if reached[-1] == "Phases":
            break
    assert reached == [
        "Skip to the figures",
        *("follow", "pause", "log", "linear", "log", "linear", "auto", "light", "dark"),
        *("reference", "growing", "Phases"),
    ]
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("h2.section-title:text-is('Measures')")
    page.keyboard.press("End")
    page.wait_for_selector("h2.section-title:text-is('Training and monitor')")
    assert page.get_by_role("tab", selected=True).inner_text() == "Training and monitor"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", name="growing")).to_have_attribute("aria-checked", "false")
    expect(page.locator(".head")).to_have_count(1)


def test_live_page_skip_link_leads_to_the_figures(serve, visit, whole):
    page = visit(serve(whole), wait_for=FIGURE)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_live_page_has_its_language_and_headings_in_order(serve, visit, whole):
    page = visit(serve(whole), wait_for=FIGURE)
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((each) => Number(each.tagName[1]))")
    assert page.get_attribute("html", "lang") == "en"
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("width", [1280, 400])
def test_live_page_fits_its_window_in_every_section(serve, visit, overflow, tmp_path, hostile, width):
    whole = make_reference_run(tmp_path, name="20260102T030405Z-1a2b3c")
    page = visit(serve(whole, hostile), width=width, wait_for=FIGURE)  # names of the hostile run are longer than any
    wider = {}
    for title in SECTIONS:
        open_section(page, title)
        until_drawn(page)
        wider[title] = overflow(page)
    assert wider == dict.fromkeys(SECTIONS, 0)


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("light", 1280),
        ("dark", 400),
        *(pytest.param(*each, marks=pytest.mark.verify) for each in [("light", 400), ("dark", 1280)]),
    ],
)
def test_live_page_can_be_read_in_both_themes(serve, visit, contrast_of, whole, hostile, theme, width):
    page = visit(serve(whole, hostile), width=width, theme=theme, wait_for=FIGURE)
    until(page, f"document.documentElement.dataset.theme === '{theme}'")
    open_section(page, SECTIONS[-1])
    until_drawn(page)
    # 4.5 is what WCAG 2.1 asks of text (AA)
    assert min(contrast_of(page, "button, h1, h2, h3, p, li, .steps, .faint, summary, .run-label")) >= 4.5


def test_live_page_has_fewer_ticks_in_a_narrow_window(serve, visit, whole):
    url = serve(whole)
    count = "document.querySelector('.js-plotly-plot')._fullLayout.xaxis.tickvals.length"
    wide, narrow = (visit(url, width=width, wait_for=FIGURE).evaluate(count) for width in (1280, 400))
    assert narrow <= 6 < wide


def test_live_page_runs_nothing_of_a_hostile_run(serve, visit, hostile):
    page = visit(serve(hostile), wait_for=FIGURE)
    for title in SECTIONS:
        open_section(page, title)
        until_drawn(page)
        for trace in page.locator(".js-plotly-plot .nsewdrag").all()[:2]:
            trace.hover(force=True)  # hover texts hold names, too
        assert page.evaluate("[window.harm, document.querySelectorAll('img[src=x]').length]") == [None, 0]
    assert SCRIPT in page.inner_text(".verdict")  # as text
    assert "\x1b" not in page.inner_text("body")


def test_live_page_shows_runs_beside_each_other_and_over_each_other(serve, visit, whole, growing):
    page = visit(serve(whole, growing), wait_for=FIGURE)
    assert page.locator("h3").all_inner_texts()[0] == "Runs side by side"
    boxes = [each.bounding_box() for each in page.locator(".panel").nth(1).locator(".cell").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    page.get_by_role("checkbox", name="growing").click()
    expect(page.locator(".head")).to_have_count(1)
    assert page.locator("h3").all_inner_texts()[0] == "Losses and phases"


def test_live_page_stacks_runs_in_a_narrow_window(serve, visit, whole, growing):
    page = visit(serve(whole, growing), width=400, wait_for=FIGURE)
    boxes = [each.bounding_box() for each in page.locator(".panel").nth(1).locator(".cell").all()]
    assert boxes[0]["x"] == boxes[1]["x"]


def test_live_page_of_a_folder_shows_runs_that_appear(serve, visit, tmp_path):
    page = visit(serve(tmp_path), wait_for="text=No run here yet")
    make_reference_run(tmp_path, name="20260102T030405Z-first", last_step=500)
    expect(page.locator(".run-name")).to_have_text("20260102T030405Z-first", timeout=SOON_MS)
    make_reference_run(tmp_path, name="20260103T030405Z-second", last_step=500)
    expect(page.get_by_role("checkbox", name="20260103T030405Z-second")).to_be_visible(timeout=SOON_MS)


def test_live_page_goes_on_when_a_run_vanishes(serve, visit, whole, growing):
    page = visit(serve(whole, growing), wait_for=FIGURE)
    shutil.rmtree(growing)
    expect(page.locator(".head .problem").first).to_contain_text("growing is gone", timeout=SOON_MS)
    assert page.locator(".phases").count() == 2  # what was read before stays
    open_section(page, "Measures")
    assert "Traceback" not in page.inner_text("body")


def test_live_page_says_that_a_file_is_torn_and_goes_on(serve, visit, whole, growing):
    content = (growing / "phases.json").read_text(encoding="utf-8")
    page = visit(serve(whole, growing), wait_for=FIGURE)
    (growing / "phases.json").write_text(content[:100], encoding="utf-8")
    expect(page.locator(".head .problem").first).to_contain_text("cannot be read as JSON", timeout=SOON_MS)
    (growing / "phases.json").write_text(content, encoding="utf-8")
    expect(page.locator(".head .problem")).to_have_count(0, timeout=SOON_MS)


def test_live_page_shows_a_run_of_which_nothing_can_be_read(serve, visit, whole, tmp_path):
    broken = make_reference_run(tmp_path, name="broken", last_step=500)
    (broken / "phases.json").write_text('{"schema": 2, "phases": [{"start": "x"}]}', encoding="utf-8")
    page = visit(serve(broken, whole), wait_for=FIGURE)
    expect(page.locator(".head .problem").first).to_contain_text("phases.json")
    assert page.locator(".phases li").count() == 5


def test_live_page_says_when_the_server_is_silent_and_finds_it_again(visit, whole, port):
    server = server_of(whole, port=port)
    page = visit(server.url, wait_for=FIGURE)
    server.close()
    page.evaluate("document.getElementById('silent').dataset.patienceMs = '500'")
    expect(page.get_by_text("The server does not answer")).to_be_visible(timeout=SOON_MS)
    page.evaluate("document.getElementById('silent').dataset.patienceMs = '5000'")
    again = server_of(whole, port=port)
    expect(page.get_by_text("The server does not answer")).to_be_hidden(timeout=SOON_MS)
    visit.leave()  # and forget requests that nobody answered
    again.close()
