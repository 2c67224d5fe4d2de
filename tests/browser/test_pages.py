"""What a person does with the console, by mouse and by keyboard: look, decide, replay, pause."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser import views
from tests.browser.conftest import PHONE, Console, Opened, playwright_api
from tests.browser.fake_server import Fake, Refusal
from tests.browser.views import HASH, case_id

expect = playwright_api().expect
LETTER = "#/letters/cw.tasks.billing.dlq%2F1%2F101"
PAGES = {
    "#/": "Overview",
    "#/cases": "Cases",
    f"#/cases/{case_id(1)}": f"Case {case_id(1)}",
    "#/approvals": "Approvals",
    "#/letters": "Dead letters",
    LETTER: "Dead letter",
    "#/agents": "Agents",
    "#/spend": "Spend",
    "#/insight": "Insight",
    "#/nowhere": "No such page",
}
QUESTION = f"/approvals/{case_id(1)}%3Arefund%3A1/decision"


@pytest.mark.parametrize(("address", "heading"), PAGES.items())
def test_every_page_has_its_heading_and_title(console: Console, address: str, heading: str) -> None:
    page = console.settled(address)

    assert page.inner_text("h1") == heading
    assert page.title() == f"{heading} · Caseworks"


@pytest.mark.parametrize("address", PAGES)
def test_every_page_fits_a_phone(opened: Opened, fake: Fake, address: str) -> None:
    page = opened(fake.url, viewport=PHONE).settled(address)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_overview_tells_numbers_and_what_needs_a_person(console: Console) -> None:
    page = console.settled("#/")

    expect(page.locator(".tile", has_text="Open cases")).to_contain_text("128")
    expect(page.locator(".tile", has_text="Behind Kafka")).to_contain_text("0.30 s")
    expect(page.locator(".attention li")).to_have_count(2)
    expect(page.locator(".attention")).to_contain_text("caseworks breaker list")
    expect(page.get_by_role("img", name="Cases a second")).to_be_visible()


def test_an_overview_tells_by_itself_what_needs_a_person(console: Console, fake: Fake) -> None:
    del fake.views["/attention"]
    page = console.settled("#/")

    expect(page.locator(".attention li")).to_have_count(3)
    expect(page.locator(".attention")).to_contain_text("shop-api is open")
    expect(page.locator(".attention")).to_contain_text("caseworks dlq list")


def test_a_case_is_drawn_and_its_steps_open_from_the_drawing(console: Console) -> None:
    page = console.settled(f"#/cases/{case_id(1)}")

    expect(page.locator("svg.dag a.node")).to_have_count(7)
    page.get_by_role("link", name="policy: done").click()
    step = page.locator("details#step-policy")
    expect(step).to_have_attribute("open", "")
    expect(step).to_contain_text("policies/refunds.md, section 2")
    expect(page.locator(".timeline")).to_contain_text("the shop answered 503")


def test_a_case_is_cancelled_after_a_question(console: Console, fake: Fake) -> None:
    page = console.settled(f"#/cases/{case_id(1)}")

    page.get_by_role("button", name="Cancel case").click()
    expect(page.get_by_role("dialog")).to_contain_text("cannot be taken back")
    page.keyboard.press("Escape")
    assert fake.posted(f"/cases/{case_id(1)}/cancel") == []
    page.get_by_role("button", name="Cancel case").click()
    page.get_by_label("Reason").fill("asked for by phone")
    page.get_by_role("button", name="Cancel the case").click()
    page.wait_for_selector(".toast")

    assert fake.posted(f"/cases/{case_id(1)}/cancel") == [{"reason": "asked for by phone"}]


def test_cases_are_filtered_by_the_server_and_the_address_says_how(
    console: Console, fake: Fake
) -> None:
    page = console.settled("#/cases?status=failed")

    page.get_by_label("Workflow").fill("refunds")
    page.get_by_label("Workflow").press("Enter")
    page.wait_for_url("**workflow=refunds**")

    asked = [it.query for it in fake.asked if it.path == "/cases"][-1]
    assert asked == {"status": "failed", "workflow": "refunds", "limit": "50"}


def test_an_approval_is_decided_by_keyboard_alone_with_its_hash(
    console: Console, fake: Fake
) -> None:
    page = console.settled("#/approvals")

    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("a")
    page.get_by_label("Note").fill("known customer")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast.ok")

    assert fake.posted(QUESTION) == [
        {"decision": "approve", "action_hash": HASH, "note": "known customer"}
    ]


def test_a_correction_shows_what_it_changes_and_must_change_something(
    console: Console, fake: Fake
) -> None:
    page = console.settled("#/approvals")

    page.keyboard.press("c")
    editor = page.get_by_label("What is done instead")
    page.get_by_role("button", name="Send the correction").click()
    expect(page.get_by_text("Nothing was changed")).to_be_visible()
    editor.fill("{no json")
    expect(page.get_by_text("This is no JSON yet")).to_be_visible()
    editor.fill('{"refund": {"order": "A-1041", "amount": "20.00", "to": "card"}}')
    expect(page.locator("dialog .diff ins").first).to_contain_text("20.00")
    page.get_by_role("button", name="Send the correction").click()
    page.wait_for_selector(".toast.ok")

    (sent,) = fake.posted(QUESTION)
    assert sent["decision"] == "correct"
    assert sent["output"] == {"refund": {"order": "A-1041", "amount": "20.00", "to": "card"}}


def test_who_comes_too_late_is_told_what_happened(console: Console, fake: Fake) -> None:
    late = f"{case_id(1)}:refund:1 was approved by bob at 12:00:03Z"
    fake.posts[QUESTION] = Refusal(409, "It is too late", late)
    page = console.settled("#/approvals")

    page.keyboard.press("r")
    page.keyboard.press("Enter")

    expect(page.locator(".toast")).to_contain_text("approved by bob")


def test_keys_of_one_letter_can_be_switched_off(console: Console) -> None:
    page = console.settled("#/approvals")

    page.keyboard.press("?")
    page.get_by_label("Keys of one letter are on").uncheck()
    page.get_by_role("button", name="Save").click()
    page.keyboard.press("a")

    expect(page.get_by_role("dialog")).to_have_count(0)


def _replayed(body: dict[str, Any]) -> dict[str, Any]:
    told = {"id": "cw.tasks.billing.dlq/1/101", "does": "sends bill to billing again"}
    changed = '--- before\n+++ after\n@@ -1 +1 @@\n-  "amount": "12,10"\n+  "amount": "12.10"'
    return {
        "action": "replay",
        "dry_run": body["dry_run"],
        "done": 1,
        "refused": {},
        "letters": [{**told, "changed": changed} if "patch" in body else told],
        "saved": {"steps": 2, "tokens": 976, "usd": "0.0028"},
        "remarks": [],
    }


def test_an_edited_letter_is_replayed_as_a_patch_after_a_dry_run(
    console: Console, fake: Fake
) -> None:
    fake.posts["/letters/replay"] = _replayed
    page = console.settled(LETTER)

    page.get_by_text("Change what goes back").click()
    editor = page.get_by_label("What the agent gets")
    editor.fill(editor.input_value().replace("12,10", "12.10"))
    page.get_by_role("button", name="Replay as edited").click()
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("dialog")).to_contain_text("sends bill to billing again")
    expect(page.locator("dialog .diff .come")).to_contain_text("12.10")
    page.get_by_role("button", name="Replay 1 dead letter").click()
    page.wait_for_selector(".toast.ok")

    wanted = {"places": ["cw.tasks.billing.dlq/1/101"], "patch": {"amount": "12.10"}}
    assert fake.posted("/letters/replay") == [
        {**wanted, "dry_run": True},
        {**wanted, "dry_run": False},
    ]


def test_many_letters_are_replayed_with_a_reason_and_two_are_compared(
    console: Console, fake: Fake
) -> None:
    fake.posts["/letters/replay"] = _replayed
    page = console.settled("#/letters?agent=billing")

    page.get_by_role("button", name="Replay all that fit").click()
    page.get_by_role("button", name="Dry run").click()
    assert fake.posted("/letters/replay") == []  # a reason is missing
    page.get_by_label("Reason (stands in the audit)").fill("the shop is back")
    page.get_by_role("button", name="Dry run").click()
    page.get_by_role("button", name="Cancel").click()
    (dry,) = fake.posted("/letters/replay")
    assert (dry["agent"], dry["dry_run"], dry["why"]) == ("billing", True, "the shop is back")
    boxes = page.get_by_role("checkbox")
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Compared")).to_be_visible()


def test_an_agent_is_paused_after_a_question(console: Console, fake: Fake) -> None:
    page = console.settled("#/agents")

    page.get_by_role("button", name="Pause billing").click()
    expect(page.get_by_role("dialog")).to_contain_text("no attempt is burnt")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    page.wait_for_selector(".toast.ok")

    assert fake.posted("/agents/billing/pause") == [{}]


def test_a_key_that_may_only_read_gets_no_buttons_that_would_fail(
    console: Console, fake: Fake
) -> None:
    fake.views["/me"] = {"name": "eve", "roles": ["read"], "tenant": None}
    page = console.settled("#/agents")

    button = page.get_by_role("button", name="Pause billing")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", "Your key lacks the role “operate”.")


def test_the_focus_goes_to_the_heading_of_a_new_page(console: Console) -> None:
    page = console.settled("#/")

    page.get_by_role("link", name="Agents", exact=True).click()
    page.wait_for_selector("h1:has-text('Agents')")

    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_selector("h1:has-text('Spend')")


def test_the_theme_is_chosen_and_kept(console: Console) -> None:
    page = console.settled("#/")

    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.reload()

    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()


EMPTY = {
    "/cases": ("#/cases", "No case yet."),
    "/approvals": ("#/approvals", "Nothing waits for a person."),
    "/letters": ("#/letters", "No dead letters."),
    "/agents": ("#/agents", "No agent has worked yet."),
    "/budgets": ("#/spend", "Nothing was spent yet."),
    "/insight": ("#/insight", "Nothing is measured yet."),
}


@pytest.mark.parametrize("path", EMPTY)
def test_where_there_is_nothing_a_page_says_what_would_be_there(
    console: Console, fake: Fake, path: str
) -> None:
    address, said = EMPTY[path]
    fake.views[path] = {} if path == "/insight" else {"items": [], "next": None}
    if path == "/budgets":
        fake.views[path] = {"by": "agent", "since": views.at(60), "items": []}
    page = console.settled(address)

    expect(page.get_by_text(said).first).to_be_visible()


TRY_AGAIN = "document.querySelector('.state.failure button')?.click()"
"""By script, because the page may have tried again by itself before a mouse is there."""
WITH_DATA = {address: name for address, name in PAGES.items() if address != "#/nowhere"}


@pytest.mark.parametrize("address", WITH_DATA)
def test_what_cannot_be_read_is_said_with_its_reason_and_tried_again(
    console: Console, fake: Fake, address: str
) -> None:
    before = dict(fake.views)
    broken = Refusal(500, "Something went wrong here", "the disk is full")
    fake.views.update({path: broken for path in before if path != "/me"})
    page = console.go(address)

    failure = page.locator(".state.failure")
    expect(failure).to_contain_text("the disk is full")
    expect(failure.get_by_role("button", name="Try again")).to_be_visible()
    fake.views.update(before)
    page.evaluate(TRY_AGAIN)
    expect(failure).to_have_count(0)
