"""Runs one loop on its own OS thread.

What an operation means stands in `events.dispatch`; here is only what a thread adds: rebalances
that arrive in the middle of a take, an orderly end, and what becomes of an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

from events.broker import Taken, TopicPartition
from events.dispatch import Handles, Listener, advance, perform, serve_revoke
from events.errors import CaseworksError
from events.logs import get_logger
from events.loop import Loop, Operation, Take

log = get_logger(__name__)


class ThreadDriver:
    """One loop, one thread, from `start` until the loop ends, fails or is stopped.

    A stop is seen when the loop yields its next take, which comes within its take's time-out. A
    loop that wants it gets `Revoking` for all it owns, does its last commits, and is closed; then
    the handles are. The thread is a daemon: after `join` timed out, a process may leave it behind
    as if killed, which every loop must stand anyway.

    Args:
        name: Of the thread, and in every note and log line.
        loop_factory: Makes the loop; called on the thread.
        handles_factory: Makes what the loop may use; called on the thread, closed there.
        stop: Ends the loop in order; may be shared by several drivers.
        listener: Hears the loop's notes, and `loop_stopped` or `loop_failed` at the end. Must not
            block.
        wants_revoking: The loop is told before partitions go, to commit a last time.
    """

    def __init__(
        self,
        name: str,
        loop_factory: Callable[[], Loop],
        handles_factory: Callable[[], Handles],
        *,
        stop: Event,
        listener: Listener,
        wants_revoking: bool = False,
    ) -> None:
        self.name = name
        self.error: BaseException | None = None
        """What ended the loop, if it did not end in order."""
        self.last_turn = time.monotonic()
        """When the loop last came to a take, on the monotonic clock: old means stuck."""
        self.started = self.last_turn
        """When the driver was made, on the same clock."""
        self._make_loop = loop_factory
        self._make_handles = handles_factory
        self._stop = stop
        self._listener = listener
        self._wants_revoking = wants_revoking
        self._owned: frozenset[TopicPartition] = frozenset()
        self._revoke_error: BaseException | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the loop still runs."""
        return self._thread.is_alive()

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """The partitions of the loop's last take: none before it has joined its group."""
        return self._owned

    @property
    def exit_code(self) -> int:
        """What the process should exit with for this loop: 0, the error's own code, or 1."""
        if self.error is None:
            return 0
        return self.error.exit_code if isinstance(self.error, CaseworksError) else 1

    def _run(self) -> None:
        try:
            self._live()
        except BaseException as error:
            self.error = error
            log.exception("loop_failed", loop=self.name)
            said = {"loop": self.name, "error": str(error), "exit_code": self.exit_code}
            self._listener("loop_failed", said)
        else:
            self._listener("loop_stopped", {"loop": self.name})

    def _live(self) -> None:
        handles = self._make_handles()
        try:
            handles.note = self._listener
            self._drive(self._make_loop(), handles)
        finally:
            try:
                handles.close()
            except CaseworksError as error:  # the loop has ended; its own error matters more
                log.warning("close_failed", loop=self.name, error=str(error))

    def _drive(self, loop: Loop, handles: Handles) -> None:
        if self._wants_revoking:
            handles.consumer.on_revoke(lambda going: self._revoking(loop, going, handles))
        try:
            operation = next(loop)
            while True:
                if not isinstance(operation, Take):
                    operation = advance(loop, operation, handles)
                elif self._stop.is_set():
                    self._drain(loop, handles)
                    return
                else:
                    operation = self._take(loop, operation, handles)
        except StopIteration:
            return  # it ended by itself

    def _take(self, loop: Loop, take: Take, handles: Handles) -> Operation:
        """Perform a take. An error of the loop while it was told of a revoke comes out here."""
        self.last_turn = time.monotonic()
        try:
            taken = perform(take, handles)
        except CaseworksError as error:
            self._raise_revoke_error()
            return loop.throw(error)
        self._raise_revoke_error()
        assert isinstance(taken, Taken)
        self._owned = frozenset(taken.assignment)
        return loop.send(taken)

    def _revoking(self, loop: Loop, going: frozenset[TopicPartition], handles: Handles) -> None:
        try:
            serve_revoke(loop, going, handles)
        except BaseException as error:  # noqa: BLE001 - it must not cross the client library
            self._revoke_error = error

    def _raise_revoke_error(self) -> None:
        if self._revoke_error is not None:
            raise self._revoke_error

    def _drain(self, loop: Loop, handles: Handles) -> None:
        if self._wants_revoking and self._owned:
            serve_revoke(loop, self._owned, handles)
        loop.close()
