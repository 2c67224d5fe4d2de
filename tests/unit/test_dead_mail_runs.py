"""Replays that are killed, resumed and taken over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from caseworks.dead_mail.audit import Audit
from caseworks.dead_mail.runs import batches
from caseworks.dead_mail.transactions import Transactions
from events.broker import ConsumerSpec, Message, Record, TopicPartition
from events.errors import AbortableError, RetriableError, SetupError, UnstableError
from events.settings import Settings
from schemas.commands import Replay
from tests.unit.command_line import TOPICS, CommandLine
from tests.unit.dead_cases import bury, died, prepared
from tests.unit.mortal import WHOLE, Mortal, typed

SETTINGS = Settings()


@pytest.mark.parametrize("killed_before", range(10))
def test_a_run_that_is_killed_anywhere_goes_on_with_the_rest_only(killed_before: int) -> None:
    command = prepared()
    places = bury(command, *(died(f"e{number}") for number in range(150)))
    mortal = Mortal(command.broker.connect("killed"), killed_before)
    assert typed(mortal, *WHOLE) != 0  # 1 call of init, 4 to begin the run, 4 for each batch
    began = Audit(command.broker, SETTINGS).run("r") is not None
    assert began is (killed_before > 4)
    again = ("dlq", "replay", "--resume", "r", "--yes", "--rate", "100000/s") if began else WHOLE
    ran = command(*again)
    assert ran.code == 0, ran.err
    sent = [Replay.from_json(message.value).command_id for message in command.records(TOPICS.inbox)]
    assert Counter(sent) == Counter(places)
    assert ("150 replayed" in ran.out) is (killed_before < 9)
    written = [json.loads(m.value or b"")["place"] for m in _handled(command)]
    assert Counter(written) == Counter(places)


def _handled(command: CommandLine) -> list[Message]:
    found = command.records(TOPICS.letter_audit)
    return [message for message in found if b'"place"' in message.value]


def test_a_second_process_under_the_same_name_fences_the_first() -> None:
    command = prepared()
    bury(command, *(died(f"e{number}") for number in range(3)))
    assert command(*WHOLE, "--limit", "1").code == 0
    audit = Audit(command.broker, SETTINGS)
    run_ = audit.need_run("r")
    first = Transactions(command.broker, "cw-replay-r")
    second = Transactions(command.broker, "cw-replay-r")
    record = Record(TOPICS.letter_audit, b"x", b"{}")
    with pytest.raises(SetupError, match="another process took over cw-replay-r"):
        first.write([record])
    second.write([record])
    assert run_.name == "r"


def test_what_cannot_be_written_is_not_half_written() -> None:
    command = prepared()
    with pytest.raises(SetupError, match="not acknowledged"):
        Transactions(command.broker, "t").write(
            [Record(TOPICS.inbox, b"x", b"{}"), Record("nowhere", b"x", b"{}")]
        )
    assert command.records(TOPICS.inbox) == []


@dataclass
class Shaky:
    """A broker whose transactions are refused so often, and then accepted."""

    refusals: list[BaseException]
    calls: list[str] = field(default_factory=list)

    def transactional(self, transactional_id: str) -> Shaky:
        return self

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*args: object) -> None:
            self.calls.append(name)
            if name == "commit" and self.refusals:
                raise self.refusals.pop(0)

        return call


def test_an_aborted_transaction_is_written_anew() -> None:
    shaky: Any = Shaky([RetriableError("slow"), AbortableError("no")])
    Transactions(shaky, "t").write([])
    once = ["begin", "produce", "commit"]
    assert shaky.calls == ["init", *once, "commit", "abort", *once]


def test_an_interrupted_transaction_holds_up_nobody() -> None:
    shaky: Any = Shaky([KeyboardInterrupt()])
    transactions = Transactions(shaky, "t")
    with pytest.raises(KeyboardInterrupt):
        transactions.write([])
    transactions.close()
    assert shaky.calls[-2:] == ["abort", "close"]
    quiet: Any = Shaky([])
    Transactions(quiet, "t").close()
    assert quiet.calls == ["init", "close"]


def test_large_letters_make_small_batches() -> None:
    command, large = prepared(), b'"' + b"x" * 900_000 + b'"'
    dlq = TOPICS.dlq(TOPICS.events)
    command.produce(*[Record(dlq, b"k", large, partition=0)] * 25)
    at = TopicPartition(dlq, 0)
    made = list(batches(command.broker.reader(), {at: 0}, {at: 25}, bool, most=100))
    assert [len(batch.letters) for batch in made] == [10, 10, 5]
    assert [batch.positions[at] for batch in made] == [10, 20, 25]


@pytest.mark.parametrize("error", [RetriableError("slow"), AbortableError("no")])
def test_a_broker_that_never_accepts_is_given_up(error: Exception) -> None:
    shaky: Any = Shaky([error] * 100)
    with pytest.raises(SetupError, match="not acknowledged"):
        Transactions(shaky, "t").write([])
    assert len(shaky.refusals) > 50


def test_replay_and_audit_are_one_transaction_for_named_letters_too() -> None:
    command = prepared()
    [place] = bury(command, died())
    mortal = Mortal(command.broker.connect("killed"), 3)  # init, begin, produce: dies at commit
    assert typed(mortal, "dlq", "replay", place) != 0
    mortal.inner.link.expire()
    assert command.records(TOPICS.inbox) == command.records(TOPICS.letter_audit) == []
    assert command("dlq", "replay", place).code == 0
    assert len(command.records(TOPICS.inbox)) == 1


@dataclass
class Vague:
    """A broker whose consumers cannot say at first where their group stands."""

    inner: Any
    unsure: list[BaseException]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def consumer(self, spec: ConsumerSpec) -> Any:
        return Vague(self.inner.consumer(spec), self.unsure)

    def committed(self, partitions: Iterable[TopicPartition]) -> Any:
        if self.unsure:
            raise self.unsure.pop(0)
        return self.inner.committed(partitions)


def test_a_run_waits_until_the_broker_knows_where_it_stands() -> None:
    command = prepared()
    places = bury(command, *(died(f"e{number}") for number in range(3)))
    vague = Vague(command.broker, [UnstableError("not yet"), RetriableError("slow")])
    assert typed(vague, *WHOLE) == 0
    assert vague.unsure == []
    assert len(command.records(TOPICS.inbox)) == len(places)
