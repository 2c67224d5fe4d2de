"""Who is in a group and what each member has, for whoever asks again and again.

By the library's older call, on a thread that can be left behind: the reasons stand in
`events.kafka.departed`. The assignment of a member is a blob of the client's own protocol.
Source: https://kafka.apache.org/protocol, `ConsumerProtocolAssignment`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from confluent_kafka.admin import AdminClient

from events.broker import Roster, TopicPartition
from events.errors import RetriableError
from events.kafka.aside import Aside
from events.kafka.config import Config
from events.kafka.errors import translated

ANSWER_TIMEOUT_S = 2.0
LOOK_TIMEOUT_S = 4.0
"""After which a question is given up, and its thread and client left behind."""


class Rosters:
    """Asks with one client until that one does not answer; owned by one thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client: AdminClient | None = None
        self._aside: Aside | None = None

    def of(self, group: str) -> Roster:
        """The members of a group; blocks for `LOOK_TIMEOUT_S` at most. Raises `RetriableError`."""
        found: list[Roster] = []

        def look() -> None:
            client = self._client = self._client or AdminClient(self._config)
            client.poll(0)  # the library's log lines
            listed = super(AdminClient, client).list_groups(group, ANSWER_TIMEOUT_S)
            members = [each for one in listed if one.id == group for each in one.members]
            owned = (at for each in members for at in partitions_in(each.assignment or b""))
            found.append(Roster(len(members), frozenset(owned)))

        where = f"members of {group}"
        self._aside = self._aside or Aside("rosters")
        try:
            with translated(where):
                self._aside.run(look, LOOK_TIMEOUT_S)
        except TimeoutError:
            self.close()
            raise RetriableError(f"{where}: no answer for {LOOK_TIMEOUT_S} s") from None
        return found[0]

    def close(self) -> None:
        """Let go of client and thread; does not wait."""
        if self._aside is not None:
            self._aside.close()
        self._aside = self._client = None


def partitions_in(blob: bytes) -> Iterator[TopicPartition]:
    """What an assignment names; nothing for one that is cut off or of no known kind."""
    try:
        _version, topics = struct.unpack_from(">hi", blob)
        at = 6
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", blob, at)
            name = blob[at + 2 : at + 2 + length].decode()
            (count,) = struct.unpack_from(">i", blob, at + 2 + length)
            at += 6 + length
            for number in struct.unpack_from(f">{count}i", blob, at):
                yield TopicPartition(name, number)
            at += 4 * count
    except (struct.error, UnicodeDecodeError):
        return
