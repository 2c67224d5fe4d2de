"""Idempotency keys: the same request again is the same answer, another one is a mistake.

What is remembered here is bounded and of this process. What makes a repetition harmless after a
restart as well is that the ids of events and signals are made of the key.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from caseworks.api.auth import Caller
from caseworks.api.problems import Problem

KEYS_MAX = 20_000
KEY_CHARS_MAX = 255


@dataclass(slots=True)
class _Seen:
    fingerprint: bytes
    answer: tuple[int, bytes, tuple[tuple[bytes, bytes], ...]] | None = None


class Idempotency:
    """The newest keys, and what was answered. Of one event loop."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._seen: OrderedDict[tuple[str, str, str], _Seen] = OrderedDict()

    def begin(self, caller: Caller, route: str, key: str, body: bytes) -> _Seen:
        """What is known of this key; raises `Problem` when it stands for something else."""
        place = (caller.name, route, key)
        print_ = blake2b(body, digest_size=16).digest()
        seen = self._seen.get(place)
        if seen is None:
            seen = self._seen[place] = _Seen(print_)
            while len(self._seen) > self._keys_max:
                self._seen.popitem(last=False)
            return seen
        self._seen.move_to_end(place)
        if seen.fingerprint != print_:
            raise Problem("invalid", f"the idempotency key {key!r} stands for another request")
        return seen

    def forget(self, caller: Caller, route: str, key: str) -> None:
        """Nothing was done under this key: what is mended may be sent under it."""
        self._seen.pop((caller.name, route, key), None)


def key_of(value: str | bytes | None) -> str | None:
    """The header `Idempotency-Key` as it counts. Raises `Problem` for one that is none."""
    if value is None:
        return None
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    text = text.strip().strip('"')
    if not text or len(text) > KEY_CHARS_MAX or not text.isprintable():
        told = f"an idempotency key is 1 to {KEY_CHARS_MAX} printable characters"
        raise Problem("bad-request", told)
    return text
