"""Graceful degradation: the chain of a step, what makes it go on along it, and what is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from coordinator.case import Applied, Tick, apply
from coordinator.effects import Bury, Keep, Publish, Recall, Retain
from coordinator.surroundings import Surroundings
from coordinator.workflow import Plan, compile_workflow
from coordinator.workflow_problems import problems_of
from schemas.agent import AgentSpec
from schemas.commands import Command, Replay
from schemas.outcome import Failure
from schemas.result import Degraded, Result
from schemas.task import task_id_of
from schemas.workflow import ApprovalSpec, LoopSpec, MapSpec, StepSpec, WorkflowSpec
from tests.unit.machine import START, Machine, event, sent, work_of

AGENTS = {name: AgentSpec(name=name) for name in ("ann", "bob", "rules", "boss")}
AWAY_S = 30.0


@dataclass
class Weather:
    """Who is away, and since when."""

    out: dict[str, float] = field(default_factory=dict)

    def away(self, agent: str) -> float | None:
        return self.out.get(agent)

    def retry_at(self, agent: str, due: float, now: float) -> float:
        return due


class Outside(Machine):
    """A machine in a world where agents may be away."""

    def __init__(self, plan: Plan, weather: Surroundings, **given: Any) -> None:
        self.weather = weather
        super().__init__(plan, **given)

    def do(self, command: Command | Tick) -> list[Any]:
        case = getattr(self, "case", None)
        after: Applied = apply(case, command, self.now, self.plan, self.parts.get, self.weather)
        assert after[0] is not None
        self.case = after[0]
        self.parts |= {e.key: e.state for e in after[1] if isinstance(e, Keep)}
        self.effects += after[1]
        return after[1]


def plan(*steps: StepSpec) -> Plan:
    return compile_workflow(WorkflowSpec(name="flow", on=("e",), steps=steps), AGENTS)


def step(**fields: Any) -> StepSpec:
    return StepSpec(**({"name": "a", "agent": "ann"} | fields))


def case_of(weather: Weather | None = None, **fields: Any) -> Outside:
    business = event().model_copy(update={"data": {"list": [1, 2]}})
    return Outside(plan(step(**fields)), weather or Weather(), business=business)


def result(it: Machine) -> Result:
    return next(e.result for e in reversed(it.effects) if isinstance(e, Publish))


def broke(kind: str = "boom") -> dict[str, Any]:
    return {"error": Failure(kind=kind, message="it broke")}


# --- along the chain


def test_the_links_are_asked_in_order_and_each_once() -> None:
    it = case_of(fallback=("bob", "rules"))

    assert sent(it.ends("a", "failed", **broke("permanent"))) == ["a"]
    assert it.state("a").agent == "bob"
    assert sent(it.ends("a", "halted", **broke("budget"))) == ["a"]
    assert it.state("a").agent == "rules"
    it.ends("a", output="as the rules say")

    said = result(it)
    assert (said.status, said.output) == ("degraded", "as the rules say")
    why = ("ann: permanent: it broke", "bob: budget: it broke")
    assert said.degraded == {"a": Degraded(link="rules", why=why)}
    assert said.reason == "a: fallback rules"


def test_the_own_agent_that_answers_late_degrades_nothing() -> None:
    it = case_of(fallback="bob")
    it.ends("a", "failed")
    it.ends("a", agent="ann", attempt=1)

    assert (result(it).status, result(it).degraded) == ("completed", {})


def test_after_the_last_link_the_task_is_dead_and_its_replay_begins_anew() -> None:
    it = case_of(fallback=("bob", "rules"))
    for _ in range(2):
        it.ends("a", "failed")
    effects = it.ends("a", "failed", **broke("last"))

    assert [e.error.kind for e in effects if isinstance(e, Bury)] == ["last"]
    task_id = task_id_of(it.case.case_id, "a")
    it.do(Replay(case_id=it.case.case_id, task_id=task_id, command_id="dlq:0:1"))
    assert (it.state("a").agent, it.state("a").handed) == ("ann", ())


def test_a_link_is_not_asked_again_after_the_higher_agent() -> None:
    it = case_of(fallback="bob", escalate_to="boss")
    it.ends("a", "failed")
    it.ends("a", "escalate")
    assert it.state("a").agent == "boss"

    assert sent(it.ends("a", "failed")) == []
    assert result(it).status == "escalated"


def test_each_round_of_a_loop_has_its_own_chain() -> None:
    it = case_of(fallback="bob", loop=LoopSpec(until="output.ok", iterations_max=3))
    for _ in range(2):
        it.ends("a", "failed")
        assert it.state("a").agent == "bob"
        it.ends("a", output={"ok": False})
        assert it.state("a").agent == "ann"


def test_an_item_goes_along_the_chain_by_itself() -> None:
    it = case_of(fallback="rules", map=MapSpec(over="data.list"))
    it.ends("a:0", "failed")
    it.ends("a:0", output=1)
    it.ends("a:1", output=2)

    assert result(it).output == [1, 2]
    assert result(it).degraded["a"].link == "items"


# --- the cache


def test_a_good_output_is_kept_and_one_of_a_stand_in_is_not() -> None:
    good, bad = (case_of(fallback=("cache", "bob")) for _ in range(2))
    good.ends("a", output="fresh", confidence=0.5)
    bad.ends("a", "failed")
    bad.ends("a", "failed", **broke("cache_miss"))
    bad.ends("a")

    (kept,) = (e.work for e in good.effects if isinstance(e, Retain))
    assert (kept.state.output, kept.state.confidence, kept.results) == ("fresh", 0.5, {})
    assert not [e for e in bad.effects if isinstance(e, Retain)]


def test_the_cache_is_asked_without_a_task_and_answers_as_an_agent_does() -> None:
    it = case_of(fallback="cache")
    effects = it.ends("a", "failed")

    assert [e.work.key for e in effects if isinstance(e, Recall)] == ["a"]
    assert sent(effects) == []
    it.ends("a", output="of yesterday")
    assert (result(it).output, result(it).degraded["a"].link) == ("of yesterday", "cache")


def test_a_dead_letter_says_what_led_to_a_cache_that_had_nothing() -> None:
    it = case_of(fallback="cache")
    it.ends("a", "failed", **broke("permanent"))
    effects = it.ends("a", "failed", **broke("cache_miss"))

    assert [e.error.kind for e in effects if isinstance(e, Bury)] == ["permanent"]


# --- escalate


def test_escalate_asks_people_and_leaves_no_dead_letter() -> None:
    it = case_of(fallback=("bob", "escalate"))
    it.ends("a", "failed")
    effects = it.ends("a", "failed")

    assert not [e for e in effects if isinstance(e, Bury)]
    assert (result(it).status, result(it).degraded["a"].link) == ("escalated", "escalate")


def test_escalate_asks_the_higher_agent_first() -> None:
    it = case_of(fallback="escalate", escalate_to="boss")
    it.ends("a", "failed")

    assert it.state("a").agent == "boss"
    it.ends("a", output="done by the boss")
    assert result(it).status == "completed"


# --- patience


def test_while_a_dependency_is_away_a_step_goes_straight_to_who_can_work() -> None:
    weather = Weather({"ann": START - AWAY_S, "bob": START - AWAY_S})
    it = case_of(weather, fallback=("bob", "rules"), degrade_after_s=AWAY_S)

    assert [work_of(it, "a").state.agent, it.state("a").attempt] == ["rules", 1]
    it.ends("a")
    why = ("ann: dependency_open: away for 30 s", "bob: dependency_open")
    assert result(it).degraded == {"a": Degraded(link="rules", why=why)}


def test_a_step_that_waits_in_its_topic_is_handed_on_when_its_patience_is_over() -> None:
    weather = Weather()
    it = case_of(weather, fallback="rules", degrade_after_s=AWAY_S)
    weather.out["ann"] = START + 20

    assert sent(it.at(START + AWAY_S)) == []
    assert sent(it.at(START + 49)) == []
    assert sent(it.at(START + 50)) == ["a"]
    assert it.state("a").agent == "rules"


def test_nobody_is_handed_on_to_who_is_away_himself() -> None:
    weather = Weather({"ann": START, "rules": START})
    it = case_of(weather, fallback="rules", degrade_after_s=AWAY_S)

    assert sent(it.at(START + AWAY_S)) == []
    del weather.out["rules"]
    assert sent(it.at(START + 2 * AWAY_S)) == ["a"]


def test_what_comes_back_deferred_for_longer_than_the_patience_is_handed_on() -> None:
    it = case_of(fallback="rules", degrade_after_s=AWAY_S)
    later = {"error": Failure(kind="dependency_open", retry_after_s=20.0)}
    it.ends("a", "deferred", **later)
    assert sent(it.at(START + 20)) == ["a"]
    it.ends("a", "deferred", **later)
    assert it.state("a").agent == "ann"

    assert sent(it.at(START + AWAY_S)) == ["a"]
    assert (it.state("a").agent, it.state("a").burnt) == ("rules", 0)


def test_without_patience_a_step_waits_for_the_whole_outage() -> None:
    it = case_of(Weather({"ann": START - 3_600}), fallback="rules")

    assert it.state("a").agent == "ann"
    assert it.state("a").look is None


def test_items_are_handed_on_by_patience_too() -> None:
    weather = Weather()
    over = MapSpec(over="data.list", concurrency=1)
    it = case_of(weather, fallback="rules", degrade_after_s=AWAY_S, map=over)
    weather.out["ann"] = START

    assert sent(it.at(START + AWAY_S)) == ["a:0"]
    it.ends("a:0")
    assert it.state("a:1").agent == "rules"


# --- what is refused

WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"fallback": ("bob", "nobody")}, "unknown fallback 'nobody' (known: ann, bob"),
    ({"fallback": ("bob", "ann")}, "its fallback is its own agent"),
    ({"fallback": ("bob", "rules", "bob")}, "goes round: 'bob' stands twice"),
    ({"fallback": ("escalate", "bob")}, "goes on after `escalate`"),
    ({"fallback": "escalate", "optional": True}, "keep one of them"),
    ({"agent": "cache"}, "'cache' is no agent but a link of `fallback`"),
    ({"fallback": "cache", "loop": LoopSpec(until="output")}, "`cache` in a `loop`"),
    ({"fallback": "boss", "escalate_to": "boss"}, "its escalate_to is its fallback"),
    ({"degrade_after_s": 5.0}, "`degrade_after_s` without a `fallback`"),
    (
        {"agent": None, "approval": ApprovalSpec(of="data"), "degrade_after_s": 5.0},
        "`degrade_after_s` is for agents",
    ),
)


@pytest.mark.parametrize(("fields", "problem"), WRONG)
def test_a_chain_that_cannot_work_is_refused(fields: dict[str, Any], problem: str) -> None:
    spec = WorkflowSpec(name="flow", on=("e",), steps=(step(**fields),))

    assert any(problem in said for said in problems_of(spec, AGENTS))


def test_an_agent_that_is_named_as_a_word_of_the_chain_is_refused_there() -> None:
    spec = WorkflowSpec(name="flow", on=("e",), steps=(step(fallback="cache"),))
    agents = {**AGENTS, "cache": AgentSpec(name="cache")}

    assert any("rename the agent" in said for said in problems_of(spec, agents))
