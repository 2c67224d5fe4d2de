"""A business event from outside, and the name of the case that it opens."""

from __future__ import annotations

from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from schemas.base import Instant, Message

Priority = Literal["urgent", "normal", "deferred"]


def case_id_of(source: str, event_id: str) -> str:
    """The case of an event: uuid5(NAMESPACE_URL, source + newline + id), so duplicates meet."""
    return str(uuid5(NAMESPACE_URL, f"{source}\n{event_id}"))


class EventRef(Message):
    """Which event a result answers."""

    id: str
    source: str
    type: str
    subject: str | None = None
    time: Instant


class Event(EventRef):
    """A CloudEvents 1.0 event with the extensions that travel along its whole case."""

    data: Any = None
    tenant: str | None = None
    priority: Priority = "normal"
    deadline: Instant | None = None
    dataclass: str | None = None
    traceparent: str | None = None

    @property
    def case_id(self) -> str:
        """The id of the case that this event opens."""
        return case_id_of(self.source, self.id)

    def ref(self) -> EventRef:
        """The event without its data."""
        return EventRef.trusted(
            id=self.id, source=self.source, type=self.type, subject=self.subject, time=self.time
        )
