"""What a store must know of the changelog that it is a copy of."""

from __future__ import annotations

from dataclasses import dataclass

from events.broker import Broker
from events.settings import Settings

TOMBSTONES_MS = 86_400_000
"""The broker's own default."""


@dataclass(frozen=True, slots=True)
class Changelog:
    """One changelog."""

    identity: str
    tombstones_s: float
    """How long a tombstone is kept at least, so that every reader sees it."""


def changelog_of(settings: Settings, broker: Broker) -> Changelog:
    """Ask for it. Raises `SetupError` when the topic or the broker is not there."""
    admin, topic = broker.admin(), settings.topics.cases
    try:
        config = admin.topics()[topic].config
        kept_ms = int(config.get("delete.retention.ms", TOMBSTONES_MS))
        return Changelog(admin.identity(topic), kept_ms / 1000)
    finally:
        admin.close()
