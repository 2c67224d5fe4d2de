"""A dependency dies for a while under a fleet of three workers, and comes back.

The control arm is the same fleet without its controller: it must fail what is asked here, or the
questions are too easy.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from pydantic import BaseModel

from agents.context import Context
from caseworks.app import App
from caseworks.simulation import Scenario, Verdict, simulate
from events.errors import TransientError
from events.memory import QUIET
from schemas.base import instant
from schemas.event import Event
from schemas.outcome import Outcome

START_S = 1_700_000_000.0
DOWN_S = (START_S + 8.0, START_S + 53.0)
EVENTS = 450
"""Ten a second."""
REACTION_S = 2.0
"""Within it the fleet has heard."""
RESET_S = 10.0


class Customer(BaseModel):
    name: str


@dataclass
class Crm:
    """Answers, or fails while it is down; remembers when it was called."""

    down_s: tuple[float, float] = DOWN_S
    called_s: list[float] = field(default_factory=list)

    async def ask(self, now_s: float) -> None:
        self.called_s.append(now_s)
        await asyncio.sleep(0.05)
        if self.down_s[0] <= now_s < self.down_s[1]:
            raise TransientError("503")

    def calls(self, from_s: float, to_s: float) -> list[float]:
        return [at for at in self.called_s if from_s <= at < to_s]


def shop(crm: Crm) -> App:
    app = App("shop")

    @app.agent(calls=("crm",), timeout_s=10.0, tries_max=3)
    async def look_up(customer: Customer, ctx: Context) -> str:
        async with ctx.call("crm"):
            await crm.ask(ctx.now.timestamp())
        return customer.name

    app.workflow("greeting", on={"customer.came": Customer}, steps=[look_up])
    return app


def came(events: int = EVENTS) -> list[Event]:
    return [
        Event(
            id=f"e{number}",
            source="/tests",
            type="customer.came",
            subject=f"s{number}",
            time=instant(START_S),
            data={"name": "ann"},
        )
        for number in range(events)
    ]


@dataclass
class Seen:
    """What an outage left behind."""

    crm: Crm
    verdict: Verdict

    @property
    def outcomes(self) -> Counter[str]:
        """By status."""
        evidence = self.verdict.evidence
        written = evidence.by_topic.get(evidence.settings.topics.inbox, ())
        told = (wrote.message for _, wrote in written)
        return Counter(
            Outcome.from_json(each.value or b"").status
            for each in told
            if each.header("ce_type") == Outcome.ce_type
        )

    @property
    def dead(self) -> int:
        """Records in dead-letter topics."""
        topics = self.verdict.evidence.by_topic
        return sum(len(written) for name, written in topics.items() if name.endswith(".dlq"))

    def problems(self) -> list[str]:
        """Every promise that was not kept."""
        found = []
        open_s = (DOWN_S[0] + REACTION_S, DOWN_S[1])
        probes = self.crm.calls(*open_s)
        if len(probes) > (open_s[1] - open_s[0]) / RESET_S:
            found.append(f"{len(probes)} calls while it was open")
        if any(later - earlier < RESET_S for earlier, later in pairwise(probes)):
            found.append("two probes within a reset interval")
        if self.outcomes["retry"]:
            found.append(f"{self.outcomes['retry']} attempts burnt")
        if self.dead:
            found.append(f"{self.dead} dead letters")
        if self.verdict.lost or self.verdict.doubled:
            found.append(f"{len(self.verdict.lost)} lost, {len(self.verdict.doubled)} doubled")
        return found


def outage(seed: int, *, fleet: bool = True) -> Seen:
    crm = Crm()
    world = Scenario(
        faults=QUIET, coordinators=2, workers=3, settings={"tasks_partitions": 6}, fleet=fleet
    )
    return Seen(crm, simulate(shop(crm), came(), seed, scenario=world, tracing=False))


@pytest.mark.parametrize("seed", range(3))
def test_a_dead_dependency_is_probed_once_a_reset_interval_by_the_whole_fleet(seed: int) -> None:
    seen = outage(seed)

    assert seen.verdict.run.outcome == "done", seen.verdict.run
    assert seen.problems() == []
    assert seen.crm.calls(DOWN_S[0] + REACTION_S, DOWN_S[1]), "nobody probed: this shows nothing"


def test_the_backlog_comes_back_at_twice_the_usual_rate_at_most() -> None:
    seen = outage(5)

    back_s = seen.crm.calls(DOWN_S[1], DOWN_S[1] + 60.0)[0]
    first_ten = seen.crm.calls(back_s, back_s + 10.0)
    assert 0 < len(first_ten) <= 2 * 10 * 10


@pytest.mark.parametrize("seed", range(3))
def test_without_the_fleet_every_worker_probes_for_itself(seed: int) -> None:
    assert "two probes within a reset interval" in outage(seed, fleet=False).problems()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_killed_during_an_outage_every_event_ends_in_one_result(seed: int) -> None:
    crm = Crm(down_s=(START_S + 1.5, START_S + 20.0))
    world = Scenario(workers=3, settings={"tasks_partitions": 6})
    verdict = simulate(shop(crm), came(60), seed, scenario=world, tracing=False)

    assert verdict.run.outcome == "done", verdict.run
    assert (verdict.lost, verdict.doubled) == ([], []), verdict.run
