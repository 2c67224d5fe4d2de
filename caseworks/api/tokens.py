"""Tokens of an OpenID provider: signed, of the right issuer, for us, and in their time.

Only signatures with a public key are accepted: `none` and shared secrets never are. The provider's
keys come from a file or from its address; an unknown key makes us ask again, not more often than
every `ASK_AGAIN_S`, and so does a known one after `KEYS_KEPT_S`. A tenant claim that is no text is
refused; a token without the claim is of nobody in particular, and sees all tenants.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import jwt
from jwt.exceptions import PyJWTError

from caseworks.api.auth import CHALLENGE, ROLES, Caller
from caseworks.api.problems import Problem, unavailable
from events.errors import SettingsError
from events.logs import get_logger
from events.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
LEEWAY_S = 10.0
"""How far clocks may be apart."""
ASK_AGAIN_S = 10.0
KEYS_KEPT_S = 600.0
"""After this the provider is asked again: a key that it took back is not accepted for good."""
FETCH_TIMEOUT_S = 5.0
KEYS_BYTES_MAX = 1_000_000
TOKEN_CHARS_MAX = 16_384
NAME_CHARS_MAX = 255
"""Of a subject, as OpenID has it. A longer one is refused: cut, it could be somebody else's."""

_UNREADABLE = (
    OSError,
    HTTPException,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    PyJWTError,
)
"""What a provider that is away, or tells something else than keys, makes of a question."""

log = get_logger(__name__)
Fetch = Callable[[], bytes]


class OidcTokens:
    """See `caseworks.api.auth.Tokens`."""

    def __init__(
        self, settings: Settings, fetch: Fetch, clock: Callable[[], float] = monotonic
    ) -> None:
        self._issuer = settings.api_oidc_issuer
        self._audience = settings.api_oidc_audience
        self._roles_claim = settings.api_oidc_roles_claim
        self._tenant_claim = settings.api_oidc_tenant_claim
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._asked: float | None = None
        self._stale_at = 0.0
        self._asking = asyncio.Lock()

    async def caller(self, token: str) -> Caller:
        key = await self._key_of(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.InvalidTokenError as error:
            raise _refused(str(error)) from None
        return Caller(
            name=_name(claims["sub"]),
            roles=_roles(_claim(claims, self._roles_claim)),
            tenant=_tenant(_claim(claims, self._tenant_claim)),
        )

    async def _key_of(self, token: str) -> Any:
        if len(token) > TOKEN_CHARS_MAX:
            raise _refused("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise _refused(str(error)) from None
        if header.get("alg") not in ALGORITHMS:
            raise _refused(f"its algorithm {str(header.get('alg'))[:20]!r} is not accepted")
        kid = str(header.get("kid", ""))
        stale = self._clock() >= self._stale_at and not self._asking.locked()
        if stale or kid not in self._keys:
            await self._ask()
        if not self._keys:
            raise unavailable("the OpenID provider's keys cannot be read", 10)
        if kid not in self._keys:
            raise _refused("it is signed with a key that the provider does not name")
        return self._keys[kid]

    async def _ask(self) -> None:
        async with self._asking:
            now = self._clock()
            if self._asked is not None and now - self._asked < ASK_AGAIN_S:
                return
            self._asked = now
            try:
                text = await asyncio.to_thread(self._fetch)
                self._keys = _read_keys(text)
                self._stale_at = now + KEYS_KEPT_S
            except _UNREADABLE as error:
                log.warning("api_oidc_keys", error=f"{type(error).__name__}: {error}")


def tokens_of(settings: Settings) -> OidcTokens | None:
    """What the settings ask for. Raises `SettingsError` when it is not whole."""
    if not settings.api_oidc_issuer:
        return None
    if not settings.api_oidc_audience:
        raise SettingsError(
            "CASEWORKS_API_OIDC_ISSUER is set without CASEWORKS_API_OIDC_AUDIENCE",
            hint="name the audience that tokens for this API carry",
        )
    return OidcTokens(settings, _fetch_of(settings))


def _fetch_of(settings: Settings) -> Fetch:
    """From a file, the address that is set, or the one that the issuer tells."""
    place, issuer = settings.api_oidc_jwks, settings.api_oidc_issuer.rstrip("/")
    if place and "://" not in place:
        return Path(place).read_bytes

    def fetch() -> bytes:
        address = place
        if not address:
            about = json.loads(_get(f"{issuer}/.well-known/openid-configuration"))
            address = str(about["jwks_uri"])
        return _get(address)

    return fetch


def _get(address: str) -> bytes:
    if not address.startswith(("https://", "http://")):
        raise ValueError(f"{address} is no web address")
    asked = Request(address, headers={"Accept": "application/json"})  # noqa: S310 - checked above
    try:
        with urlopen(asked, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310 - checked above
            found: bytes = answer.read(KEYS_BYTES_MAX)
    except URLError as error:
        raise OSError(f"{address}: {error.reason}") from None
    return found


def _read_keys(text: bytes) -> dict[str, Any]:
    """The signing keys by their id. One key that is not understood hides no other."""
    found = {}
    for each in jwt.PyJWKSet.from_dict(json.loads(text)).keys:
        if each.key_type != "oct" and each.public_key_use in (None, "sig"):
            found[each.key_id or ""] = each
    return found


def _claim(claims: dict[str, Any], path: str) -> Any:
    """A claim by its name, or by a path like `realm_access.roles`."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _roles(said: Any) -> frozenset[str]:
    names = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(name for name in names if name in ROLES)


def _name(said: Any) -> str:
    if not isinstance(said, str) or not 0 < len(said) <= NAME_CHARS_MAX or not said.isprintable():
        raise _refused(f"its subject is not 1 to {NAME_CHARS_MAX} printable characters")
    return said


def _tenant(said: Any) -> str | None:
    """What cannot be read must not be read as: all tenants."""
    if said is not None and (not isinstance(said, str) or not said):
        raise _refused("its tenant is no text")
    return said


def _refused(why: str) -> Problem:
    told = {"WWW-Authenticate": f'{CHALLENGE["WWW-Authenticate"]}, error="invalid_token"'}
    return Problem("token-refused", why, headers=told)
