"""Tokens of an OpenID provider: which are accepted, as whose, and for how long."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from caseworks.api.auth import Gate
from caseworks.api.tokens import KEYS_KEPT_S, OidcTokens, tokens_of
from events.errors import SettingsError
from events.settings import Settings
from tests.unit.api_world import bearer, world

pytestmark = pytest.mark.anyio
ISSUER, AUDIENCE = "https://id.example.com", "caseworks"
OURS, THEIRS = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
SETTINGS = Settings(api_oidc_issuer=ISSUER, api_oidc_audience=AUDIENCE)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def jwks() -> bytes:
    public = json.loads(ECAlgorithm.to_jwk(OURS.public_key()))
    return json.dumps({"keys": [{**public, "kid": "k", "use": "sig", "alg": "ES256"}]}).encode()


def token(key: Any = OURS, algorithm: str = "ES256", **claims: Any) -> str:
    known = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "exp": time.time() + 60,
        "roles": ["read"],
    }
    said = {name: value for name, value in {**known, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm, headers={"kid": "k"})


def provider(fetch: Any = jwks, settings: Settings = SETTINGS) -> Gate:
    return Gate(tokens=OidcTokens(settings, fetch))


async def test_a_token_of_the_provider_has_its_roles_and_tenant() -> None:
    async with world(gate=provider()) as api:
        told = await api.get("/me", headers=bearer(token(tenant="acme", roles=["read", "x"])))

        assert told.json() == {"name": "ann", "roles": ["read"], "tenant": "acme"}


async def test_roles_may_be_deeper_in_the_token() -> None:
    settings = SETTINGS.model_copy(update={"api_oidc_roles_claim": "realm_access.roles"})
    async with world(gate=provider(settings=settings)) as api:
        told = await api.get(
            "/me", headers=bearer(token(realm_access={"roles": ["decide"]}, roles=None))
        )

        assert told.json()["roles"] == ["decide"]


BAD = {
    "expired": token(exp=time.time() - 60),
    "of another audience": token(aud="other"),
    "of another issuer": token(iss="https://evil.example.com"),
    "without an end": token(exp=None),
    "without a name": token(sub=None),
    "with an empty name": token(sub=""),
    "with a name of many": token(sub="a" * 300),
    "with an empty tenant": token(tenant=""),
    "with several tenants": token(tenant=["acme", "other"]),
    "with a tenant that is no text": token(tenant=7),
    "not yet": token(nbf=time.time() + 600),
    "unsigned": token(key=None, algorithm="none"),
    "signed with a shared secret": token(key="s" * 32, algorithm="HS256"),
    "signed with another key": token(key=THEIRS),
    "cut": token()[:-4],
    "no token": "a.b.c",
    "long": f"{'a' * 20_000}.b.c",
}


@pytest.mark.parametrize("why", BAD)
async def test_a_token_that_is_not_in_order_is_refused(why: str) -> None:
    async with world(gate=provider()) as api:
        told = await api.get("/me", headers=bearer(BAD[why]))

        assert told.status_code == 401
        assert told.json()["type"] == "urn:caseworks:problem:token-refused"
        assert 'error="invalid_token"' in told.headers["www-authenticate"]


async def test_a_provider_that_is_away_is_told_apart_from_a_bad_token() -> None:
    def away() -> bytes:
        raise OSError("away")

    async with world(gate=provider(away)) as api:
        assert (await api.get("/me", headers=bearer(token()))).status_code == 503


async def test_an_unknown_key_makes_us_ask_the_provider_only_now_and_then() -> None:
    asked = []

    def fetch() -> bytes:
        asked.append(1)
        return jwks()

    async with world(gate=provider(fetch)) as api:
        odd = jwt.encode({"sub": "x"}, OURS, "ES256", headers={"kid": "other"})
        for _ in range(5):
            assert (await api.get("/me", headers=bearer(odd))).status_code == 401

        assert len(asked) == 1


@pytest.mark.parametrize("said", [b"[]", b"{}", b"{", b'{"keys": 7}', b'{"keys": [7]}', b"7"])
async def test_a_provider_that_tells_nonsense_is_as_one_that_is_away(said: bytes) -> None:
    async with world(gate=provider(lambda: said)) as api:
        for _ in range(2):
            assert (await api.get("/me", headers=bearer(token()))).status_code == 503


async def test_a_key_that_the_provider_took_back_is_refused_after_a_while() -> None:
    now, told = 0.0, jwks()
    gate = Gate(tokens=OidcTokens(SETTINGS, lambda: told, lambda: now))
    async with world(gate=gate) as api:
        assert (await api.get("/me", headers=bearer(token()))).status_code == 200

        told = jwks().replace(b'"kid": "k"', b'"kid": "new"')
        now = KEYS_KEPT_S
        assert (await api.get("/me", headers=bearer(token()))).status_code == 401


async def test_keys_are_kept_while_the_provider_is_away() -> None:
    now, away = 0.0, False

    def fetch() -> bytes:
        if away:
            raise OSError("away")
        return jwks()

    async with world(gate=Gate(tokens=OidcTokens(SETTINGS, fetch, lambda: now))) as api:
        assert (await api.get("/me", headers=bearer(token()))).status_code == 200

        now, away = KEYS_KEPT_S, True
        assert (await api.get("/me", headers=bearer(token()))).status_code == 200


async def test_keys_of_the_provider_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(jwks())
    settings = SETTINGS.model_copy(update={"api_oidc_jwks": str(tmp_path / "jwks.json")})
    async with world(gate=Gate(tokens=tokens_of(settings))) as api:
        assert (await api.get("/me", headers=bearer(token()))).status_code == 200


def test_a_provider_without_an_audience_is_refused() -> None:
    with pytest.raises(SettingsError, match="AUDIENCE"):
        tokens_of(Settings(api_oidc_issuer=ISSUER))
