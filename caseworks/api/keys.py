"""API keys: a file of names, hashes, roles and tenants; read again when it changes."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.errors import SettingsError
from events.logs import get_logger

LOOK_AGAIN_S = 2.0
"""How long a key that was taken out of the file is still accepted at most."""
KEYS_MAX = 1000

log = get_logger(__name__)


class Key(BaseModel):
    """One key as the file has it: the SHA-256 of the secret, never the secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    roles: Annotated[
        tuple[Literal["publish", "read", "decide", "operate"], ...], Field(min_length=1)
    ]
    tenant: Annotated[str | None, Field(min_length=1)] = None
    per_minute: Annotated[int | None, Field(ge=0)] = None
    """Requests; left out: as the settings say; 0: as many as it likes."""
    per_hour: Annotated[int | None, Field(ge=0)] = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: Annotated[tuple[Key, ...], Field(min_length=1, max_length=KEYS_MAX)]


def hash_of(secret: str) -> str:
    """What the file holds of a secret."""
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file. Raises `SettingsError` saying what is wrong with it."""
    try:
        said: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = _File.model_validate(said).keys
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read the API keys {path}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"{path}: {place}: {first['msg']}",
            hint="keys: [{name, sha256, roles: [publish, read, decide, operate], tenant}]",
        ) from None
    for what, values in (
        ("name", [key.name for key in found]),
        ("sha256", [key.sha256 for key in found]),
    ):
        if len(set(values)) < len(values):
            raise SettingsError(f"{path}: two keys have the same {what}")
    return found


class KeyRing:
    """The keys of a file as it is now. A file that turns bad leaves the keys as they were."""

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        """Raises `SettingsError` for a file that cannot be read."""
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._keys = read_keys(path)
        self._looked = clock()

    def find(self, secret: str) -> Key | None:
        """Whose secret it is. Takes the same time for every secret that is not known."""
        self._look()
        asked = hash_of(secret).encode()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256.encode(), asked):
                found = key
        return found

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_AGAIN_S:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        try:
            self._keys = read_keys(self._path)
        except SettingsError as error:
            log.warning("api_keys_unreadable", error=str(error))
        else:
            log.info("api_keys_read", keys=len(self._keys))
        self._stamp = stamp


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
