"""Asks the broker how far every group is, again and again, and makes one report of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from caseworks.lag.costs import Cost, read_attempt
from caseworks.lag.counting import Counts, Facts, Found, Scan, count
from caseworks.lag.groups import agent_of, groups_of
from caseworks.lag.holds import held_by, not_closed
from caseworks.lag.states import Sample, Window
from caseworks.lag.views import AgentWork, GroupReport, LagReport, PartitionLag, State
from coordinator.admission import Admission
from events.broker import TopicPartition
from events.errors import RetriableError
from events.logs import get_logger
from schemas.outcome import Outcome

if TYPE_CHECKING:
    from events.broker import Admin, Broker, LogReader, OffsetAndMetadata, Roster
    from events.settings import Settings
    from schemas.agent import AgentSpec
    from schemas.control import Decision

    Positions = Mapping[TopicPartition, OffsetAndMetadata | None]

PATIENCE_S = 8.0
"""How long is asked again and again before a look fails."""

log = get_logger(__name__)

Groups = Mapping[str, Sequence[str]]
"""Consumer groups, and the topics that each reads."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is read for one report."""

    partition_max: int = 200
    """Records of one partition."""
    records_max: int = 2_000
    """Records of all; beyond, of each partition the oldest alone."""
    attempts: int = 16
    """Newest records of an inbox partition, to learn what attempts cost."""
    inboxes: int = 4
    """Inbox partitions that are asked for those at a time, in turn; at first it is all of them."""


THOROUGH = Effort(partition_max=5_000, records_max=50_000, attempts=64, inboxes=64)
"""For one report that a person waits for."""


