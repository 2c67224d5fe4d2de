"""Cases on a broker, written as coordinators write them; and a projection compared with them.

The comparison reads the topics itself and folds nothing: of each key the last record counts.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from caseworks.projection.shorten import shortened
from caseworks.scan import (
    dead_letter_topics,
    partition_counts,
    partitions_of,
    records,
    results_topics,
)
from coordinator.case_record import encode_case
from coordinator.effects import Publish
from coordinator.records import Writer
from coordinator.versions import note_key, note_of
from events.broker import Broker, Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.envelope import record_of
from events.partitioner import partition_of
from events.settings import Settings
from events.topics import Partitions, Topics, catalogue
from schemas.approval import ApprovalEnded, ApprovalRequested, action_hash_of
from schemas.base import instant
from schemas.commands import Cancel
from schemas.control import Breaker, Pause
from schemas.letter_audit import LetterHandled
from schemas.outcome import Failure
from schemas.usage import Usage
from tests.unit.machine import AGENTS, START, Machine, event

COUNTS = Partitions(inbox=4, events=2, tasks=2, results=2)
COST = Usage(tokens_in=100, tokens_out=20, usd=Decimal("0.0125"), calls=1)
HOSTILE = "<script>alert('x')</script>\u202e\u0000\U0001f9e8"


def settings_in(folder: Path, **more: Any) -> Settings:
    """Settings whose data lie in a folder."""
    return Settings(data_dir=folder, inbox_partitions=COUNTS.inbox, **more)


def make_topics(broker: Broker, topics: Topics) -> None:
    """The topics of the diamond."""
    with closing(broker.admin()) as admin:
        admin.create(catalogue(topics, AGENTS, ["ticket"], COUNTS))


class Story:
    """What happens to cases, as records."""

    def __init__(self, topics: Topics, now: float = START) -> None:
        """*now*: when it all happens, in seconds since the epoch."""
        self.topics = topics
        self.now = now
        self.writer = Writer(topics)

    def changelog(self, key: bytes, value: bytes | None, home: bytes | None = None) -> Record:
        """A record of `cases` in the partition of its case."""
        partition = partition_of(home or key, COUNTS.inbox)
        return Record(self.topics.cases, key, value, (), partition)

    def state(self, machine: Machine) -> Record:
        """The case as it stands: whole, or a mark."""
        return self.changelog(machine.case.case_id.encode(), encode_case(machine.case))

    def forgotten(self, machine: Machine) -> Record:
        """Its tombstone."""
        return self.changelog(machine.case.case_id.encode(), None)

    def part(self, machine: Machine, name: str, value: bytes | None) -> Record:
        """A part of it."""
        home = machine.case.case_id.encode()
        return self.changelog(home + b"/" + name.encode(), value, home)

    def note(self, machine: Machine) -> Record:
        """The version that it runs on."""
        plan = machine.plan
        key = b"\0" + note_key(plan.name, plan.spec.version).encode()
        return self.changelog(key, note_of(plan), machine.case.case_id.encode())

    def results(self, machine: Machine) -> list[Record]:
        """What it has published, all of it."""
        return [
            self.writer.result(machine.case, machine.plan, effect, machine.now)
            for effect in machine.effects
            if isinstance(effect, Publish)
        ]

    def asked(self, machine: Machine, *, approval_id: str = "a1") -> Record:
        """A question to a person."""
        action = {"refund": 40}
        request = ApprovalRequested(
            approval_id=approval_id,
            case_id=machine.case.case_id,
            workflow="ticket",
            step="reply",
            action=action,
            action_hash=action_hash_of(action),
            why=HOSTILE,
            event=machine.case.event.ref(),
            asked_at=instant(self.now),
            expires_at=instant(self.now + 600),
            on_expiry="escalate",
        )
        return self._said(self.topics.approvals, request, approval_id, machine)

    def answered(self, machine: Machine, *, approval_id: str = "a1") -> Record:
        """Its end."""
        ended = ApprovalEnded(
            approval_id=approval_id,
            case_id=machine.case.case_id,
            ending="approve",
            by="ann",
            ended_at=instant(self.now + 5),
        )
        return self._said(self.topics.approvals, ended, approval_id, machine)

    def letter(self, machine: Machine, value: bytes = b"{}") -> Record:
        """A dead task of it."""
        topic, case_id = self.topics.tasks("reply"), machine.case.case_id
        died = Message(topic, 0, 7, round(self.now * 1000), case_id.encode(), value, ())
        letter = letter_for(
            died, "poison", error=HOSTILE, case_id=case_id, task_id=f"{case_id}:reply"
        )
        return dead_letter_record(died, self.topics.dlq(topic), letter)

    def handled(self, place: str, action: str = "replay") -> Record:
        """What a person did to a letter."""
        said = LetterHandled.model_validate(
            {"action": action, "place": place, "by": "ann", "at": instant(self.now)}
        )
        return self._said(self.topics.letter_audit, said, place)

    def decided(self, decision: Breaker | Pause) -> Record:
        """What the controller decided."""
        name = decision.dependency if isinstance(decision, Breaker) else decision.agent
        kind = "breaker" if isinstance(decision, Breaker) else "pause"
        return self._said(self.topics.control, decision, f"{kind}:{name}")

    def _said(self, topic: str, model: Any, key: str, machine: Machine | None = None) -> Record:
        tenant = machine.case.event.tenant if machine else None
        travelling = (("ce_tenant", tenant.encode()),) if tenant else ()
        return record_of(
            model,
            model.ce_type,
            topic=topic,
            key=machine.case.case_id if machine else key,
            ce_id=key,
            source="/test",
            now=self.now,
            travelling=travelling,
        )

    def lives(self, number: int, dice: random.Random) -> list[Record]:
        """All records of one case that goes this way or that."""
        subject, tenant = f"customer-{number % 7}", dice.choice("ab")
        machine = Machine(
            now=self.now, business=event(f"e{number}", subject=subject, tenant=tenant)
        )
        told = [self.note(machine), self.state(machine)]

        def goes(step: Callable[[], object]) -> None:
            before = len(self.results(machine))
            step()
            machine.now += dice.random()
            told.append(self.state(machine))
            told.extend(self.results(machine)[before:])

        goes(lambda: machine.says("triage", usage=COST, confidence=dice.random()))
        if dice.random() < 0.3:
            error = Failure(kind="busy", message="later")
            goes(lambda: machine.says("kb", "retry", error=error))
            goes(lambda: machine.at((machine.case.steps["kb"].due or machine.now) + 0.01))
        if dice.random() < 0.3:
            told += [self.asked(machine, approval_id=f"a{number}")]
            told += [self.answered(machine, approval_id=f"a{number}")] * (number % 2)
        if dice.random() < 0.2:
            told += [self.part(machine, "kb:0", b'{"status":"sent","attempt":1}')]
            told += [self.part(machine, "kb:0", None)] * (number % 2)
        goes(lambda: machine.says("billing", usage=COST))
        if dice.random() < 0.2:
            goes(lambda: machine.do(Cancel(case_id=machine.case.case_id, by="ann", reason=HOSTILE)))
        elif dice.random() < 0.9:
            goes(lambda: machine.says("kb", usage=COST))
            if dice.random() < 0.2:
                goes(lambda: machine.says("reply", "failed"))
                told += [self.letter(machine)]
            else:
                goes(lambda: machine.says("reply", usage=COST))
                if dice.random() < 0.2:
                    told += [self.forgotten(machine)]
        return told


def put(broker: Broker, told: Iterable[Record]) -> None:
    """Write records."""
    with closing(broker.producer()) as producer:
        for record in told:
            producer.produce(record)
            producer.poll()
        assert producer.flush(30) == 0


def interleaved(stories: list[list[Record]], dice: random.Random) -> Iterator[Record]:
    """Many cases at once, each in its order."""
    left = [iter(story) for story in stories]
    while left:
        story = dice.choice(left)
        record = next(story, None)
        if record is None:
            left.remove(story)
        else:
            yield record


def differences(broker: Broker, topics: Topics, path: Path) -> list[str]:
    """Where the projection is not what the topics say, record by record; none: they are equal."""
    with closing(sqlite3.connect(path)) as db:
        return [*_cases_unlike(broker, topics, db), *_beside_unlike(broker, topics, db)]


def _cases_unlike(broker: Broker, topics: Topics, db: sqlite3.Connection) -> Iterator[str]:
    """The changelog, and the results."""
    rows = {
        row[0]: row[1:]
        for row in db.execute(
            "SELECT case_id, status, closed, state, result FROM cases LEFT JOIN bodies USING (id)"
        )
    }
    parts = {
        f"{case_id}/{name}": value for case_id, name, value in db.execute("SELECT * FROM parts")
    }
    notes = dict(db.execute("SELECT * FROM notes").fetchall())
    log = _all(broker, [topics.cases])
    whole: dict[str, Message | None] = {}
    for message in log:
        if message.value is None or b'"event"' in message.value:
            whole[_key(message)] = message if message.value else None
    seen: set[str] = set()
    for name, message in {_key(message): message for message in log}.items():
        if name.startswith("\0"):
            if name != "\0pos" and notes.pop(name[1:], None) != message.value:
                yield f"note {name!r}"
        elif "/" in name:
            if parts.pop(name, None) != message.value:
                yield f"part {name}"
        elif message.value is not None:
            seen.add(name)
            yield from _unlike(name, rows.get(name), message, whole.get(name))
    answers = {
        json.loads(message.value or b"")["case_id"]: message
        for message in _all(broker, results_topics(partition_counts(broker), topics))
    }
    for case_id, message in answers.items():
        row = rows.get(case_id)
        if row is None or row[3] != shortened(message.value or b"", _place(message)):
            yield f"result of {case_id}"
    yield from (f"{name} is nowhere else" for name in rows.keys() - seen - answers.keys())
    yield from (f"{name} is nowhere else" for name in (*parts, *notes))
    counted = db.execute(
        "SELECT coalesce(sum(n), 0) FROM tally WHERE span = 3600 AND kind = 'workflow'"
    ).fetchone()
    if counted != (len(answers),):
        yield f"{counted} results were counted, not {len(answers)}"


def _beside_unlike(broker: Broker, topics: Topics, db: sqlite3.Connection) -> Iterator[str]:
    """Letters, questions, decisions."""
    dead = _all(broker, dead_letter_topics(partition_counts(broker), topics))
    if sorted(row[0] for row in db.execute("SELECT place FROM letters")) != sorted(
        map(_place, dead)
    ):
        yield "letters"
    asked: dict[str, str] = {}
    for message in _all(broker, [topics.approvals]):
        said = json.loads(message.value or b"")
        asked[said["approval_id"]] = said.get("ending", "open")
    if dict(db.execute("SELECT approval_id, status FROM approvals").fetchall()) != asked:
        yield "questions"
    decided = {_key(message): message.value for message in _all(broker, [topics.control])}
    if dict(db.execute("SELECT * FROM control").fetchall()) != decided:
        yield "control"


def _all(broker: Broker, topics: Iterable[str]) -> list[Message]:
    sources = partitions_of(partition_counts(broker), topics)
    with closing(broker.reader()) as reader:
        return [message for source in sources for message in records(reader, source)]


def _key(message: Message) -> str:
    return (message.key or b"").decode()


def _unlike(name: str, row: Any, message: Message, whole: Message | None) -> list[str]:
    value = message.value or b""
    if row is None:
        return [f"{name} is missing"]
    said = json.loads(value)
    wrong = []
    if "event" in said:
        if row[0] != said.get("status", "open"):
            wrong.append(f"{name}: {row[0]} for {said.get('status')}")
    elif (row[0], row[1]) != (said["status"], round(said["closed"] * 1000)):
        wrong.append(f"{name}: {row[:2]} for {said}")
    if whole is not None and row[2] != shortened(whole.value or b"", _place(whole)):
        wrong.append(f"{name}: its state")
    return wrong


def _place(message: Message) -> str:
    return f"{message.topic}/{message.partition}/{message.offset}"
