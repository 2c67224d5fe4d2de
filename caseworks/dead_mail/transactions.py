"""Writing what a replay asks for and the audit of it in one transaction: both, or neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from events.broker import Broker, Record, TopicPartition, TransactionalProducer
from events.errors import (
    AbortableError,
    BrokerError,
    FencedError,
    RetriableError,
    SetupError,
    UnstableError,
)

TRIES_MAX = 5
"""Of one call that the broker may answer when it is repeated, and of one transaction."""


class Transactions:
    """Transactions under one name; whoever takes the name later fences this one."""

    def __init__(self, broker: Broker, name: str) -> None:
        """May block until the last transaction of the name has ended. Raises `SetupError`."""
        self._name = name
        self._producer: TransactionalProducer = broker.transactional(name)
        self._is_open = False
        self._again(self._producer.init)

    def write(
        self,
        records: Sequence[Record],
        positions: Mapping[TopicPartition, int] | None = None,
        membership: Callable[[], Any] | None = None,
    ) -> None:
        """Records and a group's *positions*, all or nothing; *membership* is asked for each try.

        Raises `SetupError`: when the broker refuses, or another process took the name.
        """
        for left in reversed(range(TRIES_MAX)):
            try:
                self._write(records, positions, membership)
            except AbortableError as error:
                self._again(self._producer.abort)
                self._is_open = False
                if not left:
                    raise self._failed(error) from None
            else:
                return

    def close(self) -> None:
        """Abort what is open, since it would hold up the readers of its topics; free the client."""
        with suppress(BrokerError):
            if self._is_open:
                self._producer.abort()
        self._producer.close()

    def _write(
        self,
        records: Sequence[Record],
        positions: Mapping[TopicPartition, int] | None,
        membership: Callable[[], Any] | None,
    ) -> None:
        self._again(self._producer.begin)
        self._is_open = True
        self._again(lambda: self._producer.produce(records))
        if positions and membership is not None:
            given = membership()
            self._again(lambda: self._producer.send_offsets(positions, given))
        self._again(self._producer.commit)
        self._is_open = False

    def _again(self, call: Callable[[], object]) -> None:
        for left in reversed(range(TRIES_MAX)):
            try:
                call()
            except FencedError:
                told = f"another process took over {self._name}: that one goes on"
                raise SetupError(told, hint="caseworks dlq log") from None
            except (RetriableError, UnstableError) as error:
                if not left:
                    raise self._failed(error) from None
            else:
                return

    def _failed(self, error: Exception) -> SetupError:
        return SetupError(
            f"not acknowledged: {error}", hint="run it again: what was done is not done twice"
        )