class Surveyor:
    """Remembers from report to report; owned by one thread.

    Args:
        broker: Asked with clients of its own, until `close`.
        settings: The namespace, and how long nothing has to move (`lag_window_s`).
        groups: What is looked at; `None`: the loops, and every agent whose tasks have a topic.
        specs: The agents of the app, which say what each calls and how long it may take.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        groups: Groups | None = None,
        *,
        specs: Mapping[str, AgentSpec] | None = None,
        clock: Callable[[], float] = time.time,
        effort: Effort | None = None,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._groups = groups
        self._specs = specs or {}
        self._clock = clock
        self._effort = effort or Effort()
        self._clients: tuple[Admin, LogReader] | None = None
        self._scans: dict[tuple[str, TopicPartition], Scan] = {}
        self._windows: dict[tuple[str, TopicPartition], Window] = {}
        self._decided: dict[bytes, Decision] = {}
        self._control_at = 0
        control = TopicPartition(settings.topics.control, 0)
        self._admission = Admission(control, settings.cases_open_max)
        self._costs: dict[str, Cost] = {}
        self._learned_to: dict[TopicPartition, int] = {}
        self._turn = 0
        self._left = 0

    def look(self) -> LagReport:
        """How it stands now. Raises `CaseworksError` when the broker does not answer."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._look()
            except RetriableError:  # a coordinator of groups that has just moved, mostly
                if time.monotonic() > deadline:
                    raise

    def _look(self) -> LagReport:
        admin, reader = self._clients = self._clients or (
            self._broker.admin(),
            self._broker.reader(),
        )
        topics = self._settings.topics
        groups = self._groups if self._groups is not None else self._found(admin)
        # Positions before ends: what is done in between must not look like a negative lag.
        positions = {group: admin.positions(group, read) for group, read in groups.items()}
        control = TopicPartition(topics.control, 0)
        inbox = admin.positions(topics.loop_group("orchestrator"), [topics.inbox, topics.control])
        sources = {*inbox, *(at for found in positions.values() for at in found)}
        bounds = reader.bounds(sorted(sources)) if sources else {}
        ends = reader.ends(sorted(sources), committed=False) if sources else {}
        if control in bounds:
            self._decide(reader, control, bounds[control])
        inboxes = sorted(at for at in inbox if at != control)
        self._learn(reader, {at: bounds[at] for at in inboxes})
        self._left = self._effort.records_max
        now = self._clock()
        reports = [
            self._group(
                group,
                now,
                self._roster(admin, group),
                [Facts(at, said, *bounds[at], ends[at]) for at, said in positions[group].items()],
                reader,
            )
            for group in groups
        ]
        reader.rest()  # until the next look
        shut = not_closed(self._decided.values())
        return LagReport(now, tuple(reports), tuple(self._work(reports)), shut)

    def close(self) -> None:
        """Free the clients; another `look` makes new ones."""
        if self._clients is not None:
            for each in self._clients:
                each.close()
        self._clients = None

    # ---- what is asked

    def _found(self, admin: Admin) -> Groups:
        from caseworks.fleet import agent_names

        return groups_of(self._settings.topics, agent_names(admin.topics(), self._settings.topics))

    def _roster(self, admin: Admin, group: str) -> Roster | None:
        try:
            return admin.roster(group)
        except RetriableError as error:
            log.warning("members_unknown", group=group, error=str(error))
            return None

    def _decide(self, reader: LogReader, source: TopicPartition, bounds: tuple[int, int]) -> None:
        """Read the decisions that are new."""
        from caseworks.fleet import read_decision

        first, stable = bounds
        if stable < self._control_at:
            self._decided, self._control_at = {}, 0
        at = max(self._control_at, first)
        while at < stable:
            found = reader.read(source, at, 1000)
            self._admission.learn(found.messages)
            for message in found.messages:
                decision = read_decision(message)
                if decision is not None:
                    self._decided[message.key or b""] = decision
            if found.next_offset <= at:
                break
            at = found.next_offset
        self._control_at = at

    def _learn(self, reader: LogReader, inbox: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Learn from the newest outcomes of some inbox partitions what attempts cost."""
        inboxes = list(inbox)
        if self._turn and len(inboxes) > self._effort.inboxes:
            begin = self._turn * self._effort.inboxes % len(inboxes)
            inboxes = list(islice([*inboxes, *inboxes], begin, begin + self._effort.inboxes))
        self._turn += 1
        n = self._effort.attempts
        for source in inboxes:
            first, stable = inbox[source]
            at = max(first, stable - n, self._learned_to.get(source, 0))
            if at >= stable:
                continue
            for message in reader.read(source, at, n).messages:
                if message.header("ce_type") == Outcome.ce_type:
                    self._learn_from(message.value or b"")
            self._learned_to[source] = stable

    def _learn_from(self, data: bytes) -> None:
        attempt = read_attempt(data)
        if attempt is not None:
            self._costs[attempt.agent] = self._costs.get(attempt.agent, Cost()).learn(attempt)

    def _scan(self, reader: LogReader, group: str, facts: Facts) -> Scan:
        """Read on where the last look stopped, as far as it may."""
        place = (group, facts.source)
        before = self._scans.pop(place, Scan())
        if facts.rewound or before.until > facts.stable or before.start > facts.start:
            before = Scan()  # it went back, or is another log
        if facts.start >= facts.stable:
            return Scan((), facts.start)
        found = [each for each in before.found if each.offset >= facts.start]
        at = max(before.until, facts.start)
        room = min(self._effort.partition_max - len(found), self._left)
        room = max(room, 0 if found else 1)
        while at < facts.stable and room > 0:
            got = reader.read(facts.source, at, room)
            found += [
                Found(m.offset, m.timestamp_ms) for m in got.messages if m.offset < facts.stable
            ]
            room -= len(got.messages)
            self._left -= len(got.messages)
            if got.next_offset <= at:
                break
            at = min(got.next_offset, facts.stable)
        scan = self._scans[place] = Scan(found, at, facts.start)
        return scan

    # ---- what is made of it

    def _group(
        self,
        group: str,
        now: float,
        roster: Roster | None,
        partitions: Iterable[Facts],
        reader: LogReader,
    ) -> GroupReport:
        agent = agent_of(self._settings.topics, group)
        held = "" if agent is None else held_by(agent, self._decided.values(), self._specs)
        if self._admission.full and group == self._settings.topics.loop_group("intake"):
            held = f"limit: {self._admission.open_count} cases are open"
        found = []
        for facts in partitions:
            counts = count(facts, self._scan(reader, group, facts))
            state = self._state(group, facts, counts, now, held=bool(held))
            owned = roster is not None and facts.source in roster.owned
            found.append(_partition(group, now, facts, counts, state, owned=owned))
        unowned = sum(not each.owned for each in found) if roster is not None else 0
        members = None if roster is None else roster.members
        return GroupReport(group, agent, members, unowned, held, tuple(found))

    def _state(
        self, group: str, facts: Facts, counts: Counts, now: float, *, held: bool
    ) -> State | None:
        place = (group, facts.source)
        window = self._windows.get(place)
        if window is None:
            spec = self._specs.get(agent_of(self._settings.topics, group) or "")
            takes_s = spec.timeout_s if spec is not None else 0.0
            window = Window(max(self._settings.lag_window_s, 1.1 * takes_s))
            self._windows[place] = window
        if facts.rewound:
            return "REWIND"
        if held:
            window.clear()
            return "OK"
        text = facts.committed.metadata if facts.committed is not None else ""
        window.add(Sample(now, facts.start, text, counts.lag))
        return window.judge()

    def _work(self, reports: Iterable[GroupReport]) -> Iterable[AgentWork]:
        for each in reports:
            if each.agent is not None:
                cost = self._costs.get(each.agent, Cost())
                none, all_ = cost.of(0), cost.of(each.lag)
                now, held = (none, all_) if each.held else (all_, none)
                yield AgentWork(each.agent, each.group, now, held, each.held, cost.attempts)


def survey(
    broker: Broker,
    settings: Settings,
    *,
    specs: Mapping[str, AgentSpec] | None = None,
    clock: Callable[[], float] = time.time,
) -> LagReport:
    """One report. Without a window nothing is known of states, but of what waits not at all.

    Raises `CaseworksError` when the broker does not answer.
    """
    with closing(Surveyor(broker, settings, specs=specs, clock=clock, effort=THOROUGH)) as surveyor:
        return surveyor.look()


def _partition(
    group: str, now: float, facts: Facts, counts: Counts, state: State | None, *, owned: bool
) -> PartitionLag:
    topic, partition = facts.source
    age_s = None if counts.oldest_ms is None else max(0.0, round(now - counts.oldest_ms / 1000, 3))
    return PartitionLag(
        group=group,
        topic=topic,
        partition=partition,
        committed=None if facts.committed is None else facts.committed.offset,
        stable=facts.stable,
        end=facts.end,
        lag=counts.lag,
        committed_lag=counts.committed_lag,
        done_ahead=counts.done_ahead,
        in_flight=counts.in_flight,
        undelivered=counts.undelivered,
        hidden=facts.end - facts.stable,
        deleted=facts.deleted,
        exact=counts.exact,
        oldest_age_s=age_s,
        owned=owned,
        state=state,
        why=_why(facts, counts, state, owned=owned),
    )


def _why(facts: Facts, counts: Counts, state: State | None, *, owned: bool) -> str:
    if facts.rewound:
        return "its position is behind the end: the topic was made anew or cut"
    if facts.deleted:
        return f"{facts.deleted} offsets were deleted before they were read"
    if counts.lag and not owned:
        return "no member has it"
    match state:
        case "REWIND":
            return "its position went back"
        case "STOP":
            return f"nothing was committed; offset {facts.start} is next"
        case "STALL":
            return f"what is behind offset {facts.start} is done, that is not"
        case "WARN":
            return "it moves, and falls behind"
    return "an open transaction hides what follows" if facts.stable < facts.end else ""
