"""Who moved the positions of a group last and is not one of its members any more.

Whoever dies inside a transaction hides what it wrote, and all that comes behind it, until the
broker's own time-out (10 to 20 s). Ending it for him takes his transactional id and the knowledge
that he is gone. The id stands as metadata beside each position, which can be read although an open
transaction is about to move it; the members of a group are known to its coordinator on the broker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from events.broker import TopicPartition
from events.errors import RetriableError
from events.kafka.config import Config
from events.kafka.errors import translated

ANSWER_TIMEOUT_S = 1.0
UUID_LENGTH = len("-") + 36
"""The broker calls a named member by its name, a dash and a UUID."""


def writers_of(
    config: Config, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, str]:
    """By whom each position was committed in a transaction, as far as anybody said so.

    *config*: of a reader of what is not committed. Raises `RetriableError`.
    """
    asked = [ck.TopicPartition(*at) for at in partitions]
    with (
        translated(f"who moved the positions of {group}"),
        closing(ck.Consumer({**config, "group.id": group})) as client,
    ):
        return metadata_in(client.committed(asked, timeout=ANSWER_TIMEOUT_S))


def metadata_in(answer: Iterable[Any]) -> dict[TopicPartition, str]:
    """What stands beside committed positions."""
    return {
        TopicPartition(each.topic, each.partition): each.metadata
        for each in answer
        if each.error is None and each.metadata
    }


def not_members(config: Config, group: str, me: str, names: Collection[str]) -> frozenset[str]:
    """Those of these names under which nobody is in the group.

    An answer in which *me* is missing says nothing of the others. Raises `RetriableError`.

    By the library's older call: a newer one (describe groups) that is open while its broker goes
    away and comes back fails an assertion that ends the process.
    """
    where = f"members of {group}"
    with translated(where):
        client = AdminClient(config)
        found = super(AdminClient, client).list_groups(group, ANSWER_TIMEOUT_S)
    ids = {str(m.id) for each in found if each.id == group for m in each.members}
    there = {member_id[:-UUID_LENGTH] for member_id in ids}
    if me not in there:
        raise RetriableError(f"{where}: {me} is not among those who were told")
    return frozenset(names) - there
