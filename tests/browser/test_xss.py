"""Hostile text from tickets comes out as text on every page: no script runs, nothing is refused by
the policy because nothing tries, and what was written can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser import views
from tests.browser.conftest import Console, playwright_api
from tests.browser.fake_server import Fake
from tests.browser.views import case_id

expect = playwright_api().expect
ROOT = Path(__file__).parents[2]
PAYLOADS = ROOT.parent / "shared" / "data" / "bad_web_payloads.jsonl"
AT_ONCE = 42
FOREIGN = "script, img, iframe, object, embed, base, link, style, meta, video, audio, form[action]"
KEPT = ("at", "_at", "usd", "_usd", "state", "status")
OWN = [
    "<script>window.__ran.push('script')</script>",
    "<img src=x onerror=window.__ran.push('img')>",
    "\"><svg/onload=window.__ran.push('svg')>",
    "javascript:window.__ran.push('url')",
    "{{constructor.constructor('window.__ran.push(1)')()}}",
    "</textarea><script>window.__ran.push('textarea')</script>",
    "__proto__",
    "\u202egnp.exe \u0000 \U0001f608",
]


def payloads() -> list[str]:
    if not PAYLOADS.is_file():
        return []
    with PAYLOADS.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def test_there_are_payloads() -> None:
    if not PAYLOADS.is_file():
        pytest.skip("needs bad_web_payloads.jsonl in the folder shared/data beside the repository")
    assert len(payloads()) == 251


GROUPS = [OWN] + [payloads()[at : at + AT_ONCE] for at in range(0, len(payloads()), AT_ONCE)]


@pytest.mark.parametrize("texts", GROUPS, ids=[f"group-{n}" for n in range(len(GROUPS))])
def test_no_text_is_more_than_text_on_any_page(
    console: Console, fake: Fake, texts: list[str]
) -> None:
    fake.views.update(hostile(texts))
    first = quote(texts[0], safe="")
    pages = {
        "#/": False,
        "#/cases": True,
        f"#/cases?q={first}&workflow={first}": True,
        f"#/cases/{case_id(1)}": True,
        "#/approvals": True,
        "#/letters": True,
        "#/letters/a%2F0%2F1?with=b%2F0%2F1": True,
        "#/agents": True,
        "#/spend": True,
        "#/insight": True,
    }
    for address, shows_all in pages.items():
        page = console.settled(address)
        for details in page.locator("main details").all():
            details.evaluate("node => { node.open = true; }")
        for text in texts[:3]:
            fake.push("alert", {"summary": text})
        page.locator(".toast").nth(2).wait_for()
        assert page.locator(FOREIGN).and_(page.locator("main *, .toasts *")).count() == 0
        assert console.harm() == [], address
        if shows_all:
            shown = page.evaluate("document.body.textContent")
            assert [text for text in texts if text not in shown] == [], address


def test_an_address_may_hold_anything(console: Console, fake: Fake) -> None:
    page = console.settled("#/")
    for text in [*OWN, *payloads()]:
        address = f"#/cases/{quote(text, safe='')}"
        page.evaluate("address => { location.hash = address; }", address)
        expect(page.locator("h1 code")).to_have_text(text)
        assert page.locator("h1 code").text_content() == text

    assert console.harm() == []


BREAK = """
() => new Promise((done) => {
  window.alert('seen');
  document.addEventListener('securitypolicyviolation', done, { once: true });
  try { document.body.innerHTML = '<b>'; } catch { /* the policy refuses it */ }
}).then(() => true)
"""


def test_the_watch_sees_a_script_that_runs(console: Console) -> None:
    page = console.settled("#/")
    page.evaluate(BREAK)

    harm = console.harm()
    page.evaluate("window.__ran = []; window.__refused = [];")
    assert harm[0] == "['alert', 'seen']"
    assert "require-trusted-types-for" in harm[1]


def spoilt(value: Any, text: str, name: str = "") -> Any:
    """The same value where each text that a person or an agent could have written is *text*."""
    match value:
        case str() if not name.endswith(KEPT):
            return text
        case list():
            return [spoilt(each, text, name) for each in value]
        case dict():
            return {key: spoilt(each, text, key) for key, each in value.items()}
        case _:
            return value


def hostile(texts: list[str]) -> dict[str, Any]:
    """Every view with every text in it somewhere; in lists an item for each."""
    good = views.everything()
    one = texts[0]

    def items(of: Any) -> dict[str, Any]:
        return {"items": [spoilt(of, text) for text in texts], "next": None}

    case = spoilt(good["/cases/{id}"], one)
    step = views.case_view()["steps"][0]
    case["steps"] = [
        {**spoilt(step, text), "name": text, "after": texts[:2], "output": {text: text}}
        for text in texts
    ]
    case["timeline"] = [spoilt(views.case_view()["timeline"][0], text) for text in texts]
    case["status"] = case["reason"] = one
    letter = {**spoilt(good["/letters/{id}"], one), "value": "\n".join(texts), "headers": []}
    letter |= {"headers": [[text, text] for text in texts], "editable": json.dumps({one: one})}
    return {
        "/me": {"name": one, "roles": ["operate"], "tenant": None},
        "/overview": spoilt(good["/overview"], one),
        "/attention": items(good["/attention"]["items"][0]),
        "/cases": items(good["/cases"]["items"][0]),
        "/cases/{id}": case,
        "/approvals": items(good["/approvals"]["items"][0]),
        "/letters": items(good["/letters"]["items"][0]),
        "/letters/{id}": letter,
        "/agents": items(good["/agents"]["items"][0]),
        "/breakers": items(good["/breakers"]["items"][0]),
        "/budgets": {**items(good["/budgets"]["items"][0]), "by": "agent", "since": views.at(9)},
        "/insight": {
            "subjects": [spoilt(good["/insight"]["subjects"][0], text) for text in texts],
            "alerts": [spoilt(views.ALERT, text) for text in texts],
            "business": {text: [{text: text}] for text in texts},
        },
    }
