"""Waiting for results: one reader of all result topics (and of alerts), for all who wait.

It reads from where the topics end when it begins, on a thread of its own. What nobody waits for is
let go without being decoded: the id of a result names its case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from threading import Event as Flag
from threading import Thread

from caseworks.client import delivered
from caseworks.scan import Follower, ends, partition_counts, partitions_of
from events.broker import Broker, Message
from events.dead_letters import read_letter
from events.errors import CaseworksError
from events.logs import get_logger
from events.settings import Settings
from schemas.alert import Alert
from schemas.event import case_id_of
from schemas.result import Result

TAKE_S = 0.05
AGAIN_S = 1.0

log = get_logger(__name__)


class RefusedError(Exception):
    """Intake refused the event after all; `reason` is that of its dead letter."""

    def __init__(self, reason: str, told: str) -> None:
        super().__init__(told)
        self.reason = reason


class Waiting:
    """Who waits for which case. Of one event loop; `start` and `close` from it."""

    def __init__(self, broker: Broker, settings: Settings, workflows: Sequence[str]) -> None:
        self._broker = broker
        self._settings = settings
        topics = settings.topics
        self._dead = topics.dlq(topics.events)
        self._alerts = topics.alerts
        self._topics = [*(topics.results(name) for name in workflows), self._dead, self._alerts]
        self.on_alert: Callable[[Alert], None] = lambda _alert: None
        """Hears of each alert of analytics, on the event loop."""
        self._waiting: dict[str, list[asyncio.Future[Result]]] = {}
        self._stop = Flag()
        self._thread: Thread | None = None
        self.trouble = "the results are not read yet"
        """Why nobody can be told of results now; empty: they can."""

    def start(self) -> None:
        """Begin to read."""
        loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run, args=(loop,), name="results", daemon=True)
        self._thread.start()

    def expect(self, case_id: str) -> asyncio.Future[Result]:
        """What will hold the case's next result; call it before the event is published."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(case_id, []).append(future)
        return future

    async def wait(
        self, case_id: str, future: asyncio.Future[Result], timeout_s: float
    ) -> Result | None:
        """The result, or `None` when it did not come in time. Raises `RefusedError`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            self.forget(case_id, future)

    def forget(self, case_id: str, future: asyncio.Future[Result]) -> None:
        """Nobody waits for it any more."""
        found = self._waiting.get(case_id, [])
        if future in found:
            found.remove(future)
        if not found:
            self._waiting.pop(case_id, None)
        future.cancel()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    # --- on the thread

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stop.is_set():
            try:
                self._follow(loop)
            except CaseworksError as error:
                self.trouble = f"the results cannot be read: {error}"
                log.warning("api_results", error=str(error))
            except Exception:  # else nobody would hear of results again
                self.trouble = "the results cannot be read: see the log"
                log.exception("api_results")
            self._stop.wait(AGAIN_S)

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        starts = ends(self._broker, partitions_of(partition_counts(self._broker), self._topics))
        namespace = self._settings.namespace
        with closing(Follower(self._broker, self._topics, starts, namespace=namespace)) as follower:
            while not self._stop.is_set():
                found = follower.take(TAKE_S)
                if follower.assigned:
                    self.trouble = ""
                wanted = [each for each in found if self._is_wanted(each)]
                if wanted:
                    with suppress(RuntimeError):  # the loop has ended
                        loop.call_soon_threadsafe(self._deliver, wanted)

    def _is_wanted(self, message: Message) -> bool:
        return message.topic == self._alerts or _case_of(message, self._dead) in self._waiting

    # --- on the loop

    def _deliver(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.topic == self._alerts:
                self._tell(message)
                continue
            case_id = _case_of(message, self._dead)
            for future in self._waiting.pop(case_id, []):
                if future.done():
                    continue
                try:
                    future.set_result(self._said(message))
                except RefusedError as refused:
                    future.set_exception(refused)
                except ValueError as error:
                    log.warning("api_result_unread", case_id=case_id, error=str(error))

    def _tell(self, message: Message) -> None:
        try:
            self.on_alert(Alert.from_json(message.value or b""))
        except ValueError as error:
            log.warning("api_alert_unread", offset=message.offset, error=str(error))

    def _said(self, message: Message) -> Result:
        if message.topic == self._dead:
            letter = read_letter(message)
            raise RefusedError(letter.reason, letter.error or letter.reason)
        return delivered(message).result


def _case_of(message: Message, dead: str) -> str:
    said = message.header("ce_id") or ""
    if message.topic == dead:
        return case_id_of(message.header("ce_source") or "", said)
    return said.rpartition(":")[0]
