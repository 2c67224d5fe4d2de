"""The rules of axe-core (WCAG 2.2 A and AA, and best practice) hold on every page, in both themes
and on a phone; dialogs and errors too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import PHONE, Opened, playwright_api
from tests.browser.fake_server import Fake, Refusal
from tests.browser.test_pages import PAGES

playwright_api()
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra browser")


def complaints(page: Any) -> list[str]:
    """What axe finds, with the place of each."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for each in found
        for node in each["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", PAGES)
def test_every_page_keeps_the_rules(opened: Opened, fake: Fake, address: str, scheme: str) -> None:
    page = opened(fake.url, color_scheme=scheme).settled(address)
    page.wait_for_selector("#live[data-state=live]")

    assert complaints(page) == []


def test_a_phone_keeps_the_rules(opened: Opened, fake: Fake) -> None:
    page = opened(fake.url, viewport=PHONE, has_touch=True).settled("#/cases")

    assert complaints(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_and_failures_keep_the_rules(opened: Opened, fake: Fake, scheme: str) -> None:
    console = opened(fake.url, color_scheme=scheme)
    page = console.settled("#/approvals")
    page.keyboard.press("c")
    editor = page.get_by_label("What is done instead")
    editor.fill('{"refund": "none"}')
    assert complaints(page) == []

    fake.views["/agents"] = Refusal(500, "Something went wrong here")
    page = console.go("#/agents")
    page.reload()
    page.wait_for_selector(".state.failure")
    assert complaints(page) == []


def test_everything_is_reached_by_tab_alone(opened: Opened, fake: Fake) -> None:
    page = opened(fake.url).settled("#/agents")
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("(document.activeElement.textContent || '').trim()"))

    assert {"Skip to content", "Overview", "Spend", "Keyboard", "Pause", "Close"} <= seen


def test_the_first_tab_leads_past_the_navigation(opened: Opened, fake: Fake) -> None:
    page = opened(fake.url).settled("#/cases")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    assert page.evaluate("document.activeElement.id") == "main"
    assert page.inner_text("h1") == "Cases"
