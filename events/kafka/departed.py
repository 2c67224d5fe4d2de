"""Who moved the positions of a group last and is not one of its members any more.

Whoever dies inside a transaction hides what it wrote, and all that comes behind it, until the
broker's own time-out (10 to 20 s). Ending it for him takes his transactional id and the knowledge
that he is gone. The id stands as metadata beside each position, which can be read although an open
transaction is about to move it; the members of a group are known to its coordinator on the broker.

Asked seldom, and just when brokers come and go. So each question is asked by new clients, which
remember nothing of before an outage, on a thread that can be left behind: the library's call for
members has no time limit of its own while a broker is away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from events.broker import TopicPartition
from events.errors import RetriableError
from events.kafka.aside import Aside
from events.kafka.config import Config
from events.kafka.errors import translated

ANSWER_TIMEOUT_S = 1.0
LOOK_TIMEOUT_S = 3.0
"""After which both questions together are given up."""
UUID_LENGTH = len("-") + 36
"""The broker calls a named member by its name, a dash and a UUID."""


def departed(
    config: Config,
    group: str,
    me: str,
    writers: Mapping[TopicPartition, str],
    partitions: Collection[TopicPartition],
) -> frozenset[str]:
    """Who moved these positions in a transaction last, and is neither a member nor *me*.

    *config*: of a reader of what is not committed. *writers*: those that are known already. Blocks
    for `LOOK_TIMEOUT_S` at most. Raises `RetriableError`.
    """
    quick = {**config, "group.id": group, "socket.timeout.ms": round(ANSWER_TIMEOUT_S * 1000)}
    found: list[frozenset[str]] = []

    def look() -> None:
        unknown = [at for at in partitions if at not in writers]
        known = {**writers, **(_writers_of(quick, group, unknown) if unknown else {})}
        names = {known.get(at, me) for at in partitions} - {me}
        found.append(_not_members(quick, group, me, names) if names else frozenset())

    where = f"those who left {group}"
    aside = Aside(where)
    try:
        with translated(where):
            aside.run(look, LOOK_TIMEOUT_S)
    except TimeoutError:
        raise RetriableError(f"{where}: no answer for {LOOK_TIMEOUT_S} s") from None
    finally:
        aside.close()
    return found[0]


def metadata_in(answer: Iterable[Any]) -> dict[TopicPartition, str]:
    """What stands beside committed positions."""
    return {
        TopicPartition(each.topic, each.partition): each.metadata
        for each in answer
        if each.error is None and each.metadata
    }


def _writers_of(
    config: Config, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, str]:
    asked = [ck.TopicPartition(*at) for at in partitions]
    with translated(f"who moved {group}"), closing(ck.Consumer(config)) as client:
        return metadata_in(client.committed(asked, timeout=ANSWER_TIMEOUT_S))


def _not_members(config: Config, group: str, me: str, names: Collection[str]) -> frozenset[str]:
    """Those under whose name nobody is in the group.

    An answer in which *me* is missing says nothing of the others. By the library's older call: a
    newer one (describe groups) that is open while its broker goes away and comes back fails an
    assertion that ends the process.
    """
    where = f"members of {group}"
    with translated(where):
        client = AdminClient(config)
        listed = super(AdminClient, client).list_groups(group, ANSWER_TIMEOUT_S)
    ids = {str(m.id) for each in listed if each.id == group for m in each.members}
    there = {member_id[:-UUID_LENGTH] for member_id in ids}
    if me not in there:
        raise RetriableError(f"{where}: {me} is not among those who were told")
    return frozenset(names) - there
