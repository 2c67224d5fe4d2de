"""A worker whose event loop an agent blocks for a minute: what its users and operators see."""

from __future__ import annotations

from contextlib import closing
from threading import Event, Thread
from typing import Any

import pytest
from pydantic import BaseModel

from caseworks import App, new_event
from caseworks.client import Publisher
from caseworks.compose import build
from caseworks.scan import partition_counts, partitions_of, records
from events.memory import MemoryBroker
from events.metrics import Prometheus
from events.settings import Settings
from schemas.outcome import Outcome
from tests.unit.caged import until

SETTINGS = Settings(
    inbox_partitions=1,
    events_partitions=1,
    tasks_partitions=1,
    results_partitions=1,
    stuck_after_s=0.6,
    stuck_max_s=2.0,
)


class Asked(BaseModel):
    """The data of an event."""

    what: str


def outcomes(broker: MemoryBroker) -> list[Outcome]:
    """What agents have said so far."""
    reader = broker.reader()
    sources = partitions_of(partition_counts(broker), [SETTINGS.topics.inbox])
    found = [message for source in sources for message in records(reader, source)]
    kind = Outcome.ce_type
    return [Outcome.from_json(m.value or b"") for m in found if m.header("ce_type") == kind]


@pytest.mark.slow
def test_it_says_who_blocks_it_answers_for_the_task_and_ends_to_be_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release, stop = Event(), Event()
    app = App("blocked")

    @app.agent(timeout_s=3600.0)
    async def blocks(asked: Asked) -> str:
        release.wait(60)
        return "late"

    app.workflow("w", on={"asked": Asked}, steps=[blocks])
    broker, telemetry, codes, whys = MemoryBroker(), Prometheus(), list[int](), set[str]()
    coordinator = build(app, SETTINGS, broker=broker)
    worker = build(app, SETTINGS, broker=broker, telemetry=telemetry)
    coordinator.ensure_topics()
    threads = [
        Thread(target=coordinator.run_coordinator, args=(stop,)),
        Thread(target=lambda: codes.append(worker.run_worker(["blocks"], Event()))),
    ]
    for thread in threads:
        thread.start()
    try:
        with closing(Publisher(broker, SETTINGS)) as publisher:
            publisher.send(new_event("asked", {"what": "x"}))
            publisher.flush()

        def ended() -> bool:
            whys.add(worker.ready()[1])
            return bool(codes)

        until(ended)
    finally:
        release.set()
        stop.set()
        for thread in threads:
            thread.join()

    assert codes == [70]
    assert "the event loop of the agents does not turn; on it: blocks" in whys
    assert telemetry.value("caseworks_loop_stalls_total", agent="blocks") == 1
    [outcome] = outcomes(broker)
    assert (outcome.status, outcome.error and outcome.error.kind) == ("retry", "timeout")
    lines: list[Any] = [each.msg for each in caplog.records if isinstance(each.msg, dict)]
    [stalled] = [line for line in lines if line["event"] == "loop_stalled"]
    assert stalled["case_id"] == outcome.case_id
    assert "blocks" in "\n".join(stalled["threads"][0]["stack"])
