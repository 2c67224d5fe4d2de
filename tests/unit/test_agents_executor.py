"""Threads and event loops as they are in a process; the rest is tested on a virtual clock."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from agents.backlog import Bounds
from agents.errors import WorkerStuckError
from agents.executor import SimExecutor, ThreadedExecutor
from agents.worker import WorkerConfig, worker_loop
from events.broker import ConsumerSpec, Record, TopicPartition
from events.dispatch import Handles
from events.loop import Job, Settled
from events.memory import MemoryBroker
from events.thread_driver import ThreadDriver
from events.topics import TopicSpec
from schemas.task import ReplyTo
from tests.unit.workbench import Answer, Recorder, Ticket, Workbench, a_message, a_task
from tests.unit.worker_shop import WAIT_S, Shop, now_task, outcomes, quick, shop, until


def test_jobs_run_in_the_host_s_thread_and_are_settled_in_the_caller_s() -> None:
    recorder = Recorder()
    with shop(quick, recorder) as made:
        made.start(300)
        settled = made.collect(300)

    assert sorted(each.offset for each in settled) == list(range(300))
    assert {outcome.output["text"] for outcome in outcomes(recorder)} == {"agents"}


def test_collect_wakes_up_for_a_settlement_and_not_after_its_time_out() -> None:
    with shop(quick) as made:
        began = time.monotonic()
        made.start()
        assert len(made.executor.collect(WAIT_S)) == 1
        assert time.monotonic() - began < WAIT_S / 2


def test_agents_of_one_process_share_a_loop_and_not_their_settlements() -> None:
    recorder = Recorder()
    with shop(quick, recorder) as made:
        other = ThreadedExecutor(made.desk, made.host)
        made.start(1)
        other.start([Job(a_message(now_task("quick"), offset=77))])
        assert [each.offset for each in made.collect(1)] == [0]
        until(lambda: made.executor.collect(0.0) or len(recorder.acknowledged) == 2)
        until(lambda: [each.offset for each in other.collect(0.01)] == [77])


def test_a_plain_function_runs_in_a_thread_of_its_own_beside_the_others() -> None:
    everybody = threading.Barrier(3)

    def together(ticket: Ticket) -> Answer:
        everybody.wait(WAIT_S)
        return Answer(text=str(threading.get_ident()))

    recorder = Recorder()
    with shop(together, recorder) as made:
        made.start(3)
        made.collect(3)

    assert len({outcome.output["text"] for outcome in outcomes(recorder)}) == 3


def test_threads_are_used_again() -> None:
    idents: list[int] = []

    def who(ticket: Ticket) -> Answer:
        idents.append(threading.get_ident())
        return Answer(text="x")

    with shop(who) as made:
        for _ in range(5):
            made.start()
            made.collect(1)

    assert len(set(idents)) < 5


def test_what_a_plain_function_raises_is_its_agent_s_failure() -> None:
    def buggy(ticket: Ticket) -> Answer:
        raise StopIteration

    recorder = Recorder()
    with shop(buggy, recorder) as made:
        made.start()
        made.collect(1)

    [outcome] = outcomes(recorder)
    assert outcome.status == "failed"


def test_a_plain_function_that_never_returns_is_left_behind_and_counted() -> None:
    release = threading.Event()

    def hangs(ticket: Ticket) -> Answer:
        release.wait(60)
        return Answer(text="late")

    recorder = Recorder()
    with shop(hangs, recorder, abandoned_max=2) as made:
        made.start(1, timeout_s=0.05)
        made.collect(1)
        assert [outcome.status for outcome in outcomes(recorder)] == ["retry"]
        assert made.threads.stuck == 1

        made.start(1, timeout_s=0.05)
        made.collect(1)
        with pytest.raises(WorkerStuckError, match="2 runs were given up"):
            until(lambda: made.executor.collect(0.01))

        release.set()
        until(lambda: made.threads.stuck == 0)
    assert len(recorder.records) == 2


def test_closing_does_not_wait_for_an_agent_that_does_not_let_go() -> None:
    entered, release = threading.Event(), threading.Event()

    async def blocks(ticket: Ticket) -> Answer:
        entered.set()
        release.wait(60)
        return Answer(text="late")

    made = Shop(blocks, Recorder())
    made.start()
    assert entered.wait(WAIT_S)
    made.executor.close()
    assert not made.host.close(timeout_s=0.05)
    release.set()
    until(lambda: made.host.close(timeout_s=0.05))


def test_on_a_loop_that_somebody_steps_everything_happens_between_the_steps() -> None:
    bench = Workbench(quick)
    executor = SimExecutor(bench.desk, bench.loop)
    message = a_message(a_task("quick"))
    executor.start([Job(message)])
    assert executor.collect(5.0) == []

    bench.loop.run_ready()

    assert executor.collect(0.0) == [Settled(message.source, 0, 0)]
    executor.close()


def test_a_worker_on_a_broker_answers_every_task_and_commits_to_the_end() -> None:
    broker = MemoryBroker()
    inbox, tasks = "cw.inbox", "cw.tasks.quick"
    names = (inbox, tasks, f"{tasks}.urgent", f"{tasks}.dlq")
    with closing(broker.admin()) as admin, closing(broker.producer()) as producer:
        admin.create([TopicSpec(name, "", 4, "") for name in names])
        for number in range(200):
            task = now_task("quick", reply_to=ReplyTo(topic=inbox, partition=number % 4))
            topic = tasks if number % 5 else f"{tasks}.urgent"
            value = task.to_json() if number % 50 else b"no task"
            producer.produce(Record(topic, str(number).encode(), value))
        producer.flush(WAIT_S)
        stop = threading.Event()

        def ends() -> dict[str, int]:
            with closing(broker.reader()) as reader:
                return {
                    name: sum(reader.end(TopicPartition(name, n), committed=True) for n in range(4))
                    for name in names
                }

        with shop(quick, producer) as made:
            spec = ConsumerSpec("cw.worker.quick", (tasks, f"{tasks}.urgent"), instance="w-0")
            driver = ThreadDriver(
                "worker",
                lambda: worker_loop(WorkerConfig("quick", Bounds(in_flight_max=16))),
                lambda: Handles(broker, time.time, broker.consumer(spec), executor=made.executor),
                stop=stop,
                listener=lambda *_: None,
                wants_revoking=True,
            )
            driver.start()
            until(lambda: ends()[inbox] + ends()[f"{tasks}.dlq"] == 200)
            stop.set()
            assert driver.join(WAIT_S)

        assert driver.error is None
        assert ends()[f"{tasks}.dlq"] == 4
        assert all(lag.committed == lag.end for lag in admin.lag("cw.worker.quick") if lag.end)
