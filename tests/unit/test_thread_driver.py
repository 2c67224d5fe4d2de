"""The thread driver over fakes at the ports: takes, revokes, errors and the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Event
from typing import Any, cast

import pytest

from events.broker import Broker, OffsetAndMetadata, RevokeHandler, Taken, TopicPartition
from events.dispatch import Handles
from events.errors import DuplicateNameError, FatalBrokerError, RetriableError
from events.loop import CommitOffsets, Loop, Note, Operation, Revoking, Take
from events.thread_driver import ThreadDriver

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
TAKE = Take(10, 0.01)
WAIT_S = 10.0


class FakeConsumer:
    """Plays a script: each step of it answers one take. It stops the driver when it ends."""

    def __init__(self, stop: Event, *script: Callable[[FakeConsumer], Taken]) -> None:
        self.script = list(script)
        self.stop = stop
        self.commits: list[Mapping[TopicPartition, int]] = []
        self.handler: RevokeHandler | None = None
        self.closed = False
        self.refusal: Exception | None = None

    def take(self, n: int, timeout_s: float) -> Taken:
        if len(self.script) <= 1:
            self.stop.set()
        return self.script.pop(0)(self)

    def on_revoke(self, handler: RevokeHandler) -> None:
        self.handler = handler

    def revoke(self, *partitions: TopicPartition) -> None:
        if self.handler is not None:
            self.handler(frozenset(partitions))

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        return dict.fromkeys(partitions)

    def departed(self, partitions: Iterable[TopicPartition]) -> frozenset[str]:
        raise NotImplementedError(partitions)

    def open(self, positions: Mapping[TopicPartition, int | None]) -> None: ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None: ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None: ...

    def resumed_from(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        raise NotImplementedError(partitions)

    def commit(
        self,
        positions: Mapping[TopicPartition, int],
        metadata: Mapping[TopicPartition, str] | None = None,
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.commits.append(positions)

    def group_metadata(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class World:
    """A driver with what it is given and what it said."""

    def __init__(self, *script: Callable[[FakeConsumer], Taken]) -> None:
        self.stop = Event()
        self.consumer = FakeConsumer(self.stop, *script)
        self.heard: list[tuple[str, Mapping[str, Any]]] = []
        self.seen: list[object] = []
        self.closed_at: Operation | None = None

    def run(self, loop: Callable[[], Loop], *, wants_revoking: bool = False) -> ThreadDriver:
        driver = ThreadDriver(
            "loop",
            loop,
            lambda: Handles(cast("Broker", None), lambda: 0.0, self.consumer),
            stop=self.stop,
            listener=lambda name, fields: self.heard.append((name, fields)),
            wants_revoking=wants_revoking,
        )
        driver.start()
        assert driver.join(WAIT_S)
        return driver

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    def watch(self) -> Loop:
        """Takes for ever, keeps the answers, and commits what goes."""
        operation: Operation = TAKE
        try:
            while True:
                answer = yield operation
                self.seen.append(answer)
                operation = TAKE
                if isinstance(answer, Revoking):
                    operation = CommitOffsets(dict.fromkeys(answer.partitions, 7))
        except GeneratorExit:
            self.closed_at = None if self.consumer.closed else operation
            raise


def owning(*partitions: TopicPartition) -> Callable[[FakeConsumer], Taken]:
    return lambda _: Taken((), dict.fromkeys(partitions, 1))


def revoking_then_owning(
    gone: TopicPartition, *kept: TopicPartition
) -> Callable[[FakeConsumer], Taken]:
    def step(consumer: FakeConsumer) -> Taken:
        consumer.revoke(gone)
        return owning(*kept)(consumer)

    return step


def failing(error: Exception) -> Callable[[FakeConsumer], Taken]:
    def step(_: FakeConsumer) -> Taken:
        raise error

    return step


def test_a_stopped_loop_is_closed_at_its_take_and_its_handles_after_it() -> None:
    world = World(owning(P0), owning(P0))
    driver = world.run(world.watch, wants_revoking=True)
    assert (driver.exit_code, driver.error, driver.alive) == (0, None, False)
    assert world.closed_at == TAKE
    assert world.consumer.closed
    assert world.names() == ["loop_stopped"]


def test_a_loop_that_wants_it_commits_what_it_owns_before_the_stop() -> None:
    world = World(owning(P0, P1))
    world.run(world.watch, wants_revoking=True)
    assert world.seen[1] == Revoking(frozenset({P0, P1}))
    assert world.consumer.commits == [{P0: 7, P1: 7}]


def test_a_loop_that_does_not_want_it_is_never_told_of_a_revoke() -> None:
    world = World(revoking_then_owning(P0, P1))
    world.run(world.watch)
    assert [type(answer) for answer in world.seen] == [Taken]


def test_a_revoke_in_the_middle_of_a_take_comes_before_the_answer_of_that_take() -> None:
    world = World(owning(P0, P1), revoking_then_owning(P0, P1), owning())
    world.run(world.watch, wants_revoking=True)
    first, revoking, commit_answer, second, *_ = world.seen
    assert isinstance(first, Taken)
    assert first.assignment == {P0: 1, P1: 1}
    assert revoking == Revoking(frozenset({P0}))
    assert commit_answer is None
    assert isinstance(second, Taken)
    assert second.assignment == {P1: 1}
    assert world.consumer.commits[0] == {P0: 7}


def test_an_error_while_a_revoke_is_served_ends_the_thread_and_not_the_client() -> None:
    world = World(owning(P0), revoking_then_owning(P0), owning())
    world.consumer.refusal = FatalBrokerError("gone")
    driver = world.run(world.watch, wants_revoking=True)
    assert str(driver.error) == "gone"
    assert world.consumer.script, "the driver took once more after the loop had failed"


def test_an_error_of_an_operation_is_thrown_into_the_loop() -> None:
    caught: list[Exception] = []

    def careful() -> Loop:
        while True:
            try:
                yield TAKE
            except RetriableError as error:
                caught.append(error)

    again = RetriableError("again")
    driver = World(failing(again), owning()).run(careful)
    assert caught == [again]
    assert driver.exit_code == 0


@pytest.mark.parametrize(
    ("error", "code"), [(DuplicateNameError("twice"), 75), (ValueError("bug"), 1)]
)
def test_an_error_that_escapes_ends_the_thread_with_its_exit_code(
    error: Exception, code: int
) -> None:
    world = World(failing(error), owning())
    driver = world.run(world.watch)
    assert driver.error is error
    assert driver.exit_code == code
    assert world.consumer.closed
    assert world.heard == [
        ("loop_failed", {"loop": "loop", "error": str(error), "exit_code": code})
    ]


def test_notes_reach_the_listener() -> None:
    def noting() -> Loop:
        yield Note("restored", {"partition": 3})
        yield TAKE

    world = World(owning())
    world.run(noting)
    assert world.heard[0] == ("restored", {"partition": 3})


def test_a_loop_that_returns_has_ended_in_order() -> None:
    def short() -> Loop:
        yield TAKE

    world = World(owning(), owning())
    driver = world.run(short)
    assert driver.exit_code == 0
    assert world.names() == ["loop_stopped"]
    assert world.consumer.closed


def test_handles_that_cannot_be_made_end_the_thread_with_the_reason() -> None:
    def broken() -> Handles:
        raise FatalBrokerError("no client")

    heard: list[str] = []
    driver = ThreadDriver(
        "loop",
        World().watch,
        broken,
        stop=Event(),
        listener=lambda name, _: heard.append(name),
    )
    driver.start()
    assert driver.join(WAIT_S)
    assert str(driver.error) == "no client"
    assert heard == ["loop_failed"]


def test_the_last_turn_moves_with_every_take() -> None:
    turns: list[float] = []

    def noting(driver: list[ThreadDriver]) -> Callable[[FakeConsumer], Taken]:
        def step(consumer: FakeConsumer) -> Taken:
            turns.append(driver[0].last_turn)
            return owning()(consumer)

        return step

    drivers: list[ThreadDriver] = []
    world = World(noting(drivers), noting(drivers), noting(drivers))
    driver = ThreadDriver(
        "loop",
        world.watch,
        lambda: Handles(cast("Broker", None), lambda: 0.0, world.consumer),
        stop=world.stop,
        listener=lambda *_: None,
    )
    drivers.append(driver)
    made = driver.last_turn
    driver.start()
    assert driver.join(WAIT_S)
    assert made < turns[0] < turns[1] < turns[2]
