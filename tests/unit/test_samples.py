from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from events.metrics import Prometheus
from events.samples import KEPT_MAX, Kept

TASKS, SECONDS = "caseworks_tasks_total", "caseworks_task_seconds"
AGENT, DONE = {"agent": "triage"}, {"agent": "triage", "status": "done"}


def test_a_sample_is_read_at_once() -> None:
    telemetry = Prometheus()
    count, took = telemetry.counter(TASKS, **DONE), telemetry.observer(SECONDS, **AGENT)
    count(1)
    took(0.02)
    assert b'caseworks_tasks_total{agent="triage",status="done"} 1.0' in telemetry.text()
    assert telemetry.value(f"{SECONDS}_count", **AGENT) == 1
    count(2)
    assert telemetry.value(TASKS, **DONE) == 3
    assert telemetry.value(TASKS, **DONE) == 3, "each is counted once"


@given(st.lists(st.sampled_from([0.0, 0.005, 0.0051, 0.3, 3600.0, 4000.0, float("inf")])))
def test_many_samples_fall_into_the_buckets_of_each(amounts: list[float]) -> None:
    many, single = Prometheus(), Prometheus()
    took = many.observer(SECONDS, **AGENT)
    for amount in amounts:
        took(amount)
        single.observe(SECONDS, amount, **AGENT)
    exposed = [
        [line for line in each.text().splitlines() if line.startswith(SECONDS.encode())]
        for each in (many, single)
    ]
    if amounts:
        made = [[line for line in lines if b"_created" not in line] for lines in exposed]
        assert made[0] == made[1]


def test_no_more_than_so_many_are_kept() -> None:
    counted: list[list[float]] = []
    add = Kept().adder((TASKS,), counted.append)
    for _ in range(KEPT_MAX - 1):
        add(1)
    assert counted == []
    add(1)
    assert [len(each) for each in counted] == [KEPT_MAX]


def test_none_is_lost_between_threads() -> None:
    telemetry = Prometheus()
    count = telemetry.counter(TASKS, **DONE)

    def work(_: int) -> None:
        for _each in range(KEPT_MAX * 3 + 7):
            count(1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert telemetry.value(TASKS, **DONE) == 4 * (KEPT_MAX * 3 + 7)


def test_one_place_is_one_place_however_often_it_is_asked_for() -> None:
    telemetry = Prometheus()
    telemetry.counter(TASKS, **DONE)(1)
    telemetry.counter(TASKS, **DONE)(1)
    telemetry.count(TASKS, **DONE)
    assert telemetry.value(TASKS, **DONE) == 3
