"""What every request passes: limits, bounds, headers, and errors as problem documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseworks.api.auth import Caller
from caseworks.api.door import GUARD
from caseworks.api.keys import Key, hash_of
from caseworks.api.limits import RateLimits
from caseworks.api.problems import KINDS, Problem, of_exception
from events.errors import AbortableError, DeclarationError, PayloadError, SetupError
from events.metrics import Prometheus
from tests.unit.api_world import FakeReader, bearer, keyed, world

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def checked(answer: Any, status: int) -> dict[str, Any]:
    """The problem document of an answer, which has to be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"].removeprefix("urn:caseworks:problem:") in KINDS
    assert document["title"]
    return document


async def test_whatever_goes_wrong_is_a_problem_document() -> None:
    async with world(api_body_bytes_max=1000) as api:
        checked(await api.get("/nowhere"), 404)
        checked(await api.client.get("/no/such/page.html"), 404)
        assert "GET" in (await api.post("/me")).headers["allow"]
        checked(await api.post("/me"), 405)
        checked(await api.post("/cases/c1/signal", content=b"{"), 422)
        json_type = {"content-type": "application/json"}
        checked(await api.post("/cases/c1/signal", content=b"{", headers=json_type), 400)
        checked(await api.post("/cases/c1/signal", json={"nam": "x"}), 422)
        checked(await api.get("/cases?limit=0"), 422)
        checked(await api.get("/cases?status=open&status=failed"), 422)
        checked(await api.post("/cases/c1/signal", content=b" " * 2000, headers=json_type), 413)


class Broken(FakeReader):
    """A projection whose code has a mistake."""

    def case(self, case_id: str) -> Any:
        raise RuntimeError("secret: the password is hunter2")


async def test_an_unexpected_error_tells_nothing_of_the_code() -> None:
    async with world() as api:
        object.__setattr__(api.api.parts, "read", Broken())
        answer = await api.get("/cases/c1")

        document = checked(answer, 500)
        assert "hunter2" not in answer.text
        assert "Traceback" not in answer.text
        assert "log" in document["detail"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PayloadError("x", "bad"), 422),
        (DeclarationError("bad"), 422),
        (SetupError("away"), 503),
        (AbortableError("away"), 503),
        (KeyError("odd"), 500),
    ],
)
def test_errors_are_split_by_who_must_act(error: Exception, status: int) -> None:
    assert of_exception(error).status == status


async def test_every_answer_guards_the_browser_that_gets_it() -> None:
    async with world() as api:
        for path in ("/api/v1/me", "/api/v1/nowhere", "/docs", "/", "/no/such/page"):
            headers = (await api.client.get(path)).headers
            for name, value in GUARD:
                assert headers[name.decode()] == value.decode(), path
            assert "default-src" in headers["content-security-policy"]
        api_policy = (await api.get("/me")).headers["content-security-policy"]
        assert api_policy == "default-src 'none'; frame-ancestors 'none'"


async def test_nobody_is_told_what_another_site_may_read() -> None:
    async with world() as api:
        answer = await api.get("/me", headers={"Origin": "https://evil.example.com"})

        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_key_may_ask_100_times_in_a_minute_unless_it_says_more() -> None:
    more = Key(name="more", sha256=hash_of("more"), roles=("read",), per_minute=0, per_hour=0)
    async with world(gate=keyed(more)) as api:
        first = await api.get("/me", headers=bearer("read"))
        told = [await api.get("/me", headers=bearer("read")) for _ in range(100)]
        others = [await api.get("/me", headers=bearer("more")) for _ in range(150)]

        assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == (
            "100",
            "99",
        )
        assert [each.status_code for each in told] == [200] * 99 + [429]
        assert checked(told[-1], 429)["detail"] == "read may ask 100 times in a minute"
        assert 1 <= int(told[-1].headers["retry-after"]) <= 60
        assert {each.status_code for each in others} == {200}
        assert (await api.get("/me", headers=bearer("decide"))).status_code == 200


def test_an_hour_is_limited_as_well_and_what_is_refused_is_not_counted() -> None:
    limits = RateLimits(per_minute=0, per_hour=3)
    caller = Caller("ann", frozenset())
    left = [limits.take(caller) for _ in range(3)]
    for _ in range(2):
        with pytest.raises(Problem, match="3 times in a hour"):
            limits.take(caller)

    assert [each.remaining for each in left if each is not None] == [2, 1, 0]


async def test_requests_are_counted_by_their_route() -> None:
    telemetry = Prometheus()
    async with world(telemetry=telemetry) as api:
        for path in ("/cases/c1", "/cases/c2", "/made/up"):
            await api.get(path)
    told = telemetry.text().decode()

    assert 'requests_total{route="GET /cases/{case_id}",status="404"} 2.0' in told
    assert 'requests_total{route="other",status="404"} 1.0' in told


async def test_the_page_of_the_document_asks_no_other_host() -> None:
    async with world() as api:
        page = await api.client.get("/docs")
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
            assert (await api.client.get(f"/docs/{name}")).status_code == 200
            assert f'"docs/{name}"' in page.text
        assert "//" not in page.text.replace("<!--", "")
        assert (await api.client.get("/docs/other.js")).status_code == 404


async def test_the_document_names_how_one_says_who_one_is() -> None:
    async with world() as api:
        document = (await api.client.get("/openapi.json")).json()

        assert document["components"]["securitySchemes"].keys() == {"bearer", "key"}
        assert document["paths"]["/api/v1/cases"]["get"]["security"] == [
            {"bearer": []},
            {"key": []},
        ]
        references = set(_references(document))
        assert references <= {
            f"#/components/schemas/{n}" for n in document["components"]["schemas"]
        }


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


async def test_the_example_of_an_event_is_accepted() -> None:
    async with world() as api:
        document = (await api.client.get("/openapi.json")).json()
        body = document["paths"]["/api/v1/events"]["post"]["requestBody"]["content"]
        example = body["application/cloudevents+json"]["schema"]["example"]
        told = await api.post(
            "/events",
            content=json.dumps(example),
            headers={"content-type": "application/cloudevents+json"},
        )

        assert told.status_code == 202, told.text


async def test_the_console_is_served_and_nothing_above_it() -> None:
    async with world() as api:
        assert (await api.client.get("/")).headers["content-type"].startswith("text/html")
        for path in ("/../api/app.py", "/%2e%2e/api/app.py", "/..%2fapi%2fapp.py"):
            assert (await api.client.get(path)).status_code == 404


def test_the_page_of_this_api_is_beside_it() -> None:
    assert (Path(__file__).parents[2] / "caseworks/api/README.md").exists()
