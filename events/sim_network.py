"""What is on its way in a simulated cluster, as somebody who acts: it arrives when it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf

from events.memory import MemoryBroker
from events.memory.link import Delivering
from events.sim_actors import NOW, Incarnation, Runner


class Network:
    """Lets markers, records and delivery reports arrive, in any order that Kafka allows."""

    label = key = "network"
    only_waits = False
    done = False
    life = None
    place = -1

    def __init__(self, broker: MemoryBroker, lives: Callable[[], Iterable[Incarnation]]) -> None:
        self._broker = broker
        self._lives = lives
        self._served: Incarnation | None = None

    def due(self) -> float:
        cluster = self._broker.cluster
        busy = cluster.markers or (cluster.airborne > 0 and self._under_way())
        return NOW if busy else inf

    def neighbours(self) -> Sequence[Runner]:
        """All of the process whose reports it has just served."""
        return () if self._served is None else self._served.all_runners()

    def step(self) -> None:
        """One marker, one record, or the reports that one process waits for."""
        self._served = None
        markers = self._broker.markers
        under_way = self._under_way()
        chosen = self._broker.cluster.dice.pick(len(markers) + len(under_way))
        if chosen < len(markers):
            self._broker.write_marker(markers[chosen])
            return
        life, producer = under_way[chosen - len(markers)]
        if producer.sending:
            producer.deliver()
            return
        producer.poll()
        if life is not None:
            life.activity += 1
            self._served = life

    def half_step(self) -> None:
        """Nothing dies with it."""

    def finish(self) -> None:
        """It never ends."""

    def _under_way(self) -> list[tuple[Incarnation | None, Delivering]]:
        links = [(None, self._broker.link), *((life, life.broker.link) for life in self._lives())]
        return [
            (life, producer)
            for life, link in links
            if link.airborne
            for producer in link.producers
            if producer.sending or (producer.reports and not (life is not None and life.frozen))
        ]
