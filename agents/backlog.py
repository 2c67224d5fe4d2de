"""What a worker has read and not started, what it runs, and what starts next. Pure.

Tasks are read ahead of what can run, so that a worker sees whom it has work for: a tenant behind
the flood of another, an urgent task behind ten thousand that are not. What starts next is decided
in three steps:

1. The lane. Urgent goes first; while normal work waits, `normal_share` of the slots is kept for
   it, and until it has them, the same share of the starts.
2. The tenant: of those that wait in the lane, the one with the fewest running (`FairLine`).
3. The key, for agents with an order: tasks of one key run one after another. Within a lane they
   keep their order; an urgent task goes before normal ones of its key that do not run yet.

What may not be read any further is held back by partition, with hysteresis: a lane that is full,
and a key with too many of its own waiting. Urgent and normal tasks are read ahead apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import ceil

from msgspec import Struct

from agents.fairness import FairLine, Tenant
from events.broker import Message, TopicPartition
from events.lanes import Lanes

Place = tuple[TopicPartition, int]

TAKE_MAX = 1000
"""Messages of one take: between two takes, what was settled makes room for what waits."""
TENANT = "ce_tenant"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of one agent's work is in one process."""

    in_flight_max: int = 64
    """Tasks that run. As many again may wait until their answers are acknowledged."""
    in_flight_bytes_max: int = 67_108_864
    """Bytes of those; the one that crosses the bound still starts."""
    normal_share: float = 0.2
    """Of the slots, for normal tasks while some wait. At least one slot is urgent's, too."""
    read_ahead_max: int = 16_000
    """Tasks that were read and wait, of each lane."""
    read_ahead_bytes_max: int = 33_554_432
    """Bytes of those, of each lane; the take that crosses the bound is kept."""
    key_depth_max: int = 1000
    """Tasks of one key that wait for the one before; the take that crosses the bound is kept."""


class _Task(Struct, frozen=True, eq=False):
    place: Place
    message: Message
    tenant: Tenant
    size: int
    lane: _Lane


@dataclass(slots=True, eq=False)
class _Lane:
    line: FairLine[_Task] = field(default_factory=FairLine)
    """What may start."""
    waiting: int = 0
    """What waits, for a slot or for its key."""
    waiting_bytes: int = 0
    running: int = 0
    full: bool = False


