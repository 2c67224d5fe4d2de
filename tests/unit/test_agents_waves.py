"""What began together ends together: how a wave of ends and starts goes through the event loop."""

from __future__ import annotations

import asyncio

from agents.crew import ANSWERS_AT_ONCE, STARTS_AT_ONCE, Crew
from events.broker import Message
from events.loop import Job
from tests.unit.workbench import Answer, Ticket, Workbench, a_message, a_task

MANY = 300


def jobs(first: int, number: int) -> list[Job]:
    return [Job(a_message(a_task("wait"), offset=first + n)) for n in range(number)]


class Wave:
    """Jobs that wait for a second; `at_first_end` is called on the loop when the first has."""

    def __init__(self) -> None:
        self.began: list[int] = []
        """How many answers there were when each began."""
        self.turns = 0

        async def wait(ticket: Ticket) -> Answer:
            self.began.append(len(self.bench.producer.records))
            await asyncio.sleep(1)
            if self.ended == 0:
                self.bench.loop.call_soon(self.at_first_end)
            self.ended += 1
            return Answer(text="x")

        self.ended = 0
        self.bench = Workbench(wait, {"in_flight_max": MANY})
        self.crew = self.bench.crew

    def at_first_end(self) -> None:
        """For tests to replace."""

    def count_turns(self) -> None:
        if len(self.began) < MANY:
            self.turns += 1
            self.bench.loop.call_soon(self.count_turns)


def test_others_start_before_a_wave_is_answered() -> None:
    wave = Wave()
    wave.at_first_end = lambda: wave.crew.begin(jobs(MANY, 20))  # type: ignore[method-assign]
    wave.crew.begin(jobs(0, MANY))
    wave.bench.advance(1.5)

    assert len(wave.began) == MANY + 20
    assert wave.began[-1] <= 10 * ANSWERS_AT_ONCE
    assert len(wave.bench.outcomes()) == MANY


def test_a_wave_starts_in_few_turns_of_the_loop() -> None:
    wave = Wave()
    wave.count_turns()
    wave.crew.begin(jobs(0, MANY))
    wave.bench.advance(0)

    assert len(wave.began) == MANY
    assert wave.turns <= 2 * MANY / STARTS_AT_ONCE


def test_what_has_ended_and_is_discarded_is_not_answered() -> None:
    wave = Wave()
    source = jobs(0, 1)[0].message.source
    wave.at_first_end = lambda: wave.crew.discard(frozenset((source,)))  # type: ignore[method-assign]
    wave.crew.begin(jobs(0, MANY))
    wave.bench.advance(1.5)

    assert wave.ended == MANY
    assert len(wave.bench.outcomes()) <= 2 * ANSWERS_AT_ONCE
    assert wave.crew.answered == 0


def test_a_job_that_ended_counts_as_answered_and_whoever_asked_is_told_once() -> None:
    told: list[int] = []
    wave = Wave()
    bench = wave.bench
    crew = Crew(bench.desk, bench.loop, lambda: told.append(crew.answered))
    crew.begin(jobs(0, 3))
    assert crew.answered == 0
    bench.advance(1.0)

    assert told[0] == 1, "of three that end in one turn the first is told"
    assert crew.answered == 3
    bench.producer.poll()
    assert (crew.answered, crew.settled) == (0, 3)


def test_nobody_is_told_of_an_end_who_did_not_ask() -> None:
    told: list[Message] = []
    wave = Wave()
    crew = Crew(wave.bench.desk, wave.bench.loop, lambda: told.append(jobs(0, 1)[0].message))
    crew.begin(jobs(0, 3))
    wave.bench.advance(1.0)
    assert told == []
