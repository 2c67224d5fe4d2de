"""After a worker's unclean end: what may have killed it is started with care, and counted. Pure.

A task that kills its worker would do so for ever: nobody is left to say what it did. So commits
tell what may have been started and not finished (`events.progress`), and whoever owns the partition
next takes those for *suspects*:

    waiting --its turn, committed first--> out --settled--> gone
    waiting --started too often, alone at the last time--> answered as failed (`crash_loop`)

Suspects of all partitions start one at a time, each after a commit that counts the start; nothing
else of their partitions runs beside them, other partitions go on. So when the worker dies again, it
is known which one was running: the next start is its third, and is not made.

A worker that was killed from outside leaves suspects too, and they are innocent. So that they hold
nobody up for long, one that has run for `ALONE_S` lets the next start beside it, and of more
than `GROUPS_MAX` suspects several start at once. Whoever was not alone when the worker died is not
condemned for it, but started once more: alone, and until its end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from agents.backlog import TAKE_MAX, Place
from events.broker import Message, TopicPartition
from events.progress import Again

STARTS_MAX = 3
"""The start of this number is not made, but answered."""
ALONE_S = 0.25
"""How long nothing is started beside a suspect that was started once before."""
GROUPS_MAX = 128
"""In how many groups suspects start at the most."""
CRASH_LOOP = "crash_loop"


@dataclass(slots=True, eq=False)
class Suspect:
    """A task that may have killed its worker; `starts` so far, this one included."""

    message: Message
    starts: int
    alone: bool
    before: Again
    """As it was found."""
    place: Place
    condemned: bool
    """Answered instead of started."""


class Recovery:
    """The suspects of one worker loop, in the order they were read, and what waits behind them."""

    def __init__(self, starts_max: int = STARTS_MAX) -> None:
        self._starts_max = starts_max
        self.waiting: deque[Suspect] = deque()
        self.out: dict[Place, Suspect] = {}
        self._behind: dict[TopicPartition, deque[Message]] = {}
        self._of: Counter[TopicPartition] = Counter()
        """Suspects by partition."""
        self._until = 0.0
        """Nothing more starts before, while something is out."""
        self._strict = False
        """What is out ends before something more starts."""

    def suspect(self, message: Message, before: Again) -> None:
        """A task was read that may have been started before."""
        source = message.source
        condemned = before.alone and before.starts >= self._starts_max - 1
        place = source, message.offset
        self.waiting.append(Suspect(message, *before, before, place, condemned))
        self._of[source] += 1

    def queue(self, message: Message) -> bool:
        """Whether a task that nobody suspects waits for suspects of its partition."""
        if not self._of[message.source]:
            return False
        self._behind.setdefault(message.source, deque()).append(message)
        return True

    def has(self, source: TopicPartition) -> bool:
        """Whether there are suspects of this partition."""
        return self._of[source] > 0

    def holds(self, source: TopicPartition) -> bool:
        """Whether this partition may not be read any further for now."""
        return source in self._behind or self._of[source] > TAKE_MAX

    def due(self, now: float, room: int, unread: int) -> list[Suspect]:
        """Who starts now, of whom nothing is known to run; *unread* suspects come after these."""
        if not self.waiting or room <= 0:
            return []
        if self.out and (self._strict or now < self._until):
            return []
        first = self.waiting[0]
        if first.starts > 1:
            return [] if self.out else [first]
        size = min(room, ceil((len(self.waiting) + unread) / GROUPS_MAX))
        group: list[Suspect] = []
        for suspect in self.waiting:
            if len(group) == size or suspect.starts > 1:
                break
            group.append(suspect)
        return group

    def begin(self, group: Sequence[Suspect], now: float) -> None:
        """The first that wait start, as soon as their starts are committed."""
        for suspect in group:
            assert self.waiting.popleft() is suspect
            self.out[suspect.place] = suspect
            suspect.starts += not suspect.condemned
        self._strict = any(suspect.before.starts > 1 for suspect in group)
        self._until = now + ALONE_S
        for suspect in self.out.values():
            suspect.alone = len(self.out) == 1

    def take_back(self, group: Sequence[Suspect]) -> None:
        """They were not started: the commit was refused."""
        for suspect in reversed(group):
            del self.out[suspect.place]
            suspect.starts, suspect.alone = suspect.before
            self.waiting.appendleft(suspect)
        self._until, self._strict = 0.0, False

    def settled(self, place: Place) -> Iterable[Message]:
        """A suspect is done; returns what waited behind the last one of its partition."""
        if self.out.pop(place, None) is None:
            return ()
        if len(self.out) == 1:
            next(iter(self.out.values())).alone = True  # from the next commit on
        source = place[0]
        self._of[source] -= 1
        return () if self._of[source] else self._behind.pop(source, ())

    def drop(self, gone: Collection[TopicPartition]) -> None:
        """Forget what is of these partitions."""
        self.waiting = deque(each for each in self.waiting if each.message.source not in gone)
        self.out = {place: each for place, each in self.out.items() if place[0] not in gone}
        for source in gone:
            self._behind.pop(source, None)
            del self._of[source]

    def again(self, source: TopicPartition, *, orderly: bool = False) -> dict[int, Again]:
        """What to write of them: starts beyond the first. An orderly end is nobody's fault."""
        if not self._of[source]:
            return {}
        found = {s.message.offset: s.before for s in self.waiting if s.message.source == source}
        for (at, offset), suspect in self.out.items():
            if at == source:
                now = Again(suspect.starts, suspect.alone)
                found[offset] = suspect.before if orderly else now
        return {offset: each for offset, each in found.items() if each.starts > 1}