class Backlog:
    """The tasks of one agent in one process, from reading them until they are settled.

    Args:
        bounds: How many, and how large.
        urgent_topic: Tasks of this topic are urgent.
        ordered: Tasks with one key run one after another.
    """

    def __init__(self, bounds: Bounds, urgent_topic: str = "", *, ordered: bool = False) -> None:
        self.bounds = bounds
        self.running: dict[Place, _Task] = {}
        self.running_bytes = 0
        self.normal, self.urgent = _Lane(), _Lane()
        self._urgent_topic = urgent_topic
        self._ordered = ordered
        self._largest = 1
        self._kept = ceil(bounds.normal_share * bounds.in_flight_max)
        """Slots that are normal's while it waits."""
        self._urgent_max = max(bounds.in_flight_max - self._kept, 1)
        self._in_row_max = max(int(1 / bounds.normal_share) - 1, 0)
        self._urgent_in_row = 0
        """Urgent tasks started since a normal one, while a normal one waited."""
        self._keys: Lanes[_Task] = Lanes()
        self._busy: dict[bytes, _Task | None] = {}
        """Keys that run, and the head of the key's other lane if its turn came meanwhile."""
        self._deep: dict[bytes, set[TopicPartition]] = {}
        """Keys of which too much waits, and the partitions it came from."""

    @property
    def waiting(self) -> int:
        """Tasks that were read and do not run."""
        return self.normal.waiting + self.urgent.waiting

    @property
    def room(self) -> int:
        """How many tasks may be read now; 0 when both lanes are full."""
        bounds, rooms = self.bounds, []
        for lane in (self.normal, self.urgent):
            if not lane.full:
                bytes_left = bounds.read_ahead_bytes_max - lane.waiting_bytes
                by_bytes = max(bytes_left // self._largest, 1)
                rooms.append(min(bounds.read_ahead_max - lane.waiting, by_bytes, TAKE_MAX))
        return min(rooms, default=0)

    def holds(self, source: TopicPartition) -> bool:
        """Whether this partition may not be read any further for now."""
        lane = self.urgent if source.topic == self._urgent_topic else self.normal
        return lane.full or any(source in sources for sources in self._deep.values())

    # --- in and out

    def put(self, source: TopicPartition, message: Message) -> None:
        """A task was read from there; each one once."""
        size = len(message.value or b"")
        lane = self.urgent if source.topic == self._urgent_topic else self.normal
        task = _Task((source, message.offset), message, _tenant_of(message), size, lane)
        self._largest = max(self._largest, size)
        lane.waiting += 1
        lane.waiting_bytes += size
        if not self._ordered or self._keys.enter(_lane_key(task), task):
            lane.line.put(task.tenant, task)
        else:
            self._measure_key(task)

    @property
    def crowded(self) -> bool:
        """Whether something waits because all places are taken."""
        return self.waiting > 0 and len(self.running) >= self.bounds.in_flight_max

    def start(self, n: int, answered: int = 0) -> list[tuple[Place, Message]]:
        """Up to *n* of those that wait, in the order in which they start, within the bounds.

        *answered*: of those that run, who has ended and waits only for an acknowledgement. They
        hold no place: an agent whose work is waiting would stand idle for as long.
        """
        started: list[tuple[Place, Message]] = []
        bounds, running = self.bounds, self.running
        places = bounds.in_flight_max + min(answered, bounds.in_flight_max)
        while (
            len(started) < n
            and len(running) < places
            and self.running_bytes < bounds.in_flight_bytes_max
            and (task := self._next()) is not None
        ):
            lane = task.lane
            lane.waiting -= 1
            lane.waiting_bytes -= task.size
            lane.running += 1
            running[task.place] = task
            self.running_bytes += task.size
            started.append((task.place, task.message))
        for lane in (self.normal, self.urgent):
            self._measure(lane)
        return started

    def admit(self, place: Place, message: Message) -> bool:
        """Start a task that was never put, whoever's turn it is; false while its key runs."""
        size = len(message.value or b"")
        lane = self.urgent if message.topic == self._urgent_topic else self.normal
        task = _Task(place, message, _tenant_of(message), size, lane)
        if self._ordered and message.key is not None:
            if message.key in self._busy or self._keys.has(_lane_key(task)):
                return False
            self._keys.enter(_lane_key(task), task)
            self._busy[message.key] = None
        lane.line.begin(task.tenant)
        lane.running += 1
        self.running[place] = task
        self.running_bytes += size
        return True

    def end(self, place: Place) -> None:
        """A task that ran is settled, or its partition is gone."""
        task = self.running.pop(place)
        lane = task.lane
        lane.running -= 1
        self.running_bytes -= task.size
        lane.line.end(task.tenant)
        if self._ordered and task.message.key is not None:
            other = self._busy.pop(task.message.key)
            self._step_up(task)
            if other is not None:
                other.lane.line.put(other.tenant, other, first=True)

    def drop(self, gone: Collection[TopicPartition]) -> None:
        """Forget what waits of these partitions."""

        def lost(task: _Task) -> bool:
            return task.place[0] in gone

        heads: list[_Task] = []
        dropped = self._keys.drop(lost)
        for lane in (self.normal, self.urgent):
            heads += lane.line.drop(lost)
        heads += self._drop_blocked(lost)
        for task in (*dropped, *heads):
            task.lane.waiting -= 1
            task.lane.waiting_bytes -= task.size
        if self._ordered:
            for task in heads:
                self._step_up(task)
            for key in list(self._deep):
                self._deep[key] -= set(gone)
                self._measure_depth(key)
        for lane in (self.normal, self.urgent):
            self._measure(lane)

    # --- who is next

    def _next(self) -> _Task | None:
        while True:
            lane = self._lane_due()
            task = lane.line.take()
            if task is None:
                return None
            key = task.message.key
            if self._ordered and key is not None:
                if key in self._busy:
                    self._busy[key] = task  # one of its other lane runs: it is next after that
                    lane.line.end(task.tenant)
                    continue
                self._busy[key] = None
            if lane is self.normal or not self.normal.line.waiting:
                self._urgent_in_row = 0
            else:
                self._urgent_in_row += 1
            return task

    def _lane_due(self) -> _Lane:
        normal, urgent = self.normal, self.urgent
        if not urgent.line.waiting:
            return normal
        if not normal.line.waiting or normal.running >= self._kept:
            return urgent
        due = urgent.running >= self._urgent_max or self._urgent_in_row >= self._in_row_max
        return normal if due else urgent

    # --- keys

    def _step_up(self, task: _Task) -> None:
        """The head of a key's lane is gone: the next may start, before what came later."""
        following = self._keys.leave(_lane_key(task))
        if following is not None:
            following.lane.line.put(following.tenant, following, first=True)
        if task.message.key in self._deep:
            self._measure_depth(task.message.key)

    def _drop_blocked(self, lost: Callable[[_Task], bool]) -> list[_Task]:
        found = [task for task in self._busy.values() if task is not None and lost(task)]
        for task in found:
            self._busy[task.message.key or b""] = None
        return found

    def _measure_key(self, task: _Task) -> None:
        key = task.message.key
        if key is not None and self._depth(key) >= self.bounds.key_depth_max:
            self._deep.setdefault(key, set()).add(task.place[0])

    def _measure_depth(self, key: bytes) -> None:
        if not self._deep[key] or self._depth(key) <= self.bounds.key_depth_max // 2:
            del self._deep[key]

    def _depth(self, key: bytes) -> int:
        return max(self._keys.depth((key, lane)) for lane in (self.normal, self.urgent))

    def _measure(self, lane: _Lane) -> None:
        """Full at the bound, and until no more than half of it is left."""
        tasks, size = self.bounds.read_ahead_max, self.bounds.read_ahead_bytes_max
        if lane.full:
            lane.full = lane.waiting > tasks // 2 or lane.waiting_bytes > size // 2
        else:
            lane.full = lane.waiting >= tasks or lane.waiting_bytes >= size


def _lane_key(task: _Task) -> tuple[bytes, _Lane] | None:
    """Order holds within a lane."""
    key = task.message.key
    return None if key is None else (key, task.lane)


def _tenant_of(message: Message) -> Tenant:
    for name, value in message.headers:
        if name == TENANT:
            return value.decode("utf-8", "replace") if value else None
    return None
