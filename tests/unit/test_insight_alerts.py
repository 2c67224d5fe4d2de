"""An alert fires once an episode, is over once, and survives a restart."""

from __future__ import annotations

from typing import Any

import pytest

from caseworks.insight.alerts import AlertLimits, Episodes, measures
from caseworks.insight.cells import Cell
from caseworks.insight.drift import Drift
from caseworks.insight.rates import Standing, standings
from caseworks.insight.windows import Subject
from schemas.alert import Alert
from tests.unit.insight_world import NOW, closed, read, step, tables

LIMITS = AlertLimits()
TICKET = Subject("workflow", "ticket")
SCOPE = "workflow:ticket"


def standing(
    n: int, bad: int, subject: Subject = TICKET, *, drift: Drift | None = None, **more: Any
) -> Standing:
    cell = Cell()
    for at in range(n):
        cell.add(closed(status="failed" if at < bad else "completed", **more))
    return Standing(subject, cell, cell, cell, cell, drift)


def judged(episodes: Episodes, found: Standing, at: float = NOW) -> list[tuple[str, str]]:
    scope = f"{found.subject.kind}:{found.subject.name}"
    seen = frozenset([scope] if found.recent.n else [])
    said = episodes.judge(measures([found], LIMITS), seen, at, LIMITS.window_s)
    return [(alert.rule, alert.state) for alert in said]


def test_errors_above_five_percent_fire_and_those_at_it_do_not() -> None:
    assert judged(Episodes(), standing(100, 5)) == []
    assert judged(Episodes(), standing(100, 6)) == [("errors", "firing")]


def test_an_episode_fires_once_and_is_over_once() -> None:
    episodes = Episodes()
    said = [judged(episodes, standing(100, bad)) for bad in (6, 20, 6, 5, 4, 4, 0)]
    assert said == [[("errors", "firing")], [], [], [], [("errors", "cleared")], [], []]


def test_a_rate_that_flutters_at_its_bound_fires_once() -> None:
    episodes = Episodes()
    said = [judged(episodes, standing(100, bad)) for bad in (6, 5, 6, 5, 6, 5)]
    assert said == [[("errors", "firing")], [], [], [], [], []]


def test_too_few_samples_neither_fire_nor_clear() -> None:
    episodes = Episodes()
    assert judged(episodes, standing(49, 49)) == []
    assert judged(episodes, standing(100, 50)) == [("errors", "firing")]
    assert judged(episodes, standing(10, 0)) == []
    assert list(episodes.open) == [("errors", SCOPE)]


def test_an_episode_is_over_when_nothing_comes_any_more() -> None:
    episodes = Episodes()
    judged(episodes, standing(100, 50))
    assert judged(episodes, standing(0, 0)) == [("errors", "cleared")]


def test_low_confidence_fires_and_clears_only_well_above() -> None:
    episodes = Episodes()
    said = [judged(episodes, standing(60, 0, confidence=c)) for c in (0.7, 0.69, 0.72, 0.77)]
    assert said == [[], [("confidence", "firing")], [], [("confidence", "cleared")]]


def test_guards_that_hit_in_more_than_a_tenth_fire() -> None:
    cell = Cell()
    for at in range(100):
        cell.add(closed(guards={"pii": 1} if at < 11 else {}))
    found = Standing(TICKET, cell, cell, cell, cell, None)
    assert judged(Episodes(), found) == [("guards", "firing")]


def test_drift_fires_for_workflows_and_agents_and_not_for_tenants() -> None:
    moved = Drift(ks=0.5, p=1e-9, psi=0.9, recent=300, baseline=900)
    assert judged(Episodes(), standing(1, 0, drift=moved)) == [("drift", "firing")]
    tenant = Subject("tenant", "acme")
    assert judged(Episodes(), standing(1, 0, tenant, drift=moved)) == []


@pytest.mark.parametrize("cleared", [True, False])
def test_after_a_restart_the_topic_says_what_is_firing(cleared: bool) -> None:
    before = Episodes()
    said: list[Alert] = []
    for bad, at in ((20, NOW), (0, NOW + 60))[: 2 if cleared else 1]:
        found = standing(100, bad)
        said += before.judge(measures([found], LIMITS), frozenset([SCOPE]), at, 900)
    after = Episodes()
    for alert in said:
        after.learn(Alert.from_json(alert.to_json()))
    assert after.open.keys() == before.open.keys()
    again = judged(after, standing(100, 20), NOW + 120)
    assert again == ([("errors", "firing")] if cleared else [])


def test_the_end_of_an_episode_has_its_id_and_says_why() -> None:
    episodes = Episodes()
    [fired] = episodes.judge(measures([standing(100, 20)], LIMITS), frozenset([SCOPE]), NOW, 900)
    [over] = episodes.judge(measures([standing(100, 0)], LIMITS), frozenset([SCOPE]), NOW + 9, 900)
    assert over.alert_id == fired.alert_id == f"errors:{SCOPE}:{int(NOW)}"
    assert over.since == fired.since < over.at
    assert fired.says == "20.0% of 100 failed or ran out of time, allowed are 5.0%"


def test_an_agent_whose_confidence_moved_from_yesterday_drifts() -> None:
    found = tables()
    before = [
        read(closed(NOW - 86_400, steps=(step(confidence=0.9 - at % 10 / 100),)), at)
        for at in range(400)
    ]
    now = [
        read(closed(NOW, steps=(step(confidence=0.4 + at % 10 / 100),)), 400 + at)
        for at in range(250)
    ]
    found.feed(before)
    found.feed(now)
    agent = next(s for s in standings(found, NOW + 1, 900) if s.subject.kind == "agent")
    assert agent.drift is not None
    assert agent.drift.drifted
    assert (agent.drift.recent, agent.drift.baseline) == (250, 400)
