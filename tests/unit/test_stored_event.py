"""The event of a case, of which only what is asked for is read."""

from __future__ import annotations

import pytest

from events.envelope import travelling_of
from schemas.base import instant
from schemas.event import Event
from schemas.stored_event import StoredEvent

NOW = 1_700_000_000.25
FULL = Event(
    id="e-1",
    source="/shop",
    type="ticket.created",
    time=instant(NOW),
    subject="s",
    data={"x": [1, 2.5, None, "ö"], "at": "2023-11-14T22:13:20Z"},
    tenant="t",
    priority="urgent",
    deadline=instant(NOW + 60),
    dataclass="pii",
    traceparent="00-1-2-01",
)
LEAN = Event(id="e-2", source="/shop", type="ticket.created", time=instant(NOW))


@pytest.mark.parametrize("event", [FULL, LEAN])
@pytest.mark.parametrize("compact", [False, True])
def test_every_attribute_is_that_of_the_event(event: Event, compact: bool) -> None:
    text = event.to_compact_json() if compact else event.to_json()

    for name in Event.model_fields:
        assert getattr(StoredEvent(text), name) == getattr(event, name)
    assert StoredEvent(text) == event
    assert StoredEvent(text).model() == event
    assert StoredEvent(text).ref() == event.ref()
    assert StoredEvent(text).ref().to_json() == event.ref().to_json()
    assert travelling_of(StoredEvent(text)) == travelling_of(event)


def test_it_goes_on_as_it_came() -> None:
    assert StoredEvent.of(FULL).kept_json() == FULL.to_json()
    assert StoredEvent(b'{"id" : "x"}').kept_json() == b'{"id" : "x"}'


def test_two_are_the_same_however_they_are_written() -> None:
    assert StoredEvent(LEAN.to_json()) == StoredEvent(LEAN.to_compact_json())
    assert StoredEvent(LEAN.to_json()) != StoredEvent(FULL.to_json())


def test_it_is_read_no_sooner_than_it_is_asked_for() -> None:
    event = StoredEvent(b'{"id":"e","source":"/s","type":"t"}')

    assert event.kept_json()
    with pytest.raises(ValueError, match="time"):
        _ = event.subject


def test_it_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError, match="elsewhere"):
        _ = StoredEvent.of(FULL).elsewhere
