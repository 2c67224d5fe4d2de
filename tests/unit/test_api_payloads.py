"""Hostile text through every route: it stays text, whatever it tries to be."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from caseworks.projection.connection import projection_path
from caseworks.projection.read import ReadModel
from caseworks.projection.schema import SCHEMA_VERSION, TABLES
from events.envelope import read_event
from tests.unit.api_world import NOW, World, case, world

pytestmark = pytest.mark.anyio
FILE = Path(__file__).parents[2].parent / "shared" / "data" / "bad_web_payloads.jsonl"
OWN = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' OR 1=1; DROP TABLE cases; --",
    "{{7*7}} ${7*7} %{7*7}",
    "../../../../etc/passwd",
    "$(id) `id` | id; id && id",
    "%00%0d%0aSet-Cookie: a=b",
    "\r\nX-Injected: 1",
    "\u202eevil\u0000\ufffe",
    "\U0001f4a9" * 50,
    "*)(uid=*))(|(uid=*",
]
"""Some of each kind, where the longer list is not at hand."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def payloads() -> list[str]:
    if not FILE.exists():
        return OWN
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return OWN + [json.loads(line)["text"] for line in lines]


def checked(answer: httpx.Response, text: str) -> None:
    """No error of ours, and nothing that a browser would take for a page."""
    assert answer.status_code < 500, (text, answer.text)
    assert answer.headers["content-type"] in ("application/json", "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-injected" not in answer.headers
    assert "set-cookie" not in answer.headers
    answer.json()


async def test_hostile_text_in_an_event_arrives_as_it_was_sent() -> None:
    async with world() as api:
        for number, text in enumerate(payloads()):
            said = {
                "specversion": "1.0",
                "id": f"{number}",
                "source": "s",
                "type": "order.placed",
                "data": {"item": text, "price": 1},
            }
            answer = await api.post(
                "/events",
                content=json.dumps(said),
                headers={"content-type": "application/cloudevents+json"},
            )
            checked(answer, text)
            assert answer.status_code == 202
        found = {read_event(m, 100_000).data["item"] for m in api.records("cw.events")}

        assert found == set(payloads())


async def test_hostile_text_in_a_case_is_json_and_nothing_else() -> None:
    async with world() as api:
        for text in payloads():
            api.reader.change(case("c1", subject=text, reason=text, output={"text": text}))
            answer = await api.get("/cases/c1")
            checked(answer, text)
            assert answer.json()["output"] == {"text": text}


@pytest.mark.slow
async def test_hostile_text_in_every_place_of_a_request_is_answered(tmp_path: Path) -> None:
    reader = real_reader(tmp_path)
    async with world() as api:
        object.__setattr__(api.api.parts, "read", reader)
        for text in payloads():
            await _everywhere(api, text)
    reader.close()


def real_reader(tmp_path: Path) -> ReadModel:
    """A projection of nothing, in SQLite as it is."""
    path = projection_path(tmp_path, "cw")
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(TABLES)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return ReadModel(path, clock=lambda: NOW)


async def _everywhere(api: World, text: str) -> None:
    place = quote(text, safe="")
    for path in ("/cases/{}", "/tasks/{}", "/approvals/{}", "/agents/{}/health", "/letters/{}/0/0"):
        answer = await api.get(path.format(place))
        checked(answer, text)
        assert answer.status_code in (404, 422), (path, text)
    for path, name in (
        ("/cases", "q"),
        ("/cases", "subject"),
        ("/cases", "status"),
        ("/cases", "cursor"),
        ("/letters", "topic"),
        ("/approvals", "case_id"),
        ("/budgets", "since"),
    ):
        checked(await api.get(path, params={name: text}), text)
    bodies: list[tuple[str, Any]] = [
        (f"/cases/{place}/signal", {"name": text, "data": text}),
        (f"/cases/{place}/feedback", {"note": text}),
        (f"/approvals/{place}/decision", {"decision": "approve", "action_hash": text}),
        ("/letters/replay", {"all": True, "why": text, "where": text}),
        ("/letters/replay", {"places": [text]}),
        (f"/agents/{place}/tasks", {"item": text, "price": 1}),
        ("/breakers/model/open", {"why": text}),
    ]
    for path, body in bodies:
        checked(await api.post(path, json=body), text)
