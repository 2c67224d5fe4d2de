"""Reads what `look` judges: the projection, the broker, the lag and what insight has written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from caseworks import fleet
from caseworks.approvals import open_questions
from caseworks.attention.look import LIMITS, Limits, look
from caseworks.attention.views import (
    ApprovalFact,
    Attention,
    BehindFact,
    CaseFact,
    EffectFact,
    Inputs,
    LetterFact,
)
from caseworks.casebook import open_cases
from caseworks.effects import unsettled
from caseworks.insight.snapshot import path_of
from caseworks.insight.snapshot import read as read_snapshot
from caseworks.scan import partition_counts, partitions_of, records
from events.errors import BrokerError, CaseworksError, SetupError
from schemas.alert import Alert
from schemas.base import instant

if TYPE_CHECKING:
    from caseworks.lag import LagReport
    from caseworks.projection.views import (
        ApprovalView,
        Behind,
        CaseLine,
        CaseView,
        LetterView,
        Overview,
        Page,
    )
    from events.broker import Broker
    from events.settings import Settings
    from schemas.lean_case import Case

RECENT_S = 86_400
"""Cases that were opened before are not looked at for how they ended."""
CASES_MAX = 500
UNDOS_MAX = 30
"""Cases of each bad end that are asked whether their undoing failed, the newest."""
LETTERS_MAX = 2_000
"""Dead letters that are looked at, the newest."""
EFFECTS_READ_MAX = 20_000
"""Newest records of each partition of the ledger that are read for open calls."""
INSIGHT_OLD_S = 600.0
"""A snapshot that was not written for so long says nothing of now."""
KEPT_S = 5.0
EFFECTS_KEPT_S = 60.0


class Reads(Protocol):
    """What is asked of the projection; `caseworks.projection.read.ReadModel` answers it."""

    def behind(self) -> Behind: ...

    def case(self, case_id: str) -> CaseView | None: ...

    def cases(
        self, *, status: str | None = None, since: datetime | None = None, limit: int = 50
    ) -> Page[CaseLine]: ...

    def approvals(self, *, limit: int = 50, cursor: str | None = None) -> Page[ApprovalView]: ...

    def letters(self, *, limit: int = 50, cursor: str | None = None) -> Page[LetterView]: ...

    def overview(self, now: float | None = None) -> Overview: ...


@dataclass
class _Seen:
    """Inputs while they are gathered: a part that fails is named, and the others go on."""

    inputs: Inputs = field(default_factory=Inputs)

    def take(self, **found: Any) -> None:
        self.inputs = replace(self.inputs, **found)

    def miss(self, what: str) -> None:
        self.take(missing=(*self.inputs.missing, what))

    def part(self, name: str, read: Callable[[], dict[str, Any]], *, broker: bool = False) -> None:
        """Take what *read* finds. A broker that does not answer is asked no more."""
        if broker and self.inputs.broker_error:
            self.miss(f"{name}: Kafka does not answer")
            return
        try:
            self.take(**read())
        except BrokerError as error:
            self.take(broker_error=str(error))
            self.miss(f"{name}: Kafka does not answer")
        except CaseworksError as error:
            self.miss(f"{name}: {error}")


class Lookout:
    """Looks, and remembers for a moment: who asks at once shares one list. Thread-safe; blocks.

    Args:
        broker: Asked for control, the ledger of effects, and where there is no projection for more.
        settings: The namespace and the data folder.
        reads: The projection.
        lag: The report of the lag; may raise `CaseworksError`.
        clock: Seconds since the epoch.
        thorough: Read whole topics where there is no projection; else that is missing.
    """

    def __init__(  # noqa: PLR0913 - the parts that it reads
        self,
        broker: Broker,
        settings: Settings,
        reads: Reads,
        lag: Callable[[], LagReport],
        *,
        clock: Callable[[], float] = time.time,
        thorough: bool = False,
        limits: Limits = LIMITS,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._reads = reads
        self._lag = lag
        self._clock = clock
        self._thorough = thorough
        self._limits = limits
        self._lock = Lock()
        self._kept: tuple[float, Attention] | None = None
        self._effects: tuple[float, tuple[EffectFact, ...]] | None = None

    def tell(self) -> Attention:
        """The list, at most `KEPT_S` old; never raises for a part that cannot be read."""
        with self._lock:
            if self._kept is not None and time.monotonic() - self._kept[0] < KEPT_S:
                return self._kept[1]
            found = self.look()
            self._kept = (time.monotonic(), found)
            return found

    def look(self) -> Attention:
        """The list as of now."""
        now = self._clock()
        return look(self._gather(now), now, self._limits)

    def _gather(self, now: float) -> Inputs:
        seen, settings = _Seen(), self._settings
        seen.take(
            worker_prefix=f"{settings.namespace}-fleet-", usd_per_day=settings.attention_usd_per_day
        )
        try:
            partition_counts(self._broker)
        except CaseworksError as error:
            seen.take(broker_error=str(error))
        seen.part(
            "breakers and pauses",
            lambda: {"decisions": tuple(fleet.decisions(self._broker, settings).values())},
            broker=True,
        )
        seen.part("lag", lambda: {"lag": self._lag()}, broker=True)
        seen.part("effects", lambda: {"effects": self._open_effects(now)}, broker=True)
        seen.part("drift", lambda: {"alerts": _alerts(settings, now)})
        self._cases(seen, now)
        return seen.inputs

    def _cases(self, seen: _Seen, now: float) -> None:
        behind = self._reads.behind()
        at = _epoch(behind.updated_at)
        if at is not None:
            fact = BehindFact(behind.records, behind.seconds, at, behind.ready)
            seen.take(behind=fact)
            _from_projection(seen, self._reads, now)
            return
        start = "start it: caseworks projection"
        if not self._thorough:
            seen.miss(f"cases, questions, dead letters, spend: there is no projection; {start}")
            return
        seen.miss(f"escalated cases, failed undoing, spend: there is no projection; {start}")
        _from_topics(seen, self._broker, self._settings, now)

    def _open_effects(self, now: float) -> tuple[EffectFact, ...]:
        if self._effects is not None and time.monotonic() - self._effects[0] < EFFECTS_KEPT_S:
            return self._effects[1]
        found = tuple(_open_effects(self._broker, self._settings, now))
        self._effects = (time.monotonic(), found)
        return found


def _from_projection(seen: _Seen, reads: Reads, now: float) -> None:
    recent = instant(now - RECENT_S)

    def parked() -> Iterator[CaseFact]:
        for line in reads.cases(status="parked", limit=CASES_MAX).items:
            yield _case(line, line.updated_at)

    def escalated() -> Iterator[CaseFact]:
        for line in reads.cases(status="escalated", since=recent, limit=CASES_MAX).items:
            yield _case(line, line.closed_at)

    def letters() -> dict[str, Any]:
        found, more = _waiting(reads)
        if more:
            seen.miss(f"dead letters: only the newest {LETTERS_MAX} were looked at")
        return {"letters": tuple(found)}

    seen.part("parked cases", lambda: {"parked": tuple(parked())})
    seen.part("escalated cases", lambda: {"escalated": tuple(escalated())})
    seen.part("failed undoing", lambda: {"undo_failed": tuple(_undos(reads, recent))})
    seen.part(
        "questions",
        lambda: {"approvals": tuple(map(_question, reads.approvals(limit=CASES_MAX).items))},
    )
    seen.part("dead letters", letters)
    seen.part("spend", lambda: {"usd_today": Decimal(reads.overview(now).usd_today)})


def _undos(reads: Reads, since: datetime) -> Iterator[CaseFact]:
    for status in ("failed", "expired", "cancelled"):
        for line in reads.cases(status=status, since=since, limit=UNDOS_MAX).items:
            view = reads.case(line.case_id)
            undone = {} if view is None else view.undone
            stayed = [name for name, how in undone.items() if how.get("status") != "done"]
            if stayed:
                yield _case(line, line.closed_at, ", ".join(stayed))


def _case(line: CaseLine, at: str | None, detail: str = "") -> CaseFact:
    return CaseFact(line.case_id, line.workflow, _epoch(at), detail)


def _question(view: ApprovalView) -> ApprovalFact:
    return ApprovalFact(
        view.approval_id,
        view.case_id,
        view.workflow,
        view.step,
        _epoch(view.asked_at),
        _epoch(view.expires_at),
        view.on_expiry,
    )


def _waiting(reads: Reads) -> tuple[list[LetterFact], bool]:
    """The newest dead letters that wait, and whether there are more."""
    found: list[LetterFact] = []
    cursor: str | None = None
    looked = 0
    while looked < LETTERS_MAX:
        page = reads.letters(limit=CASES_MAX, cursor=cursor)
        looked += len(page.items)
        found += [
            LetterFact(each.topic, each.agent, each.reason, _epoch(each.at))
            for each in page.items
            if each.state == "waiting"
        ]
        cursor = page.next
        if cursor is None or not page.items:
            return found, False
    return found, True


def _from_topics(seen: _Seen, broker: Broker, settings: Settings, now: float) -> None:
    def parked() -> Iterator[CaseFact]:
        for each in open_cases(broker, settings):
            if each.status == "parked":
                yield CaseFact(each.case_id, each.workflow, _parked_at(each))

    def questions() -> Iterator[ApprovalFact]:
        for each in open_questions(broker, settings, now):
            asked = each.request
            yield ApprovalFact(
                asked.approval_id,
                asked.case_id,
                asked.workflow,
                asked.step,
                asked.asked_at.timestamp(),
                asked.expires_at.timestamp(),
                asked.on_expiry,
            )

    def letters() -> dict[str, Any]:
        found, count = _letters_of_topics(broker, settings)
        if count > len(found):
            seen.miss(f"dead letters: only the newest {len(found)} of {count} were looked at")
        return {"letters": tuple(found)}

    seen.part("parked cases", lambda: {"parked": tuple(parked())}, broker=True)
    seen.part("questions", lambda: {"approvals": tuple(questions())}, broker=True)
    seen.part("dead letters", letters, broker=True)


def _letters_of_topics(broker: Broker, settings: Settings) -> tuple[Sequence[LetterFact], int]:
    from caseworks.dead_mail.audit import Audit
    from caseworks.dead_mail.letters import agent_of
    from caseworks.dead_mail.reading import newest
    from caseworks.dead_mail.selection import Sieve
    from schemas.letter_audit import LetterFilter

    sieve, audit = Sieve(LetterFilter(), settings.topics), Audit(broker, settings)
    found, count = newest(broker, settings, sieve, LETTERS_MAX, audit, whole=False)
    letters = [
        LetterFact(
            each.message.topic,
            agent_of(each.message.topic, settings.topics) or None,
            each.letter.reason,
            each.message.timestamp_ms / 1000,
        )
        for each in found
    ]
    return letters, count


def _parked_at(case: Case) -> float:
    return max((step.ended for step in case.steps.values() if step.ended), default=case.opened)


def _open_effects(broker: Broker, settings: Settings, now: float) -> Iterable[EffectFact]:
    """Calls that are over and nobody knows of, as the newest records of the ledger tell."""
    sources = partitions_of(partition_counts(broker), [settings.topics.effects])
    with closing(broker.reader()) as reader:
        for source in sources:
            start = max(0, reader.end(source, committed=True) - EFFECTS_READ_MAX)
            for each in unsettled(records(reader, source, start)):
                if not each.running_at(now):
                    at = each.claim.at.timestamp() if each.claim is not None else None
                    yield EffectFact(each.effect_id, at, each.error)


def _alerts(settings: Settings, now: float) -> tuple[Alert, ...]:
    """What fires, as insight wrote it last. Raises `SetupError` where it did not lately."""
    try:
        found = read_snapshot(path_of(settings.data_dir, settings.namespace))
    except SetupError:  # its message names a path of this machine, and the API tells this to others
        raise SetupError("insight has not run here", hint="caseworks insight") from None
    at = _epoch(found.get("at"))
    if at is None or now - at > INSIGHT_OLD_S:
        raise SetupError("insight has not written anything lately", hint="caseworks insight")
    try:
        return tuple(Alert.from_json(json.dumps(each).encode()) for each in found["alerts"])
    except (KeyError, TypeError, ValidationError) as error:
        raise SetupError(f"the snapshot of insight cannot be read: {error}") from None


def _epoch(text: object) -> float | None:
    """Seconds since the epoch of RFC 3339; `None` for what is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
