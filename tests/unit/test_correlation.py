"""Correlations: every event reaches whoever waits for it, once, or comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coordinator.correlation import (
    CorrelationLimits,
    Deliver,
    Noted,
    NoWaiter,
    apply,
    next_due,
    tick,
)
from schemas.base import instant
from schemas.commands import Correlated, Listen, correlation_id_of
from schemas.event import Event
from schemas.lean_case import Correlation

START = 1_000_000.0
TYPE, SUBJECT = "ticket.replied", "T-1"
NAME = correlation_id_of(TYPE, SUBJECT)
DAY_S = 86_400.0


def reply(name: str = "r1", at: float = START, data: Any = "hi", **fields: Any) -> Event:
    return Event(
        id=name,
        source="/mail",
        type=TYPE,
        subject=SUBJECT,
        time=instant(at),
        data=data,
        **fields,
    )


def listen(case: str = "c1", since: float = START, until: float | None = START + 3600) -> Listen:
    return Listen(
        case_id=NAME,
        listener=case,
        type=TYPE,
        subject=SUBJECT,
        since=instant(since),
        until=None if until is None else instant(until),
    )


@dataclass
class Desk:
    """One correlation, moved command by command, and written and read again in between."""

    limits: CorrelationLimits = field(default_factory=CorrelationLimits)
    now: float = START
    entity: Correlation | None = None

    def happens(self, event: Event) -> list[Any]:
        return self._moved(
            apply(self.entity, Correlated(case_id=NAME, event=event), self.now, self.limits)
        )

    def listens(self, command: Listen) -> list[Any]:
        return self._moved(apply(self.entity, command, self.now, self.limits))

    def passes(self, seconds: float) -> list[Any]:
        self.now += seconds
        return [] if self.entity is None else self._moved(tick(self.entity, self.now, self.limits))

    def _moved(self, moved: tuple[Correlation | None, list[Any]]) -> list[Any]:
        entity, effects = moved
        if entity is not None:
            assert Correlation.from_json(entity.to_compact_json()) == entity
        self.entity = entity
        return effects


def test_an_event_reaches_every_case_that_waits_for_it() -> None:
    desk = Desk()
    desk.listens(listen("c1"))
    desk.listens(listen("c2"))

    assert desk.happens(reply()) == [Deliver("c1", reply()), Deliver("c2", reply())]


def test_an_event_that_came_first_is_kept_for_the_first_that_listens() -> None:
    desk = Desk()

    assert desk.happens(reply()) == [Noted("kept")]
    assert desk.listens(listen("c1")) == [Deliver("c1", reply())]
    assert desk.listens(listen("c2")) == []


def test_an_event_older_than_the_case_is_not_meant_for_it() -> None:
    desk = Desk()
    desk.listens(listen("young", since=START + 10))

    assert desk.happens(reply()) == [Noted("kept")]
    assert desk.listens(listen("old", since=START - 10)) == [Deliver("old", reply())]


def test_a_duplicate_changes_nothing_for_the_dedupe_window() -> None:
    desk = Desk(CorrelationLimits(dedupe_window_s=100))
    desk.listens(listen())
    desk.happens(reply())
    before = desk.entity

    assert desk.happens(reply()) == [Noted("duplicate")]
    assert desk.entity is before
    desk.passes(100)
    assert desk.happens(reply()) == [Deliver("c1", reply())]


def test_a_duplicate_of_a_kept_event_is_kept_once() -> None:
    desk = Desk()
    desk.happens(reply())

    assert desk.happens(reply()) == [Noted("duplicate")]
    assert desk.listens(listen()) == [Deliver("c1", reply())]


def test_what_nobody_wanted_in_time_comes_back_and_its_replay_is_taken_again() -> None:
    desk = Desk()
    desk.happens(reply())

    assert desk.passes(DAY_S) == [NoWaiter(reply())]
    assert desk.entity is None
    desk.listens(listen(until=desk.now + 60))
    assert desk.happens(reply()) == [Deliver("c1", reply())]


def test_a_case_hears_nothing_after_its_end_or_its_time() -> None:
    endings: tuple[Callable[[Desk], object], ...] = (
        lambda desk: desk.listens(listen(until=None)),
        lambda desk: desk.passes(3600),
        lambda desk: desk.listens(listen(until=START)),
    )
    for over in endings:
        desk = Desk()
        desk.listens(listen())
        over(desk)
        assert desk.entity is None
        assert desk.happens(reply(at=START + 9000)) == [Noted("kept")]


def test_a_correlation_that_remembers_nothing_is_gone() -> None:
    desk = Desk()
    desk.listens(listen())
    desk.happens(reply())
    desk.listens(listen(until=None))

    assert desk.entity is not None
    assert next_due(desk.entity, desk.limits) == START + desk.limits.dedupe_window_s
    desk.passes(desk.limits.dedupe_window_s)
    assert desk.entity is None


def test_a_tick_with_nothing_due_gives_back_the_same_correlation() -> None:
    desk = Desk()
    desk.listens(listen())
    before = desk.entity
    desk.passes(10)

    assert desk.entity is before


def test_kept_events_are_bounded_by_number_and_the_oldest_comes_back() -> None:
    desk = Desk(CorrelationLimits(kept_max=2))
    desk.happens(reply("r1"))
    desk.happens(reply("r2"))

    assert desk.happens(reply("r3")) == [Noted("kept"), NoWaiter(reply("r1"))]


def test_kept_events_are_bounded_by_size() -> None:
    desk = Desk(CorrelationLimits(kept_bytes_max=3000))
    desk.happens(reply("r1", data="x" * 1000))
    desk.happens(reply("r2", data="x" * 1000))
    back = desk.happens(reply("r3", data="x" * 2000))
    huge = desk.happens(reply("r4", data="x" * 5000))

    assert [effect.event.id for effect in back[1:]] == ["r1", "r2"]
    assert [effect.event.id for effect in huge[1:]] == ["r3", "r4"]
    assert desk.entity is None


def test_listeners_are_bounded_and_one_may_always_renew_or_leave() -> None:
    desk = Desk(CorrelationLimits(listeners_max=1))
    desk.listens(listen("c1"))

    assert desk.listens(listen("c2")) == [Noted("too_many_listeners")]
    assert desk.listens(listen("c1", until=START + 9)) == []
    desk.listens(listen("c1", until=None))
    assert desk.listens(listen("c2")) == []
    assert desk.entity is not None
    assert list(desk.entity.listeners) == ["c2"]


def test_what_is_remembered_of_delivered_events_is_bounded() -> None:
    desk = Desk(CorrelationLimits(seen_max=3))
    desk.listens(listen())
    for number in range(10):
        desk.happens(reply(f"r{number}"))

    assert desk.entity is not None
    assert list(desk.entity.seen) == [reply(f"r{number}").case_id for number in (7, 8, 9)]


def test_events_of_the_far_past_and_future_have_their_answer() -> None:
    past, future = -6e10, 2.5e11
    desk = Desk()
    desk.listens(listen())

    assert desk.happens(reply("future", at=future)) == [Deliver("c1", reply("future", at=future))]
    assert desk.happens(reply("past", at=past)) == [Noted("kept")]
    assert desk.passes(DAY_S) == [NoWaiter(reply("past", at=past))]


def test_an_event_is_kept_no_longer_than_its_own_deadline() -> None:
    desk = Desk()
    soon = reply("soon", deadline=instant(START + 5))
    late = reply("late", deadline=instant(START - 5))

    assert desk.happens(late) == [NoWaiter(late)]
    desk.happens(soon)
    assert desk.passes(5) == [NoWaiter(soon)]


def test_a_clock_that_jumps_back_loses_nothing() -> None:
    desk = Desk()
    desk.listens(listen())
    desk.happens(reply("r1"))
    desk.now -= 3600

    assert desk.happens(reply("r1")) == [Noted("duplicate")]
    assert desk.happens(reply("r2")) == [Deliver("c1", reply("r2"))]


SPAN = 6
Moves = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.integers(0, 5), st.integers(0, SPAN)),
        st.tuples(st.just("listen"), st.integers(0, 3), st.integers(0, SPAN)),
        st.tuples(st.just("leave"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("time"), st.integers(1, 4), st.just(0)),
    ),
    max_size=30,
)


@given(Moves)
def test_each_event_reaches_each_fitting_case_once_or_comes_back(
    moves: list[tuple[str, int, int]],
) -> None:
    """Against the rule said plainly: who listens when it comes, else the first that comes."""
    limits = CorrelationLimits(keep_s=5, dedupe_window_s=1e6)
    desk = Desk(limits)
    times: dict[int, int] = {}
    spans: dict[str, tuple[float, float]] = {}
    waiting: dict[str, float] = {}
    expected: Counter[tuple[str, str]] = Counter()
    told: list[Any] = []
    for kind, which, when in moves:
        for name, until in tuple(waiting.items()):
            if until <= desk.now:
                expected["", name] += 1
                del waiting[name]
        if kind == "event":
            event = reply(f"r{which}", at=START + times.setdefault(which, when))
            fresh = event.id not in waiting and all(e != event.id or not c for c, e in expected)
            told += desk.happens(event)
            ready = [
                case
                for case, (since, until) in spans.items()
                if since <= times[which] and until > desk.now
            ]
            if fresh and ready:
                expected.update((case, event.id) for case in ready)
            elif fresh:
                waiting[event.id] = desk.now + limits.keep_s
        elif kind == "time":
            told += desk.passes(which)
        elif kind == "leave":
            told += desk.listens(listen(f"c{which}", until=None))
            spans.pop(f"c{which}", None)
        else:
            case = f"c{which}"
            told += desk.listens(listen(case, since=START + when, until=desk.now + 7))
            spans[case] = (when, desk.now + 7)
            for name in [n for n in waiting if times[int(n[1:])] >= when]:
                expected[case, name] += 1
                del waiting[name]
    expected.update(("", name) for name in waiting)
    told += desk.passes(limits.keep_s)

    got = Counter(
        (getattr(effect, "case_id", ""), effect.event.id)
        for effect in told
        if isinstance(effect, Deliver | NoWaiter)
    )
    assert got == expected
    desk.passes(2e6)
    assert desk.entity is None
