"""A real browser, headless, in front of a fake server or a real one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.fake_server import Fake, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
PATIENCE_MS = 15_000
WATCH = """
window.__ran = [];
for (const name of ['alert', 'confirm', 'prompt', 'print', 'open']) {
  window[name] = (...said) => { window.__ran.push([name, ...said.map(String)]); };
}
window.__refused = [];
document.addEventListener('securitypolicyviolation', (event) => {
  window.__refused.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


def playwright_api() -> Any:
    """`playwright.sync_api`; skips whoever asks where it is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser: playwright")
    api.expect.set_options(timeout=PATIENCE_MS)
    return api


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", action="store_true", help="write the pictures of the console's README"
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, or whichever is on the PATH; skips where there is none."""
    api = playwright_api()
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("needs chromium on the PATH (or its place in CHROMIUM)")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving() as running:
        yield running


@dataclass
class Console:
    """A tab with the console in it, and everything that should not have happened there.

    Without slots: the driver keeps its own attribute for each method that hears of events.
    """

    page: Page
    url: str
    trouble: list[str] = field(default_factory=list)

    def go(self, address: str = "#/") -> Page:
        """Open a page of the console; returns when it has its heading."""
        self.page.goto(self.url + address)
        self.page.wait_for_selector("h1")
        return self.page

    def settled(self, address: str) -> Page:
        """Open a page and wait until its data stands there."""
        page = self.go(address)
        page.wait_for_selector(".state.loading", state="detached")
        return page

    def see_dialog(self, dialog: Any) -> None:
        self.trouble.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def see_error(self, error: Any) -> None:
        self.trouble.append(f"error {error}")

    def see_request(self, request: Any) -> None:
        """Everything comes from the server that gave the page."""
        if not request.url.startswith((self.url, "data:", "blob:", "about:")):
            self.trouble.append(f"request to elsewhere {request.url}")

    def harm(self) -> list[str]:
        """Dialogs, scripts that ran, refused by policy, errors, requests to elsewhere."""
        return [
            *self.trouble,
            *map(str, self.page.evaluate("window.__ran")),
            *self.page.evaluate("window.__refused"),
        ]


Opened = Callable[..., Console]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Opens consoles: `opened(url, viewport=…, color_scheme=…)`; none of them may be harmed."""
    consoles = []

    def make(url: str, **options: Any) -> Console:
        settings: dict[str, Any] = {"viewport": WIDE, "reduced_motion": "reduce", **options}
        context = browser.new_context(**settings)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(WATCH)
        page = context.new_page()
        console = Console(page, url)
        page.on("dialog", console.see_dialog)
        page.on("pageerror", console.see_error)
        page.on("request", console.see_request)
        consoles.append(console)
        return console

    yield make
    for console in consoles:
        harm = console.harm()
        console.page.context.close()
        assert harm == []


@pytest.fixture
def console(opened: Opened, fake: Fake) -> Console:
    """The console in front of the fake server."""
    return opened(fake.url)
