"""A state on disk and one in memory are the same, whenever the process is killed."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from coordinator.orchestrator import Orchestrator
from coordinator.partition import PartitionState
from events.broker import TopicPartition
from events.sqlite_store import SqliteStore, SqliteStores
from schemas.commands import Cancel
from tests.unit.machine import event, opened, outcome
from tests.unit.test_orchestrator import PARTITIONS, TOPICS, Desk

LOG_AT = [TopicPartition("cw.cases", partition) for partition in range(PARTITIONS)]
INBOX = [TopicPartition("cw.inbox", partition) for partition in range(PARTITIONS)]


class OnDisk(Desk):
    """A desk whose orchestrator keeps its state in files, and can be killed."""

    def __init__(self, folder: Path) -> None:
        self.stores = SqliteStores(folder, "cluster/topic", "boot")
        super().__init__()

    def new(self) -> Orchestrator:
        return Orchestrator(
            TOPICS,
            [self.plan],
            partitions=PARTITIONS,
            writer_id="w",
            limits=self.limits,
            store_of=self.stores,
        )

    def turn(self, *messages: Any, promote: bool = True) -> Any:
        made = super().turn(*messages, promote=False)
        if made is not None and promote:
            self.keep(made)
            self.it.promote(made, {at: len(self.log[at.partition]) for at in LOG_AT})
        return made

    def kill(self) -> int:
        """Restart as after a kill; how many changelog records were read."""
        for state in self.it.states.values():
            assert isinstance(state.store, SqliteStore)
            state.store._db.close()
        self.it = self.new()
        read = 0
        for source in INBOX:
            log = self.log[source.partition]
            adopted = self.it.adopt(source, len(log), self.now)
            assert adopted.discarded is None
            rest = log[adopted.offset :]
            self.it.restore(source, rest, len(log))
            self.it.restored(source, None)
            read += len(rest)
        return read


def picture(state: PartitionState, case_ids: list[str]) -> Any:
    """What can be seen of a state."""
    return (
        {case_id: state.load(case_id) for case_id in case_ids},
        {case_id: case_id in state.closed for case_id in case_ids},
        state.notes(""),
        state.position,
        state.open_count,
    )


@pytest.mark.parametrize("seed", range(8))
def test_after_any_kill_the_state_is_that_of_the_whole_changelog(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    desk = OnDisk(tmp_path)
    case_ids: list[str] = []
    for step in range(60):
        desk.now += rng.random()
        match rng.randrange(6):
            case 0 | 1:
                command = opened(desk.plan, event(f"e{step}"))
                case_ids.append(command.case_id)
                desk.tell(command)
            case 2 if case_ids:
                desk.tell(Cancel(case_id=rng.choice(case_ids)))
            case 3 if case_ids:
                case = desk.case(rng.choice(case_ids))
                if case is not None and case.steps["triage"].status == "sent":
                    desk.tell(outcome(case, "triage"))
            case 4:
                desk.kill()
            case _:
                desk.turn()
    desk.kill()
    memory = Desk()
    memory.log, memory.plan, memory.now = desk.log, desk.plan, desk.now
    whole = memory.restarted()

    for partition in range(PARTITIONS):
        seen = picture(desk.it.states[partition], case_ids)
        assert seen == picture(whole.states[partition], case_ids)
    desk.it.close()


def test_a_restart_reads_only_what_was_not_written_yet(tmp_path: Path) -> None:
    desk = OnDisk(tmp_path)
    for number in range(200):
        desk.tell(opened(desk.plan, event(f"e{number}")))
    desk.now += 5
    for number in range(20):
        desk.tell(opened(desk.plan, event(f"f{number}")))

    assert 0 < desk.kill() < 60
    desk.it.close()
