"""Random histories of a worker: arrivals, settlements, rebalances. `Stage` checks every commit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.worker_stage import P0, P1, URGENT, Stage, message

SOURCES = (P0, P1, URGENT)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(0, 2), st.integers(1, 6)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("revoke"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("turn"), st.integers(1, 6), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS, st.booleans())
def test_i8_no_history_makes_it_commit_what_is_unfinished_or_gone(
    steps: list[tuple[str, int, int]], ordered: bool
) -> None:
    stage = Stage(
        ordered=ordered,
        in_flight_max=3,
        read_ahead_max=2,
        key_depth_max=1,
        span_max=8,
        drain_timeout_s=0.1,
    )
    stage.assignment[URGENT] = 1
    stage.turn()
    next_offset, epoch = dict.fromkeys(SOURCES, 0), 1
    for name, which, more in steps:
        source = SOURCES[which % 3]
        match name:
            case "arrive":
                for number in range(more):
                    offset, epoch_now = next_offset[source], stage.assignment[source]
                    tenant = (("ce_tenant", b"ab"[number % 2 :]),)
                    key = b"xy"[which % 2 : which % 2 + 1]
                    stage.arrive(message(offset, source, epoch=epoch_now, key=key, headers=tenant))
                    next_offset[source] += 2
            case "settle" if stage.running:
                done = stage.running[which % len(stage.running)]
                stage.settle(done.offset, source=done.source)
            case "lose" | "revoke":
                if name == "revoke":
                    stage.revoke(source)
                epoch += 1
                stage.regain(source, epoch)
                committed = [commit[source] for commit in stage.commits if source in commit]
                next_offset[source] = max(committed, default=0) + len(committed) % 2
                stage.turn(2)
            case "turn":
                stage.turn(which)
    arrived = sum(more for name, _, more in steps if name == "arrive")
    for _ in range(10 + 5 * arrived):  # of a deep key, one task runs in a few turns
        for running in list(stage.running):
            stage.settle(running.offset, source=running.source)
        stage.turn()
        if stage.finished == stage.delivered and not stage.arriving:
            break
    assert stage.finished == stage.delivered, "something never ran"
    assert not stage.arriving, "a partition is held back for ever"
