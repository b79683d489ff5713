# SPDX-License-Identifier: Apache-2.0
"""A real Chromium for pages, and what every page must hold: no error in the console, nothing asked of another machine.

There is no test of a page without a browser: where none is installed, these tests fail and say how to install it.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from browsers import find_browser
from playwright.sync_api import Browser, Page, sync_playwright

HEIGHT = 900
BLANK = "about:blank"


@dataclass
class Visit:
    """The pages that a test opens one after another, and what went wrong on them.

    All tests share one window: a browser that has run Plotly before loads a page in a quarter of the time.

    Attributes:
        page: The window.
        problems: Errors of the console and of scripts, requests that failed, and requests to elsewhere.
    """

    page: Page
    problems: list[str] = field(default_factory=list)
    _own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._note(message.type in ("error", "warning"), f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self._note(True, f"script: {error}"))
        self.page.on("response", lambda answer: self._note(answer.status >= 400, f"{answer.status}: {answer.url}"))
        self.page.on(
            "request", lambda request: self._note(not request.url.startswith(self._own), f"elsewhere: {request.url}")
        )

    def __call__(self, url: str, *, width: int = 1280, theme: Any = "light", wait_for: str | None = None) -> Page:
        """Open a page in place of the one before.

        Args:
            url: Where it is.
            width: Of the window, in pixels.
            theme: What the system of the reader prefers.
            wait_for: Selector of what must be there before the test goes on.
        """
        self._own = ("data:", "blob:", url.rsplit("/", 1)[0])
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        self.page.emulate_media(color_scheme=theme)
        self.page.goto(url)
        if wait_for is not None:
            self.page.wait_for_selector(wait_for)
        return self.page

    def leave(self) -> None:
        """Leave the page and forget what it stored and what went wrong, as for a reader who comes for the first time."""
        if self.page.url != BLANK:
            self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
            self.page.goto(BLANK)
        self.page.context.clear_cookies()
        self.problems.clear()

    def _note(self, wrong: bool, text: str) -> None:
        if wrong:
            self.problems.append(text)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = find_browser()
    if found is None:
        pytest.fail(
            "no Chromium is installed, and pages are tested in a real one: apt-get install chromium, or `.ci/browser`"
        )
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=arguments)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def window(browser: Browser) -> Visit:
    return Visit(browser.new_context().new_page())


@pytest.fixture
def visit(window: Visit) -> Iterator[Visit]:
    """Opens pages; at the end of the test nothing may have gone wrong on them that the test did not take out itself."""
    yield window
    problems = [*window.problems]
    window.leave()
    assert problems == []


@pytest.fixture(scope="session")
def overflow() -> Callable[[Page], float]:
    """Pixels by which a page is wider than its window."""
    return lambda page: float(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


@pytest.fixture(scope="session")
def contrast_of() -> Callable[[Page, str], list[float]]:
    """Contrast of the text of every visible element that a selector finds, against what is behind it (WCAG 2.1)."""
    script = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
    return lambda page, selector: [float(value) for value in page.evaluate(script, selector)]
