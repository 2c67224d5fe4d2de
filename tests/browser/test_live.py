"""What arrives while one looks: floods, gaps, silence, other servers' manners."""

from __future__ import annotations

import json
import threading
import time

from tests.browser import views
from tests.browser.conftest import Console, Opened, playwright_api
from tests.browser.fake_server import Fake, Refusal

expect = playwright_api().expect
A_SECOND = 1_000
SECONDS = 5
FRAMES = """
() => {
  const seen = { count: 0, longest: 0, last: performance.now() };
  const frame = (now) => {
    seen.count += 1;
    seen.longest = Math.max(seen.longest, now - seen.last);
    seen.last = now;
    if (!seen.over) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.__frames = seen;
}
"""


def flood(fake: Fake, stop: threading.Event) -> None:
    """A thousand updates a second of five hundred cases, and an overview twice a second."""
    begun = time.monotonic()
    for number in range(A_SECOND * SECONDS):
        status = "completed" if number >= A_SECOND * (SECONDS - 1) else "open"
        fake.push("case", views.line(number % 500, status), number + 1)
        if number % (A_SECOND // 2) == 0:
            fake.push("overview", views.overview(cases_open=number))
        if number % 20 == 0 and stop.wait(max(0.0, begun + number / A_SECOND - time.monotonic())):
            return


def test_a_thousand_updates_a_second_leave_the_page_at_ease(console: Console, fake: Fake) -> None:
    for address in ("#/", "#/cases"):
        page = console.settled(address)
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
        page.evaluate(FRAMES)
        stop = threading.Event()
        thread = threading.Thread(target=flood, args=(fake, stop))
        thread.start()
        try:
            waits = []
            while thread.is_alive():
                begun = time.monotonic()
                page.get_by_role("button", name="Theme").click()
                waits.append(time.monotonic() - begun)
                thread.join(0.3)
        finally:
            stop.set()
            thread.join()
        expect(page.locator(".case-row .badge").first).to_have_text("completed")
        seen = page.evaluate("() => { window.__frames.over = true; return window.__frames; }")
        rows = page.locator(".case-row").count()

        assert rows <= 50
        assert seen["count"] >= 10 * SECONDS
        assert seen["longest"] < 1_000
        assert max(waits) < 2


BURST = 20_000
COUNT_CHANGES = """
() => {
  window.__changes = 0;
  const count = (records) => { window.__changes += records.length; };
  const all = { subtree: true, childList: true, characterData: true };
  new MutationObserver(count).observe(document.querySelector('.case-list'), all);
}
"""


def test_of_a_burst_only_the_last_words_are_painted(console: Console, fake: Fake) -> None:
    page = console.settled("#/cases")
    page.wait_for_selector("#live[data-state=live]")
    page.evaluate(COUNT_CHANGES)
    lines = [views.line(number % 40, "completed") for number in range(40)]
    told = (json.dumps({**lines[n % 40], "subject": f"burst-{n}"}) for n in range(BURST))
    fake.push_raw("".join(f"event: case\ndata: {line}\n\n" for line in told).encode())

    expect(page.locator(".case-row .what").first).to_contain_text(f"burst-{BURST - 40}")
    expect(page.locator(".case-row .what").nth(39)).to_contain_text(f"burst-{BURST - 1}")
    assert 80 <= page.evaluate("window.__changes") < BURST / 2


def test_what_changes_is_seen_without_a_reload(console: Console, fake: Fake) -> None:
    page = console.settled("#/cases")
    page.wait_for_selector("#live[data-state=live]")
    fake.push("case", views.line(2, "failed"))
    expect(page.locator(".case-row").nth(2)).to_contain_text("failed")
    fake.push("case", {**views.line(0), "case_id": "new"})

    expect(page.get_by_role("button", name="Show 1 new or changed")).to_be_visible()


def test_what_came_between_a_list_and_the_stream_is_seen(console: Console, fake: Fake) -> None:
    fake.views["/letters"] = {"items": [], "next": None}
    page = console.settled("#/letters")
    page.wait_for_selector("#live[data-state=live]")
    expect(page.get_by_text("No dead letters.")).to_be_visible()
    fake.views["/letters"] = {"items": [views.letter()], "next": None}
    fake.push("overview", views.overview(letters_waiting=1))

    expect(page.locator("a.letter")).to_have_count(1)


def test_a_case_that_changes_is_read_again(console: Console, fake: Fake) -> None:
    page = console.settled(f"#/cases/{views.case_id(1)}")
    page.wait_for_selector("#live[data-state=live]")
    page.locator("details#step-policy summary").click()
    fake.views["/cases/{id}"] = views.case_view(status="parked")
    fake.push("case", views.line(1, "parked"))

    expect(page.locator(".summary .badge")).to_have_text("parked")
    expect(page.locator("details#step-policy")).to_have_attribute("open", "")


def test_a_stream_that_ends_comes_back_where_it_was(console: Console, fake: Fake) -> None:
    page = console.settled("#/cases")
    page.wait_for_selector("#live[data-state=live]")
    fake.push("case", views.line(0, "failed"), event_id=41)
    expect(page.locator(".case-row").first).to_contain_text("failed")
    fake.hang_up()
    expect(page.locator("#live")).to_contain_text("Reconnecting")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")

    assert fake.resumed[-1] == "41"


def test_without_a_stream_the_page_asks_now_and_then(console: Console, fake: Fake) -> None:
    fake.streaming = False
    page = console.settled("#/approvals")
    expect(page.locator(".pick")).to_have_count(4)
    fake.views["/approvals"] = {"items": [views.approval(1)], "next": None}

    expect(page.locator(".pick")).to_have_count(1)


def test_a_server_that_is_gone_leaves_what_was_there_and_says_so(
    console: Console, fake: Fake
) -> None:
    page = console.settled("#/approvals")
    page.context.set_offline(True)
    fake.hang_up()

    expect(page.locator("#banner")).to_contain_text("cannot be reached")
    expect(page.locator(".stale")).to_contain_text("What you see is from")
    expect(page.locator(".pick")).to_have_count(4)
    page.context.set_offline(False)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator(".stale")).to_be_hidden()


def test_a_key_is_asked_for_once_and_sent_with_everything(opened: Opened, fake: Fake) -> None:
    fake.key = "secret"
    console = opened(fake.url)
    console.page.goto(fake.url)
    dialog = console.page.get_by_role("dialog")
    expect(dialog).to_contain_text("needs an API key")
    dialog.get_by_label("API key or token").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("unknown or expired")
    dialog.get_by_label("API key or token").fill("secret")
    dialog.get_by_role("button", name="Use this key").click()
    console.page.wait_for_selector("#live[data-state=live]")
    expect(console.page.locator(".tile").first).to_contain_text("128")

    asked = {it.path: it.key for it in fake.asked}
    assert asked["/stream"] == asked["/overview"] == "secret"
    assert console.page.evaluate("localStorage.length") == 0


def test_a_refusal_of_the_rate_limit_is_told(console: Console, fake: Fake) -> None:
    fake.views["/cases"] = Refusal(429, "Too many requests")
    page = console.go("#/cases")

    expect(page.locator(".state.failure")).to_contain_text("Too many requests for this key")


def test_what_is_no_json_on_the_stream_is_skipped(console: Console, fake: Fake) -> None:
    page = console.settled("#/cases")
    page.wait_for_selector("#live[data-state=live]")
    fake.push_raw(b"event: case\ndata: {no json\n\n")
    fake.push("case", views.line(0, "failed"))

    expect(page.locator(".case-row").first).to_contain_text("failed")
