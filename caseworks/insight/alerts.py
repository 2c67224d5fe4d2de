"""When an alert fires and when it is over: once an episode, with hysteresis. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from caseworks.insight.cells import Cell
from caseworks.insight.drift import PSI_MIN
from caseworks.insight.rates import Standing
from schemas.alert import Alert, AlertRule
from schemas.base import instant

CLEAR = 0.2
"""How far back a value must come before an episode is over: a fifth of its threshold (for
confidence: of what the threshold lacks of 1)."""


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """From where on a value is out of bounds, and how many samples say anything."""

    errors_max: float = 0.05
    confidence_min: float = 0.7
    guards_max: float = 0.1
    samples_min: int = 50
    window_s: int = 900


@dataclass(frozen=True, slots=True)
class Measure:
    """One value that a rule looks at. `bad`: out of bounds; `well`: back for good."""

    rule: AlertRule
    scope: str
    value: float
    threshold: float
    samples: int
    bad: bool
    well: bool
    says: str


def measures(standings: Iterable[Standing], limits: AlertLimits) -> Iterator[Measure]:
    """Everything that has enough samples to be judged."""
    for standing in standings:
        kind, name = standing.subject.kind, standing.subject.name
        if kind == "all":
            continue
        scope, recent = f"{kind}:{name}", standing.recent
        if recent.n >= limits.samples_min:
            yield _above("errors", scope, recent.errors or 0.0, limits.errors_max, recent.n)
            hit = recent.guarded / recent.n
            yield _above("guards", scope, hit, limits.guards_max, recent.n)
        if kind != "tenant":
            yield from _confidence(scope, recent, limits)
            yield from _drift(scope, standing)


_WORDS = {"errors": "failed or ran out of time", "guards": "were stopped by a guard"}


def _above(rule: AlertRule, scope: str, value: float, limit: float, n: int) -> Measure:
    return Measure(
        rule,
        scope,
        value,
        limit,
        n,
        bad=value > limit,
        well=value <= limit * (1 - CLEAR),
        says=f"{value:.1%} of {n} {_WORDS[rule]}, allowed are {limit:.1%}",
    )


def _confidence(scope: str, recent: Cell, limits: AlertLimits) -> Iterator[Measure]:
    n, mean, limit = sum(recent.confidence.values()), recent.mean_confidence, limits.confidence_min
    if mean is None or n < limits.samples_min:
        return
    yield Measure(
        "confidence",
        scope,
        mean,
        limit,
        n,
        bad=mean < limit,
        well=mean >= limit + CLEAR * (1 - limit),
        says=f"the mean confidence of {n} is {mean:.2f}, wanted are {limit:.2f}",
    )


def _drift(scope: str, standing: Standing) -> Iterator[Measure]:
    found = standing.drift
    if found is None:
        return
    yield Measure(
        "drift",
        scope,
        found.psi,
        PSI_MIN,
        found.recent,
        bad=found.drifted,
        well=found.psi < PSI_MIN * (1 - CLEAR),
        says=(
            f"confidence has moved from its baseline: KS {found.ks:.2f} (p {found.p:.1g}), "
            f"PSI {found.psi:.2f}, {found.recent} against {found.baseline}"
        ),
    )


Key = tuple[AlertRule, str]


@dataclass(slots=True)
class Episodes:
    """The alerts that are firing. What was said in `{ns}.alerts` is their memory."""

    open: dict[Key, Alert] = field(default_factory=dict)

    def learn(self, alert: Alert) -> None:
        """Take over what was said before, in its order."""
        key = (alert.rule, alert.scope)
        if alert.state == "firing":
            self.open[key] = alert
        elif key in self.open and self.open[key].alert_id == alert.alert_id:
            del self.open[key]

    def judge(
        self, found: Iterable[Measure], seen: frozenset[str], now: float, window_s: int
    ) -> list[Alert]:
        """What is to be said now: new episodes, and those that are over.

        *seen*: the scopes that had any samples; who has none at all any more has no episode.
        """
        said: list[Alert] = []
        for measure in found:
            episode = self.open.get((measure.rule, measure.scope))
            if episode is None and measure.bad:
                said.append(_fire(measure, now, window_s))
            elif episode is not None and measure.well:
                said.append(_clear(episode, measure.value, measure.samples, now, measure.says))
        said += [
            _clear(episode, episode.value, 0, now, "nothing came any more")
            for (_, scope), episode in self.open.items()
            if scope not in seen
        ]
        for alert in said:
            self.learn(alert)
        return said


def _fire(measure: Measure, now: float, window_s: int) -> Alert:
    return Alert(
        alert_id=f"{measure.rule}:{measure.scope}:{int(now)}",
        rule=measure.rule,
        scope=measure.scope,
        state="firing",
        value=measure.value,
        threshold=measure.threshold,
        samples=measure.samples,
        window_s=window_s,
        since=instant(now),
        at=instant(now),
        says=measure.says,
    )


def _clear(episode: Alert, value: float, samples: int, now: float, says: str) -> Alert:
    return episode.evolve(state="cleared", value=value, samples=samples, at=instant(now), says=says)
