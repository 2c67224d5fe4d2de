"""What a worker loop reads and writes beside its committed offsets (`events.progress`)."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from agents.owned import Owned
from agents.recovery import Recovery
from events.broker import Message, OffsetAndMetadata, TopicPartition
from events.errors import FencedError, RetriableError, UnstableError
from events.loop import CommitOffsets, Note, Operation, ResumedFrom
from events.progress import Again, Progress, decode, encode

Step = Generator[Operation, Any, None]
Try = Generator[Operation, Any, bool]


class Commits:
    """The commits of one worker loop; *partitions* and *recovery* are the loop's own."""

    def __init__(
        self, agent: str, partitions: Mapping[TopicPartition, Owned], recovery: Recovery
    ) -> None:
        self.agent = agent
        self.partitions = partitions
        self.recovery = recovery
        self.unknown: set[TopicPartition] = set()
        """Partitions of which it is not known where reading went on."""
        self.remarks: list[Note] = []
        """To be told."""
        self._lost: dict[TopicPartition, tuple[tuple[int, str] | None, dict[int, Again]]] = {}
        """By lost partition: our last commit, and the suspects as they were before us."""

    def lose(self, gone: Iterable[TopicPartition]) -> None:
        """Partitions are lost without a last commit, though nobody died."""
        for source in gone:
            again = self.recovery.again(source, orderly=True)
            self._lost[source] = self.partitions[source].told, again

    def ask(self) -> Step:
        """Learn what stood beside the committed offsets; what nobody understands is nothing."""
        found: dict[TopicPartition, OffsetAndMetadata | None]
        found = yield ResumedFrom(tuple(sorted(self.unknown)))
        self.unknown.difference_update(found)
        for source, resumed in found.items():
            if resumed is not None and resumed.metadata:
                try:
                    past = decode(resumed.metadata, resumed.offset)
                except ValueError as error:
                    yield self._ignored(source, str(error))
                else:
                    past = self._cleared(source, resumed, past)
                    self.partitions[source].past = past if past.passed_at > past.offset else None

    def _cleared(
        self, source: TopicPartition, resumed: OffsetAndMetadata, past: Progress
    ) -> Progress:
        """What this very process wrote last accuses nobody: it lives."""
        told, again = self._lost.pop(source, (None, {}))
        if told != (resumed.offset, resumed.metadata):
            return past
        return replace(past, reach=max(again, default=-1) + 1, again=again)

    def _ignored(self, source: TopicPartition, why: str) -> Note:
        told = {"agent": self.agent, "partition": names([source])[0], "reason": why}
        return Note("progress_ignored", told)

    def recall(self, partition: Owned, message: Message) -> bool:
        """Whether a task needs no turn: it was finished before, or is suspected, or waits."""
        past, offset = partition.past, message.offset
        assert past is not None
        if not partition.opened:
            partition.opened = True
            if past.gap_before(offset, message.timestamp_ms):
                partition.past = None
                self.remarks.append(self._ignored(message.source, "it is of another log"))
                return False
        if past.finished(offset):
            partition.ledger.finish(offset)
            return True
        if offset < past.reach:
            self.recovery.suspect(message, past.starts(offset))
            return True
        if self.recovery.queue(message):
            return True
        if offset >= past.passed_at:
            partition.past = None
        return False

    def write(
        self,
        sources: Iterable[TopicPartition],
        forced: Collection[TopicPartition] = (),
        *,
        tries: int = 1,
        orderly: bool = False,
    ) -> Try:
        """Commit what moved, and what is *forced*; whether that, if anything, was accepted.

        A refusal changes nothing: the next commit says the same or more. But it may have been
        carried out, so nothing starts above the lower reach until one was accepted.
        """
        due: dict[TopicPartition, tuple[Progress, str, int]] = {}
        for source in sources:
            partition = self.partitions[source]
            watched = orderly and partition.told is not None
            if partition.ledger.end is None or not (
                partition.stirred or watched or source in forced
            ):
                continue
            again = self.recovery.again(source, orderly=orderly)
            progress = partition.progress(again, orderly=orderly)
            text = encode(progress)
            if (progress.offset, text) != partition.told:
                due[source] = progress, text, partition.ledger.finished
                partition.reach = min(partition.reach, progress.reach)
        if not due:
            return True
        positions = {source: said[0].offset for source, said in due.items()}
        texts = {source: said[1] for source, said in due.items()}
        for _ in range(tries):
            try:
                yield CommitOffsets(positions, texts)
            except (RetriableError, UnstableError, FencedError) as error:
                yield Note("commit_refused", {"agent": self.agent, "error": str(error)})
                if isinstance(error, FencedError):
                    return False
            else:
                for source, said in due.items():
                    self.partitions[source].committed(*said)
                return True
        return False


def names(sources: Iterable[TopicPartition]) -> list[str]:
    """Partitions for people."""
    return [f"{topic}/{partition}" for topic, partition in sorted(sources)]
