"""Who may ask what: keys, tokens, roles, tenants."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from caseworks.api.auth import Gate, check_exposure
from caseworks.api.keys import LOOK_AGAIN_S, KeyRing, hash_of, read_keys
from events.errors import SettingsError, SetupError
from tests.unit.api_world import bearer, case, keyed, world

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_without_keys_everybody_on_this_machine_is_the_developer() -> None:
    async with world() as api:
        told = await api.get("/me")

        assert told.json() == {
            "name": "developer",
            "roles": ["publish", "read", "decide", "operate"],
            "tenant": None,
        }


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.com"},
        {"Host": "evil.example.com:8080"},
        {"Host": "[::1"},
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
    ],
)
async def test_a_page_of_somebody_else_does_not_reach_an_open_api(headers: dict[str, str]) -> None:
    async with world() as api:
        told = await api.post("/agents/price-check/pause", headers=headers)

        assert told.status_code == 403
    async with world(gate=keyed()) as api:
        assert (await api.get("/me", headers=bearer("read") | headers)).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080"])
async def test_pages_of_this_machine_reach_an_open_api(host: str) -> None:
    async with world() as api:
        told = await api.get("/me", headers={"Host": host, "Origin": f"http://{host}"})

        assert told.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 - refused
def test_an_open_api_does_not_listen_beyond_this_machine(host: str) -> None:
    with pytest.raises(SetupError, match="without keys"):
        check_exposure(host, Gate())
    check_exposure(host, keyed())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        {"Authorization": "Basic cmVhZDpyZWFk"},
        {"Authorization": "Bearer"},
        {"X-API-Key": ""},
    ],
)
async def test_who_does_not_say_who_they_are_is_asked(headers: dict[str, str]) -> None:
    async with world(gate=keyed()) as api:
        for path in ("/me", "/cases/c1", "/nowhere"):
            told = await api.get(path, headers=headers)
            assert told.status_code == 401
            assert told.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("headers", [bearer("read"), {"X-API-Key": "read"}])
async def test_a_key_is_sent_in_either_header(headers: dict[str, str]) -> None:
    async with world(gate=keyed()) as api:
        assert (await api.get("/me", headers=headers)).json()["name"] == "read"


NEEDS = [
    ("GET", "/cases", "read"),
    ("GET", "/cases/c1", "read"),
    ("POST", "/cases/c1/cancel", "operate"),
    ("POST", "/cases/c1/signal", "publish"),
    ("POST", "/cases/c1/feedback", "publish"),
    ("POST", "/agents/price-check/tasks", "publish"),
    ("POST", "/agents/price-check/process?timeout_s=0", "publish"),
    ("GET", "/tasks/c1", "read"),
    ("GET", "/approvals", "read"),
    ("GET", "/approvals/c1:x", "read"),
    ("POST", "/approvals/c1:x/decision", "decide"),
    ("GET", "/letters", "read"),
    ("GET", "/letters/cw.events.dlq/0/0", "read"),
    ("POST", "/letters/replay", "operate"),
    ("POST", "/letters/drop", "operate"),
    ("GET", "/agents", "read"),
    ("GET", "/agents/price-check/health", "read"),
    ("GET", "/agents/price-check/metrics", "read"),
    ("POST", "/agents/price-check/pause", "operate"),
    ("POST", "/agents/price-check/resume", "operate"),
    ("GET", "/breakers", "read"),
    ("POST", "/breakers/model/open", "operate"),
    ("GET", "/lag", "read"),
    ("GET", "/budgets", "read"),
    ("GET", "/overview", "read"),
    ("GET", "/attention", "read"),
    ("GET", "/insight", "read"),
    ("GET", "/stream", "read"),
    ("POST", "/events", "publish"),
]
BODIES: dict[str, Any] = {
    "/cases/c1/signal": {"name": "order.paid"},
    "/cases/c1/feedback": {"rating": 5},
    "/agents/price-check/tasks": {"item": "lamp", "price": 1},
    "/agents/price-check/process?timeout_s=0": {"item": "lamp", "price": 1},
    "/approvals/c1:x/decision": {"decision": "approve", "action_hash": "x"},
    "/letters/replay": {"all": True, "why": "a test"},
    "/letters/drop": {"all": True, "why": "a test"},
}


async def test_each_route_wants_its_role() -> None:
    async with world(gate=keyed()) as api:
        api.reader.change(case("c1"))
        let_in = []
        for method, path, role in NEEDS:
            for other in {"publish", "read", "decide"} - {role}:
                told = await api.client.request(
                    method, f"/api/v1{path}", headers=bearer(other), json=BODIES.get(path)
                )
                refused = told.status_code == 403 and f"the role {role}" in told.json()["detail"]
                let_in += [] if refused else [(other, method, path, told.text)]

        assert let_in == []


async def test_every_route_of_the_document_is_in_the_table_of_roles() -> None:
    async with world() as api:
        document = api.api.framework.openapi()
    told = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, operations in document["paths"].items()
        for method in operations
    }
    missing = [
        (method, path)
        for method, path in told - {("GET", "/me"), ("GET", "/projection")}
        if not any(
            method == known
            and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), place.partition("?")[0])
            for known, place, _ in NEEDS
        )
    ]

    assert missing == []


async def test_someone_elses_case_does_not_exist() -> None:
    async with world(gate=keyed()) as api:
        api.reader.change(case("mine", tenant="acme"))
        api.reader.change(case("theirs", tenant="other"))
        api.reader.change(case("nobodys"))
        found = {
            name: (await api.get(f"/cases/{name}", headers=bearer("acme"))).status_code
            for name in ("mine", "theirs", "nobodys", "never-was")
        }
        told = await api.post("/cases/theirs/cancel", headers=bearer("acme"))
        listed = (await api.get("/cases", headers=bearer("acme"))).json()["items"]
        asked = (await api.get("/cases?tenant=other", headers=bearer("acme"))).json()["items"]

        assert found == {"mine": 200, "theirs": 404, "nobodys": 404, "never-was": 404}
        assert told.status_code == 404
        assert [each["case_id"] for each in listed] == ["mine"]
        assert asked == []


@pytest.mark.parametrize(
    "path", ["/overview", "/lag", "/breakers", "/budgets", "/agents/price-check/metrics"]
)
async def test_a_key_of_a_tenant_does_not_see_what_is_of_all(path: str) -> None:
    async with world(gate=keyed()) as api:
        assert (await api.get(path, headers=bearer("acme"))).status_code == 403


# --- the file of keys


def key_file(path: Path, *keys: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"keys": keys}), encoding="utf-8")  # JSON is YAML
    return path


def test_keys_are_found_by_their_secret(tmp_path: Path) -> None:
    ring = KeyRing(
        key_file(
            tmp_path / "keys", {"name": "ci", "sha256": hash_of("s3cret"), "roles": ["publish"]}
        )
    )
    found = ring.find("s3cret")

    assert found is not None
    assert (found.name, found.roles) == ("ci", ("publish",))
    assert ring.find("S3cret") is None
    assert ring.find("schlüssel\udcff") is None


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"name": "ci", "sha256": "s3cret", "roles": ["publish"]}],
        [{"name": "ci", "sha256": hash_of("a"), "roles": ["root"]}],
        [{"name": "ci", "sha256": hash_of("a"), "roles": []}],
        [{"name": "ci", "sha256": hash_of("a"), "roles": ["read"], "key": "a"}],
        [{"name": "ci", "sha256": hash_of("a"), "roles": ["read"], "tenant": ""}],
        [{"name": "ci", "sha256": hash_of(each), "roles": ["read"]} for each in "ab"],
        [{"name": each, "sha256": hash_of("a"), "roles": ["read"]} for each in "ab"],
    ],
)
def test_a_file_of_keys_that_is_wrong_is_refused(tmp_path: Path, keys: Any) -> None:
    with pytest.raises(SettingsError, match="keys"):
        read_keys(key_file(tmp_path / "keys", *keys))


def test_a_key_that_is_taken_out_is_refused_soon(tmp_path: Path) -> None:
    now = 0.0
    both = [{"name": each, "sha256": hash_of(each), "roles": ["read"]} for each in "ab"]
    path = key_file(tmp_path / "keys", *both)
    ring = KeyRing(path, lambda: now)
    key_file(path, both[0])
    assert ring.find("b") is not None

    now = LOOK_AGAIN_S
    assert ring.find("b") is None
    assert ring.find("a") is not None

    path.write_text("keys: [", encoding="utf-8")
    now = 2 * LOOK_AGAIN_S
    assert ring.find("a") is not None  # the last that could be read
