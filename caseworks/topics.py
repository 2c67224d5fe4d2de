"""Making and checking the topics that an app needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from caseworks.app import App
from events.broker import Broker, TopicState
from events.errors import SetupError
from events.settings import Settings
from events.topics import TopicSpec, catalogue


def specs_of(app: App, settings: Settings) -> tuple[TopicSpec, ...]:
    """Every topic of this app in this namespace."""
    names = [plan.name for plan in app.plans]
    return catalogue(settings.topics, app.agents, names, settings.partitions)


def ensure_topics(app: App, settings: Settings, broker: Broker) -> tuple[str, ...]:
    """Make what is missing, then check; returns what was made.

    An existing namespace keeps the partition count of its inbox: a changelog made new follows it.
    """
    admin = broker.admin()
    try:
        there = admin.topics()
        made = admin.create(_following(specs_of(app, settings), there, settings))
        _check(specs_of(app, settings), admin.topics(), settings)
    finally:
        admin.close()
    return made


def check_topics(app: App, settings: Settings, broker: Broker) -> int:
    """Refuse missing topics and partition counts that do not fit; returns the inbox's count.

    Raises `SetupError` with everything that is wrong, in one line.
    """
    admin = broker.admin()
    try:
        return _check(specs_of(app, settings), admin.topics(), settings)
    finally:
        admin.close()


def _following(
    specs: Sequence[TopicSpec], there: Mapping[str, TopicState], settings: Settings
) -> list[TopicSpec]:
    inbox = there.get(settings.topics.inbox)
    if inbox is None:
        return list(specs)
    return [
        replace(spec, partitions=inbox.partitions) if spec.partitions_fixed else spec
        for spec in specs
    ]


def _check(specs: Sequence[TopicSpec], there: Mapping[str, TopicState], settings: Settings) -> int:
    missing = [spec.name for spec in specs if spec.name not in there]
    if missing:
        names = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise SetupError(
            f"{len(missing)} topics are missing: {names}", hint="caseworks topics create"
        )
    topics = settings.topics
    inbox = there[topics.inbox].partitions
    for name in (topics.cases, topics.effects):
        count = there[name].partitions
        if count != inbox:
            raise SetupError(
                f"{topics.inbox} has {inbox} partitions and {name} has {count}: partition n of "
                "one belongs to partition n of the other",
                hint="choose another CASEWORKS_NAMESPACE, or make both anew with the same count",
            )
    return inbox
