"""Large values are referred to, not copied: Kafka keeps them. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

BODY_BYTES_MAX = 131_072
"""A state or a result above this is kept without its large parts."""
PART_BYTES_MAX = 8_192
"""What is left of it where it stands."""
_LARGE = ("data", "output", "input", "action")


def shortened(value: bytes, place: str) -> bytes:
    """The value, its large parts replaced by `{"omitted_bytes": n, "at": place}`.

    *place* is the record that holds them, `topic/partition/offset`. Raises `ValueError` when it is
    no JSON.
    """
    if len(value) <= BODY_BYTES_MAX:
        return value
    return msgspec.json.encode(_without_large(msgspec.json.decode(value), place))


def _without_large(value: Any, place: str) -> Any:
    if isinstance(value, list):
        return [_without_large(each, place) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _omitted(each, place) if name in _LARGE else _without_large(each, place)
        for name, each in value.items()
    }


def _omitted(value: Any, place: str) -> Any:
    size = len(msgspec.json.encode(value))
    return value if size <= PART_BYTES_MAX else {"omitted_bytes": size, "at": place}
