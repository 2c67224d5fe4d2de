"""The yardstick: the same workload through the barest exactly-once loop one could write.

Intake, orchestrator with a changelog, worker, as one process each; JSON, no validation, no
deadlines, no retries, no metrics, state for ever in a dict. It does only what cannot be left out.
usage: python -m benchmarks.bare ROLE BOOTSTRAP TAG
"""

from __future__ import annotations

import json
import sys
from typing import Any

import confluent_kafka as ck

from benchmarks.workload import said

STEPS = {"triage": (), "billing": ("triage",), "kb": ("triage",), "reply": ("billing", "kb")}
TOPICS = ("events", "inbox", "tasks", "results", "cases")
TIMEOUT_S = 20


def consumer(role: str, bootstrap: str, tag: str, topic: str) -> ck.Consumer:
    """A static member that reads committed records."""
    made = ck.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{role}{tag}",
            "group.instance.id": role,
            "session.timeout.ms": 6000,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
        }
    )
    made.subscribe([topic])
    return made


def take(source: ck.Consumer) -> list[Any]:
    """One batch; waits for the first message only."""
    first = source.poll(0.05)
    if first is None:
        return []
    return [m for m in [first, *source.consume(999, 0)] if m.error() is None]


def transactional(role: str, bootstrap: str, tag: str) -> ck.Producer:
    """A producer with its transactions ready."""
    made = ck.Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"{role}{tag}",
            "linger.ms": 0,
            "retry.backoff.ms": 5,
        }
    )
    made.init_transactions(TIMEOUT_S)
    return made


def commit(source: ck.Consumer, sink: ck.Producer, topic: str, offsets: dict[int, int]) -> None:
    """Offsets into the transaction, and commit it."""
    positions = [ck.TopicPartition(topic, p, o) for p, o in offsets.items()]
    sink.send_offsets_to_transaction(positions, source.consumer_group_metadata(), TIMEOUT_S)
    sink.commit_transaction(TIMEOUT_S)


def worker(bootstrap: str, tag: str) -> None:
    """Answer tasks; at least once."""
    source = consumer("worker", bootstrap, tag, f"tasks{tag}")
    sink = ck.Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    while True:
        batch = take(source)
        for message in batch:
            task = json.loads(message.value())
            out = said(task["step"], task["case"])
            body = {"kind": "outcome", "case": task["case"], "step": task["step"], "out": out}
            sink.produce(f"inbox{tag}", json.dumps(body), task["case"])
        if batch:
            sink.flush(TIMEOUT_S)
            source.commit(asynchronous=False)


def intake(bootstrap: str, tag: str) -> None:
    """Events to commands."""
    topic = f"events{tag}"
    source, sink = (
        consumer("intake", bootstrap, tag, topic),
        transactional("intake", bootstrap, tag),
    )
    while True:
        batch = take(source)
        if not batch:
            continue
        sink.begin_transaction()
        offsets: dict[int, int] = {}
        for message in batch:
            event = json.loads(message.value())
            body = {"kind": "opened", "case": event["id"], "event": event}
            sink.produce(f"inbox{tag}", json.dumps(body), event["id"])
            offsets[message.partition()] = message.offset() + 1
        commit(source, sink, topic, offsets)


def orchestrator(bootstrap: str, tag: str) -> None:
    """Commands to tasks, results and the changelog."""
    topic = f"inbox{tag}"
    source = consumer("orchestrator", bootstrap, tag, topic)
    sink = transactional("orchestrator", bootstrap, tag)
    cases: dict[str, dict[str, Any]] = {}
    while True:
        batch = take(source)
        if not batch:
            continue
        sink.begin_transaction()
        offsets: dict[int, int] = {}
        dirty: dict[tuple[str, int], dict[str, Any] | None] = {}
        for message in batch:
            offsets[message.partition()] = message.offset() + 1
            _apply(json.loads(message.value()), cases, sink, tag, dirty, message.partition())
        for (case, partition), state in dirty.items():
            value = json.dumps(state) if state else None
            sink.produce(f"cases{tag}", value, case, partition=partition)
        commit(source, sink, topic, offsets)


def _apply(
    command: dict[str, Any],
    cases: dict[str, dict[str, Any]],
    sink: ck.Producer,
    tag: str,
    dirty: dict[tuple[str, int], dict[str, Any] | None],
    partition: int,
) -> None:
    case = command["case"]
    if command["kind"] == "opened":
        cases.setdefault(case, {"event": command["event"], "done": {}, "sent": []})
    elif case in cases:
        cases[case]["done"].setdefault(command["step"], command["out"])
    state = cases.get(case)
    if state is None:
        return
    done = state["done"]
    for step, needs in STEPS.items():
        if step not in state["sent"] and all(need in done for need in needs):
            state["sent"].append(step)
            results = {need: done[need] for need in needs}
            body = {"case": case, "step": step, "event": state["event"], "results": results}
            sink.produce(f"tasks{tag}", json.dumps(body), case)
    if len(done) == len(STEPS):
        sink.produce(f"results{tag}", json.dumps(done["reply"]), case)
        del cases[case]
        dirty[case, partition] = None
    else:
        dirty[case, partition] = state


if __name__ == "__main__":
    role, bootstrap, tag = sys.argv[1:4]
    {"worker": worker, "intake": intake, "orchestrator": orchestrator}[role](bootstrap, tag)
