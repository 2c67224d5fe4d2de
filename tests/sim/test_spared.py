"""An outage is not waited for, identical events are one execution, and deferred ones wait.

The control arm of the outage is the same app without its patience: its answers wait.
"""

from __future__ import annotations

import pytest

from agents.context import Context
from caseworks.app import App
from caseworks.check.profiles import scenario_of
from caseworks.check.runs import broken
from caseworks.nodes import Step
from caseworks.simulation import Scenario, Verdict, simulate
from events.memory import QUIET
from tests.sim import spared_app
from tests.sim.test_outage import START_S, Crm, Customer, came

DOWN_S = (START_S + 2.0, START_S + 60.0)
PATIENCE_S = 5.0


def shop(crm: Crm, patience_s: float | None) -> App:
    app = App("shop")

    @app.agent(calls=("crm",), timeout_s=10.0)
    async def look_up(customer: Customer, ctx: Context) -> str:
        async with ctx.call("crm"):
            await crm.ask(ctx.now.timestamp())
        return customer.name

    @app.agent()
    def guess(customer: Customer) -> str:
        return "somebody"

    steps = [Step(look_up, fallback=guess, degrade_after_s=patience_s)]
    app.workflow("greeting", on={"customer.came": Customer}, steps=steps)
    return app


def outage(seed: int, patience_s: float | None) -> tuple[Verdict, Crm]:
    crm = Crm(down_s=DOWN_S)
    world = Scenario(faults=QUIET, coordinators=2, workers=2, settings={"tasks_partitions": 4})
    return simulate(shop(crm, patience_s), came(150), seed, scenario=world, tracing=False), crm


def waits_s(verdict: Verdict) -> list[float]:
    """From the opening of each case to its result."""
    said = [read.said for read in verdict.evidence.results]
    return [(result.closed_at - result.opened_at).total_seconds() for result in said]


@pytest.mark.parametrize("seed", range(3))
def test_with_a_fallback_no_case_waits_for_the_whole_outage(seed: int) -> None:
    verdict, crm = outage(seed, PATIENCE_S)
    results = [read.said for read in verdict.evidence.results]
    degraded = [result for result in results if result.status == "degraded"]

    assert (verdict.lost, verdict.doubled) == ([], [])
    assert len(results) == 150
    assert len(degraded) > 50
    assert {result.degraded["look_up"].link for result in degraded} == {"guess"}
    assert all("dependency_open" in r.degraded["look_up"].why[0] for r in degraded)
    assert max(waits_s(verdict)) < 2 * PATIENCE_S + 5.0
    assert len(crm.calls(DOWN_S[0] + 2.0, DOWN_S[1])) <= 6, "the dependency was not spared"


def test_without_patience_they_wait() -> None:
    verdict, _ = outage(1, None)

    assert max(waits_s(verdict)) > 30.0


@pytest.mark.parametrize("profile", ["all", "kills", "agents", "churn", "transactions"])
def test_the_rules_hold_whatever_is_killed(profile: str) -> None:
    seen: set[str] = set()
    for seed in range(1, 9):
        verdict = simulate(
            spared_app.app,
            tuple(spared_app.demo_events()),
            seed,
            scenario=scenario_of(seed, profile),
            tracing=False,
        )
        assert broken(verdict) == []
        results = [read.said for read in verdict.evidence.results]
        seen |= {"coalesced" for result in results if result.coalesced_with}
        seen |= {link.link for result in results for link in result.degraded.values()}

    assert {"coalesced", "look-up"} <= seen
