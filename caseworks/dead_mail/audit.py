"""The audit of dead letters: what was replayed or dropped, by whom and why, and which runs began.

It is what `list` knows of letters that were handled: the topic of the letters itself never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pydantic import ValidationError

from caseworks.scan import partition_counts, partitions_of, records
from events.broker import Broker, Message, Record
from events.envelope import record_of
from events.errors import PayloadError
from events.settings import Settings
from schemas.letter_audit import LetterHandled, LetterRun

Entry = LetterHandled | LetterRun

MODELS: dict[str, type[Entry]] = {model.ce_type: model for model in (LetterHandled, LetterRun)}


class Audit:
    """The audit as it was when this was made; entries are decoded when they are asked for."""

    def __init__(self, broker: Broker, settings: Settings) -> None:
        """Reads the whole topic; where there is none, nothing was ever handled."""
        self._messages = list(_read(broker, settings))
        self._of_place = {
            (m.key or b"").decode("utf-8", "replace"): m
            for m in self._messages
            if m.header("ce_type") == LetterHandled.ce_type
        }

    def __contains__(self, place: object) -> bool:
        """Whether this letter was replayed or dropped."""
        return place in self._of_place

    def last(self, place: str) -> LetterHandled | None:
        """What was done to a letter last."""
        message = self._of_place.get(place)
        found = None if message is None else _decode(message)
        return found if isinstance(found, LetterHandled) else None

    def entries(self) -> Iterator[Entry]:
        """Everything, the newest first."""
        for message in reversed(self._messages):
            found = _decode(message)
            if found is not None:
                yield found

    def run(self, name: str) -> LetterRun | None:
        """The run that began under this name."""
        key = _key(name)
        for message in self._messages:
            if message.key == key:
                found = _decode(message)
                if isinstance(found, LetterRun):
                    return found
        return None

    def need_run(self, name: str) -> LetterRun:
        """The same. Raises `PayloadError` when none did."""
        found = self.run(name)
        if found is None:
            raise PayloadError("run", f"no replay named {name} was begun here: caseworks dlq log")
        return found


def entry_record(entry: Entry, settings: Settings) -> Record:
    """An entry as it is written."""
    if isinstance(entry, LetterHandled):
        key, ce_id = entry.place, f"{entry.action}:{entry.place}:{entry.at.timestamp()}"
    else:
        key, ce_id = _key(entry.name).decode(), f"run:{entry.name}"
    return record_of(
        entry,
        entry.ce_type,
        topic=settings.topics.letter_audit,
        key=key,
        ce_id=ce_id,
        source="caseworks/cli",
        now=entry.at.timestamp(),
    )


def _read(broker: Broker, settings: Settings) -> Iterator[Message]:
    counts, topic = partition_counts(broker), settings.topics.letter_audit
    if topic not in counts:
        return
    with closing(broker.reader()) as reader:
        for source in partitions_of(counts, [topic]):
            yield from records(reader, source)


def _decode(message: Message) -> Entry | None:
    """An entry; `None` for a record of another kind or version: it says nothing to us."""
    model = MODELS.get(message.header("ce_type") or "")
    try:
        return None if model is None or message.value is None else model.from_json(message.value)
    except ValidationError:
        return None


def _key(name: str) -> bytes:
    return f"run:{name}".encode()
