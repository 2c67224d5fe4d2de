"""The life of a ticket in a real browser, against real processes on a real Apache Kafka."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from caseworks.shadowing import ROOT
from tests.browser.conftest import PATIENCE_MS, Opened, playwright_api
from tests.e2e.system import COMMAND, environment

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = playwright_api().expect
pytestmark = [pytest.mark.e2e, pytest.mark.slow]
APP = "tests.browser.ticket_app:app"
TIMEOUT_MS = 60_000
"""Everything here has real work behind it, on a machine that may be busy."""
BROKEN = 8
"""Tickets that come while the dependency is down: more than a breaker bears."""
SETTINGS = {
    "CASEWORKS_API_PORT": "0",
    "CASEWORKS_API_REQUESTS_PER_MINUTE": "0",
    "CASEWORKS_API_REQUESTS_PER_HOUR": "0",
    "CASEWORKS_BREAKER_RESET_S": "2",
    "CASEWORKS_BREAKER_RAMP_S": "1",
}


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    expect.set_options(timeout=TIMEOUT_MS)
    yield
    expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tickets")


@pytest.fixture(scope="module")
def url(data_dir: Path) -> Iterator[str]:
    """Where the console of a running `caseworks up` is."""
    pytest.importorskip("fastapi", reason="needs the extra api")
    log = data_dir / "up.err"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*COMMAND, "up", "--app", APP],
            cwd=ROOT,
            env={**environment(data_dir), **SETTINGS},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"The console is at (http://\S+/),", line):
                yield found[1]
                break
        else:
            pytest.fail(f"it ended before it was ready: {log.read_text()}")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def publish(url: str, event_id: str, **data: Any) -> None:
    """One ticket, by the API; returns when Kafka has it."""
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": "shop/web",
        "type": "ticket.created",
        "subject": event_id,
        "data": {"text": "<b>broken</b> parcel", "amount": 80.0, "account": "4711", **data},
    }
    request = urllib.request.Request(  # noqa: S310 - a loopback address of ours
        f"{url}api/v1/events",
        json.dumps(event).encode(),
        {"Content-Type": "application/cloudevents+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        assert answer.status == 202


def test_the_life_of_a_ticket(opened: Opened, url: str, data_dir: Path) -> None:
    page = opened(url).settled("#/")
    page.set_default_timeout(TIMEOUT_MS)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")

    publish_and_watch(page, url)
    correct_and_see_the_result(page)
    break_a_dependency(page, url, data_dir / "crm-is-down")
    mend_a_dead_letter(page, url)


def publish_and_watch(page: Page, url: str) -> None:
    publish(url, "ticket-1")
    expect(page.locator(".case-row", has_text="ticket-1")).to_contain_text("waiting")
    approvals = page.locator("#nav a", has_text="Approvals")
    expect(approvals.locator(".number")).to_have_text("1")


def correct_and_see_the_result(page: Page) -> None:
    go(page, "Approvals")
    expect(page.locator(".question")).to_contain_text("customer-4711")
    page.keyboard.press("c")
    editor = page.get_by_label("What is done instead")
    editor.fill('{"account": "customer-4711", "amount": 25.0}')
    expect(page.locator("dialog .diff ins")).to_contain_text("25")
    page.get_by_role("button", name="Send the correction").click()
    expect(page.locator(".toast.ok")).to_contain_text("Corrected: confirm")

    go(page, "Cases")
    page.locator(".case-row", has_text="ticket-1").get_by_role("link").click()
    expect(page.locator(".summary .badge")).to_have_text("completed")
    expect(page.locator("main")).to_contain_text("25.00 paid to customer-4711")
    expect(page.locator("main")).to_contain_text("<b>broken</b> parcel")
    expect(page.locator("svg.dag a.node.ok")).to_have_count(4)


def break_a_dependency(page: Page, url: str, mark: Path) -> None:
    mark.touch()
    for number in range(BROKEN):
        publish(url, f"broken-{number}")
    go(page, "Agents")
    breaker = page.locator("li", has_text="crm").locator(".badge").first
    expect(breaker).to_have_text(re.compile("open"))
    mark.unlink()
    expect(breaker).to_have_text("closed")
    go(page, "Approvals")
    expect(page.locator(".pick")).to_have_count(BROKEN)


def mend_a_dead_letter(page: Page, url: str) -> None:
    publish(url, "ticket-2", account="47ll")
    go(page, "Dead letters")
    letter = page.locator("tbody tr", has_text="is no number")
    letter.get_by_role("link").first.click()
    page.get_by_text("Change what goes back").click()
    editor = page.get_by_label("What the agent gets")
    editor.fill(editor.input_value().replace("47ll", "4712"))
    page.get_by_role("button", name="Replay as edited").click()
    page.get_by_role("button", name="Dry run").click()
    page.get_by_role("button", name="Replay 1 dead letter").click()
    expect(page.locator(".toast", has_text="Replayed: 1 dead letter")).to_be_visible()
    expect(page.locator(".summary .badge").first).to_have_text("replayed")
    go(page, "Cases")
    expect(page.locator(".case-row", has_text="ticket-2")).to_contain_text("waiting")


def go(page: Page, name: str) -> None:
    """By the navigation."""
    page.locator("#nav").get_by_role("link", name=name).click()
    expect(page.locator("h1")).to_have_text(name)


def test_every_page_of_the_real_thing_shows_its_data(opened: Opened, url: str) -> None:
    console = opened(url)
    for address in ("#/", "#/cases", "#/approvals", "#/letters", "#/agents", "#/spend"):
        page = console.settled(address)
        assert page.locator(".state.failure").count() == 0, address


def test_the_files_come_with_a_policy(url: str) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert os.path.basename(answer.url) == ""  # noqa: PTH119 - an address, not a path
