"""Which dead letters are meant: the filters of the command line, asked of raw records. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from caseworks.dead_mail.letters import (
    agent_of,
    case_id_of,
    dead_of,
    kind_of,
    payload_of,
    place_of,
    texts,
)
from coordinator.expressions import ExpressionError, compile_expression, is_true
from events.broker import Message
from events.errors import PayloadError
from events.topics import Topics
from schemas.base import instant
from schemas.dead_letter import PREFIX
from schemas.letter_audit import LetterFilter

SEES = ("agent", "headers", "key", "letter", "payload", "place")
"""The names of a `where` expression."""
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_time(text: str, now: float) -> datetime | None:
    """An ISO time (of UTC where it names no zone), or how long ago: `90s`, `30m`, `2h`, `7d`.

    Raises `PayloadError` for other text; empty text is no time.
    """
    if not text:
        return None
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if ago:
        return instant(now) - timedelta(seconds=int(ago[1]) * _UNITS_S[ago[2]])
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        told = f"{text!r} is no time: say 2h, 7d or 2026-05-31T12:00:00Z"
        raise PayloadError("time", told) from None
    return said if said.tzinfo else said.replace(tzinfo=UTC)


class Sieve:
    """A checked filter. Nothing of a record is decoded that no filter asks for."""

    def __init__(self, chosen: LetterFilter, topics: Topics) -> None:
        """Raises `DeclarationError` or `PayloadError` for a `where` that means nothing."""
        self.chosen = chosen
        self.topics = topics
        self.unfit = 0
        """Letters whose values the `where` expression could not work with: not meant."""
        self._where = compile_expression(chosen.where) if chosen.where else None
        if self._where is not None and (odd := self._where.names - set(SEES)):
            told = f"--where knows {', '.join(SEES)}, not {', '.join(sorted(odd))}"
            raise PayloadError("where", told)
        self._since_ms = _ms(chosen.since)
        self._until_ms = _ms(chosen.until)

    def takes_topic(self, topic: str) -> bool:
        """Whether any letter of this topic may be meant."""
        chosen = self.chosen
        if chosen.agent and agent_of(topic, self.topics) != chosen.agent:
            return False
        return not chosen.topic or topic in (chosen.topic, self.topics.dlq(chosen.topic))

    def takes(self, message: Message) -> bool:
        """Whether this letter is meant."""
        chosen = self.chosen
        if self._since_ms is not None and message.timestamp_ms < self._since_ms:
            return False
        if self._until_ms is not None and message.timestamp_ms >= self._until_ms:
            return False
        if chosen.reason and (message.header(f"{PREFIX}reason") or "unknown") != chosen.reason:
            return False
        if chosen.tenant and message.header("ce_tenant") != chosen.tenant:
            return False
        if chosen.case_id and self._case_id(message) != chosen.case_id:
            return False
        return self._where is None or self._fits(message)

    def _case_id(self, message: Message) -> str:
        return case_id_of(message, kind_of(message.topic, self.topics))

    def _fits(self, message: Message) -> bool:
        assert self._where is not None
        looks: dict[str, Callable[[], Any]] = {
            "agent": lambda: agent_of(message.topic, self.topics),
            "headers": lambda: texts(message.headers),
            "key": lambda: (message.key or b"").decode("utf-8", "backslashreplace"),
            "letter": lambda: dead_of(message).letter.model_dump(mode="json"),
            "payload": lambda: _payload(message),
            "place": lambda: place_of(message),
        }
        try:
            return is_true(self._where.of({name: looks[name]() for name in self._where.names}))
        except ExpressionError:
            self.unfit += 1
            return False


def _payload(message: Message) -> Any:
    try:
        return payload_of(message.value)
    except ValueError:
        return None


def _ms(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp() * 1000
