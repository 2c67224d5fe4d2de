"""Who asks, and what they may: API keys from a file, tokens of an OpenID provider, roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from caseworks.api.keys import Key
from caseworks.api.problems import Problem
from events.errors import SetupError

Role = Literal["publish", "read", "decide", "operate"]
ROLES: tuple[Role, ...] = ("publish", "read", "decide", "operate")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="caseworks"'}
_DOTS_OF_A_TOKEN = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `operate` includes every role; *tenant*: the only one they see."""

    name: str
    roles: frozenset[str]
    tenant: str | None = None
    per_minute: int | None = None
    """Requests; `None`: as the settings say; 0: as many as they like."""
    per_hour: int | None = None

    def may(self, role: Role) -> bool:
        """Whether the caller has this role."""
        return role in self.roles or "operate" in self.roles

    def need(self, role: Role) -> None:
        """Raises `Problem` without the role."""
        if not self.may(role):
            had = ", ".join(sorted(self.roles)) or "none"
            raise Problem("forbidden", f"this needs the role {role}; {self.name} has: {had}")

    def need_all_tenants(self) -> None:
        """Raises `Problem` for a key that belongs to one tenant: this is about all of them."""
        if self.tenant is not None:
            raise Problem("forbidden", f"this is about every tenant; this key is of {self.tenant}")

    def sees(self, tenant: str | None) -> bool:
        """Whether something of this tenant is theirs to see."""
        return self.tenant is None or tenant == self.tenant


DEVELOPER = Caller("developer", frozenset({"operate"}), per_minute=0, per_hour=0)
"""Everybody, where no keys are set and only this machine can ask."""


class Keys(Protocol):
    """Knows API keys; `caseworks.api.keys.KeyRing` reads them from a file."""

    def find(self, secret: str) -> Key | None:
        """Whose secret it is."""


class Tokens(Protocol):
    """Reads the tokens of an OpenID provider."""

    async def caller(self, token: str) -> Caller:
        """Whose token it is. Raises `Problem`."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Finds out who asks. Without keys and tokens everybody is the developer."""

    keys: Keys | None = None
    tokens: Tokens | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody needs to say who they are."""
        return self.keys is None and self.tokens is None

    async def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who sends these headers. Raises `Problem`."""
        if self.is_open:
            _need_this_machine(headers)
            return DEVELOPER
        secret = _secret(headers)
        if self.tokens is not None and secret.count(".") == _DOTS_OF_A_TOKEN:
            return await self.tokens.caller(secret)
        found = self.keys.find(secret) if self.keys is not None else None
        if found is None:
            raise Problem("unauthenticated", "the key is not known", headers=CHALLENGE)
        return Caller(
            found.name,
            frozenset(found.roles),
            found.tenant,
            found.per_minute,
            found.per_hour,
        )


def _need_this_machine(headers: Mapping[bytes, bytes]) -> None:
    """A page of another site, open in a browser here, could ask in the developer's name.

    It says so by its `Origin`, or, where its own name was made to mean this machine, by `Host`.
    Raises `Problem`.
    """
    host, origin = headers.get(b"host"), headers.get(b"origin")
    for said in (host and b"//" + host, origin):
        if said and _host_of(said.decode("latin-1")) not in LOOPBACK:
            told = "without keys only pages and programs of this machine may ask"
            raise Problem("forbidden", told)


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _secret(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-api-key")
    if given is None:
        scheme, _, rest = headers.get(b"authorization", b"").partition(b" ")
        given = rest.strip() if scheme.lower() == b"bearer" else b""
    if not given:
        told = "send `Authorization: Bearer <key or token>`, or `X-API-Key: <key>`"
        raise Problem("unauthenticated", told, headers=CHALLENGE)
    return given.decode("latin-1")


def check_exposure(host: str, gate: Gate) -> None:
    """An API that everybody may use is for this machine alone. Raises `SetupError`."""
    if gate.is_open and host not in LOOPBACK:
        raise SetupError(
            f"the API would listen on {host} without keys: whoever reaches it could do everything",
            hint="set CASEWORKS_API_KEYS_FILE or CASEWORKS_API_OIDC_ISSUER, or listen on 127.0.0.1",
        )
