"""The event of a case as its coordinator holds it: bytes, of which only what is asked for is read.

Most commands ask for nothing of it, or for what travels along; its data, the larger part of many a
case, goes into tasks as it stands.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from schemas.event import Event, EventRef, Priority
from schemas.lean import LeanEvent

_NULL = msgspec.Raw(b"null")


class _Attributes(LeanEvent, frozen=True, gc=False):
    """Its data is left as it stands."""

    data: msgspec.Raw = _NULL


class StoredEvent:
    """Has the attributes of a `schemas.event.Event`, and reads them when the first is asked for.

    Immutable, like what it stands for. Asking raises `ValueError` where the bytes are no event.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str | None
    data: Any
    tenant: str | None
    priority: Priority
    deadline: datetime | None
    dataclass: str | None
    traceparent: str | None

    def __init__(self, text: bytes) -> None:
        """*text* is the event as JSON."""
        self._text = text

    @classmethod
    def of(cls, event: Event) -> StoredEvent:
        """An event that was read already."""
        return cls(event.kept_json())

    def kept_json(self) -> bytes:
        """The event as UTF-8 JSON, as it came."""
        return self._text

    def model(self) -> Event:
        """The event as the contract has it."""
        return Event.from_json(self._text)

    def ref(self) -> EventRef:
        """The event without its data."""
        return EventRef.trusted(
            id=self.id, source=self.source, type=self.type, subject=self.subject, time=self.time
        )

    def __getattr__(self, name: str) -> Any:
        """An attribute that was not read before: all of them are, but for the data."""
        if name not in _Attributes.__struct_fields__:
            raise AttributeError(name)
        read = _attributes(self._text)
        if name == "data":
            self.data = msgspec.json.decode(read.data)
            return self.data
        for each in _BUT_DATA:
            self.__dict__[each] = getattr(read, each)
        return self.__dict__[name]

    def __eq__(self, other: object) -> bool:
        """Whether both are the same event, however it is written."""
        if isinstance(other, StoredEvent):
            return self._text == other._text or self.model() == other.model()
        return self.model() == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"StoredEvent({self._text!r})"


_attributes = msgspec.json.Decoder(_Attributes).decode
_BUT_DATA = tuple(name for name in _Attributes.__struct_fields__ if name != "data")
