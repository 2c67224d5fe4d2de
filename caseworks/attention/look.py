"""What a person should look at, from what was seen: rules, rank and bounds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import inf

from caseworks.attention.hints import command
from caseworks.attention.stuck import of_lag
from caseworks.attention.views import (
    SEVERITIES,
    Attention,
    CaseFact,
    Concern,
    Inputs,
    Kind,
    LetterFact,
    Severity,
)
from schemas.alert import Alert
from schemas.control import Breaker, Pause

TEXT_CHARS = 200
"""Of what others wrote, so much is shown."""
REPLAY_WHY = "its cause is mended"
"""For the audit: a replay of a selection has to say why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something needs a person, and how much is told."""

    items_max: int = 100
    kind_max: int = 25
    """Of one kind: a flood of one hides no other."""
    expiring_s: float = 900.0
    """A question that expires within this cannot wait."""
    waited_s: float = 4 * 3600.0
    """A question that has waited for so long should be looked at."""
    letters_many: int = 10
    """So many dead letters of one agent and reason are more than single records."""
    parked_s: float = 60.0
    """A case that is parked for less may be at work again before anybody looks."""
    projection_late_s: float = 30.0
    projection_silent_s: float = 60.0
    """Its writer says something several times a second while it lives."""
    spend_share: Decimal = Decimal("0.8")
    """Part of what may be spent in a day."""


LIMITS = Limits()


def look(inputs: Inputs, now: float, limits: Limits = LIMITS) -> Attention:
    """What needs a person at *now*, in seconds since the epoch."""
    found = sorted(_all(inputs, now, limits), key=_rank)
    shown: list[Concern] = []
    kinds: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for each in found:
        if len(shown) == limits.items_max or kinds[each.kind] == limits.kind_max:
            left_out[each.kind] += 1
        else:
            kinds[each.kind] += 1
            shown.append(each)
    return Attention(
        at=_instant(now) or "",
        items=shown,
        left_out=dict(sorted(left_out.items())),
        missing=[short(each) for each in inputs.missing],
    )


def short(text: str) -> str:
    """As much of it as a list shows."""
    return text if len(text) <= TEXT_CHARS else f"{text[: TEXT_CHARS - 1]}…"


def _rank(concern: Concern) -> tuple[int, bool, str, str, str]:
    at = concern.since
    return SEVERITIES.index(concern.severity), at is None, at or "", concern.kind, concern.about


def _all(inputs: Inputs, now: float, limits: Limits) -> Iterator[Concern]:
    yield from _broker(inputs, now)
    yield from _effects(inputs)
    yield from _cases(inputs, now, limits)
    yield from _approvals(inputs, now, limits)
    yield from _letters(inputs.letters, limits)
    yield from _decisions(inputs)
    yield from map(_alert, inputs.alerts)
    yield from _projection(inputs, now, limits)
    yield from _spend(inputs, now, limits)
    if inputs.lag is not None:
        yield from of_lag(inputs.lag, _instant)


def _broker(inputs: Inputs, now: float) -> Iterator[Concern]:
    if inputs.broker_error:
        yield Concern(
            kind="kafka",
            severity="critical",
            since=_instant(now),
            about="kafka",
            what="Kafka does not answer: nothing moves",
            why=short(inputs.broker_error),
            command=command("doctor"),
        )


def _effects(inputs: Inputs) -> Iterator[Concern]:
    for each in inputs.effects:
        case_id = each.effect_id.partition(":")[0]
        error = f"; its call raised {each.error}" if each.error else ""
        yield Concern(
            kind="effect",
            severity="critical",
            since=_instant(each.at),
            about=each.effect_id,
            what=f"nobody knows whether {short(each.effect_id)} happened",
            why=short(
                f"find out, then add --happened JSON or --did-not-happen to the command{error}"
            ),
            command=command("effect", "resolve", of=each.effect_id),
            case_id=case_id,
        )


def _cases(inputs: Inputs, now: float, limits: Limits) -> Iterator[Concern]:
    for each in inputs.undo_failed:
        what = f"a case of {each.workflow} ended, and {each.detail or 'a step'} could not be undone"
        yield _case("undo", "critical", each, what, command("case", "show", of=each.case_id))
    for each in inputs.parked:
        if each.at is None or now - each.at >= limits.parked_s:
            what = f"a case of {each.workflow} is parked: it waits for its dead letter"
            again = command("dlq", "replay", "--dry-run", case=each.case_id, why=REPLAY_WHY)
            yield _case("parked", "warning", each, what, again)
    for each in inputs.escalated:
        what = f"a case of {each.workflow} was escalated: a person has to go on with it"
        yield _case("escalated", "warning", each, what, command("case", "show", of=each.case_id))


def _case(kind: Kind, severity: Severity, case: CaseFact, what: str, mends: str) -> Concern:
    return Concern(
        kind=kind,
        severity=severity,
        since=_instant(case.at),
        about=case.case_id,
        what=short(what),
        command=mends,
        case_id=case.case_id,
    )


def _approvals(inputs: Inputs, now: float, limits: Limits) -> Iterator[Concern]:
    for each in inputs.approvals:
        left_s = inf if each.expires is None else each.expires - now
        waited_s = 0.0 if each.asked is None else now - each.asked
        if left_s <= 0 or (left_s > limits.expiring_s and waited_s < limits.waited_s):
            continue
        soon = left_s <= limits.expiring_s
        time = f"expires in {_span(left_s)}" if soon else f"has waited for {_span(waited_s)}"
        then = f"after that: {each.on_expiry}; " if each.expires is not None else ""
        answer = f"caseworks approvals decide {each.approval_id} approve|reject|correct"
        yield Concern(
            kind="approval",
            severity="critical" if soon else "warning",
            since=_instant(each.asked),
            about=each.approval_id,
            what=short(f"a question of {each.workflow}, step {each.step}, {time}"),
            why=short(f"{then}answer: {answer}"),
            command=command("approvals", "list"),
            case_id=each.case_id,
            approval_id=each.approval_id,
        )


def _letters(letters: Iterable[LetterFact], limits: Limits) -> Iterator[Concern]:
    groups: dict[tuple[str, str | None, str], list[LetterFact]] = {}
    for each in letters:
        place = "" if each.agent else each.topic
        groups.setdefault((place, each.agent, each.reason), []).append(each)
    for (topic, agent, reason), found in groups.items():
        whose = f"of {agent}" if agent else f"in {topic}"
        many = f"{len(found)} dead letters" if len(found) > 1 else "a dead letter"
        yield Concern(
            kind="dead letters",
            severity="critical" if len(found) >= limits.letters_many else "warning",
            since=_instant(min((each.at for each in found if each.at is not None), default=None)),
            about=f"{agent or topic}:{reason}",
            what=short(f"{many} {whose}: {reason}"),
            why="--dry-run only says what a replay would do; without it, it is done",
            command=command(
                "dlq",
                "replay",
                "--dry-run",
                agent=agent,
                topic=topic or None,
                reason=reason,
                why=REPLAY_WHY,
            ),
            page="letters",
        )


def _decisions(inputs: Inputs) -> Iterator[Concern]:
    for each in inputs.decisions:
        match each:
            case Breaker() if each.state != "closed" or each.held:
                yield _breaker(each)
            case Pause(paused=True):
                yield _pause(each, itself=each.by.startswith(inputs.worker_prefix or "\0"))


def _breaker(breaker: Breaker) -> Concern:
    state, name = breaker.state.replace("_", " "), breaker.dependency
    if breaker.held:
        then, mends = "; a person holds it so, until it is released", "release"
    else:
        then, mends = (
            "; it closes when a probe succeeds, or by the command if you know better",
            "close",
        )
    waits = "" if breaker.state == "closed" else ": tasks that call it wait"
    severities: dict[str, Severity] = {"open": "critical", "half_open": "warning"}
    return Concern(
        kind="breaker",
        severity=severities.get(breaker.state, "info"),
        since=None if breaker.at is None else _instant(breaker.at.timestamp()),
        about=name,
        what=f"the breaker of {name} is {state}{', held' if breaker.held else ''}{waits}",
        why=f"{short(breaker.reason or 'no reason was given')}{then}",
        command=command("breaker", mends, of=name),
        page="agents",
    )


def _pause(pause: Pause, *, itself: bool) -> Concern:
    version = f" (version {pause.agent_version})" if pause.agent_version else ""
    by = "itself: it failed too often" if itself else f"{pause.by or 'somebody'}"
    return Concern(
        kind="paused",
        severity="critical" if itself else "info",
        since=None if pause.at is None else _instant(pause.at.timestamp()),
        about=pause.agent,
        what=short(f"{pause.agent}{version} was paused by {by}; its tasks wait"),
        why=short(pause.reason),
        command=command("agent", "resume", of=pause.agent),
        agent=pause.agent,
    )


def _alert(alert: Alert) -> Concern:
    kind, _, name = alert.scope.partition(":")
    agent, _, version = name.rpartition("@") if kind == "agent" else ("", "", "")
    meanwhile = command("agent", "pause", of=agent, version=version) if agent else ""
    return Concern(
        kind="alert",
        severity="critical" if alert.rule == "errors" else "warning",
        since=_instant(alert.since.timestamp()),
        about=alert.scope,
        what=short(f"{kind} {name}: {alert.says}"),
        why=short(f"to stop it meanwhile: {meanwhile}" if agent else ""),
        command=command("insight", "show"),
        agent=agent or None,
        page="insight",
    )


def _projection(inputs: Inputs, now: float, limits: Limits) -> Iterator[Concern]:
    behind = inputs.behind
    if behind is None or behind.at is None:
        return
    silent_s = now - behind.at
    if silent_s > limits.projection_silent_s:
        what = f"the projection has not been written for {_span(silent_s)}: what is shown is old"
        severity: Severity = "critical"
    elif behind.seconds > limits.projection_late_s:
        what = f"the projection is {_span(behind.seconds)} behind, {behind.records} records"
        severity = "warning"
    elif not behind.ready:
        what, severity = "the projection is being made: not everything is shown yet", "info"
    else:
        return
    yield Concern(
        kind="projection",
        severity=severity,
        since=_instant(behind.at if severity == "critical" else now - behind.seconds),
        about="projection",
        what=what,
        why="" if severity != "critical" else "`caseworks up` runs one; else start the role",
        command=command("projection") if severity == "critical" else command("doctor"),
    )


def _spend(inputs: Inputs, now: float, limits: Limits) -> Iterator[Concern]:
    cap, spent = inputs.usd_per_day, inputs.usd_today
    if cap is None or spent < cap * limits.spend_share or not spent:
        return
    midnight = int(now) // 86_400 * 86_400
    yield Concern(
        kind="spend",
        severity="critical" if spent >= cap else "warning",
        since=_instant(midnight),
        about="spend",
        what=f"{spent:.2f} of {cap:.2f} USD of today are spent",
        why="nothing stops at it; insight says who spends, `agent pause` stops one",
        command=command("insight", "show", window="day"),
        page="spend",
    )


def _instant(epoch_s: float | None) -> str | None:
    if epoch_s is None:
        return None
    try:
        at = datetime.fromtimestamp(epoch_s, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at.isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def _span(seconds: float) -> str:
    """A time in words: `45 s`, `12 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
