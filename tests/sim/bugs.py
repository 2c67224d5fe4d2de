"""Deliberate bugs: each is a piece of the product's source, and what stands there instead.

Every rule of `coordinator/README.md` is broken in turn. A piece that does not stand in its file
exactly once fails a test, so that no bug rots silently. `runs_max` is within how many runs of the
checker each must be caught; all of them start at seed 1 and are caught at the same run each time.
"""

from __future__ import annotations

from tests.sim.bug import Bug
from tests.sim.case_bugs import CASE_BUGS
from tests.sim.effect_bugs import EFFECT_BUGS
from tests.sim.spared_bugs import SPARED_BUGS

__all__ = ["BUGS", "Bug"]

LOOP = "coordinator/transactional.py"
TURN = "coordinator/case_turn.py"
WORKER = "agents/worker.py"
BACKLOG = "agents/backlog.py"


_ALL = (
    # --- rule 1: what a take brings belongs to an epoch
    Bug(
        "no epoch check",
        "rule 1",
        "events/memory/consumer.py",
        "return [m for m in first if self._assignment.get(m.source) == m.epoch]",
        "return list(first)",
        runs_max=150,
        profile="crowd",
    ),
    Bug(
        "epoch by ownership only",
        "rule 1",
        LOOP,
        "            if self.epochs.get(source) != epoch:\n"
        "                self._forget(source)\n"
        "                self.pending[source] = _Restoring()\n",
        "            if self.epochs.get(source) != epoch and source in self.ready:\n"
        "                self.pending[source] = _Restoring(self.ready[source], end=0)\n"
        "            elif self.epochs.get(source) != epoch:\n"
        "                self._forget(source)\n"
        "                self.pending[source] = _Restoring()\n",
        runs_max=100,
        profile="zombies",
    ),
    # --- rule 2: every transaction is fenced by positions
    Bug(
        "no offsets when only a timer fired",
        "rule 2",
        LOOP,
        "            yield from self._repeat(SendOffsets(turn.positions))\n",
        "            if messages:\n"
        "                yield from self._repeat(SendOffsets(turn.positions))\n",
        profile="agents",
    ),
    # --- rule 3: restore
    Bug(
        "no restore",
        "rule 3",
        LOOP,
        "state.end = ends[self._log(source)]",
        "state.end = 0",
        profile="kills",
    ),
    Bug(
        "restore to the stable offset",
        "rule 3",
        "events/dispatch.py",
        '"reader").ends(sources, committed=False)',
        '"reader").ends(sources, committed=True)',
        runs_max=150,
        profile="zombies",
    ),
    Bug(
        "committed positions without the wait",
        "rule 3",
        "events/memory/consumer.py",
        "                if offsets.unstable(tp):\n                    raise",
        "                if not offsets:\n                    raise",
        runs_max=150,
        profile="zombies",
    ),
    Bug(
        "a restore that skips a record",
        "rule 3",
        "coordinator/orchestrator.py",
        "        return Adopted(state.log_offset, discarded)\n",
        "        return Adopted(state.log_offset + 1, discarded)\n",
        profile="kills",
    ),
    # --- rule 5: errors
    Bug(
        "promote before commit",
        "rule 5",
        LOOP,
        "            ends: LogEnds = yield from self._repeat(Commit())\n",
        "            self.processor.promote(turn)\n"
        "            ends: LogEnds = yield from self._repeat(Commit())\n",
        profile="transactions",
    ),
    Bug(
        "offsets before the rest",
        "rule 5",
        LOOP,
        "            yield from self._repeat(Begin())\n",
        "            from events.loop import CommitOffsets\n\n"
        "            yield CommitOffsets(turn.positions)\n"
        "            yield from self._repeat(Begin())\n",
    ),
    Bug(
        "an abort that keeps the overlay",
        "rule 5",
        LOOP,
        "            self.processor.drop(turn)\n            yield from self._abort(",
        "            self.processor.promote(turn)\n            yield from self._abort(",
        profile="transactions",
    ),
    Bug(
        "no way back after an abort",
        "rule 5",
        LOOP,
        "        yield from self._repeat(Open(back))\n        self.aborts",
        "        self.aborts",
        profile="transactions",
    ),
    Bug(
        "what was set aside is taken again",
        "rule 5",
        LOOP,
        "            yield from self._repeat(Open(on))\n",
        "",
        runs_max=60,
        profile="transactions",
    ),
    Bug(
        "a commit's time-out taken for a refusal",
        "rule 5",
        LOOP,
        "            ends: LogEnds = yield from self._repeat(Commit())\n",
        "            try:\n"
        "                ends: LogEnds = yield Commit()\n"
        "            except RetriableError:\n"
        "                yield from self._repeat(Renew())\n"
        "                back = {s: self.ready[s] for s in turn.positions}\n"
        "                yield from self._repeat(Open(back))\n"
        "                return\n",
        profile="transactions",
    ),
    Bug(
        "a fenced producer goes on",
        "rule 5",
        LOOP,
        "        self.ready.clear()\n"
        "        self.pending = {source: _Restoring() for source in self.epochs}\n",
        "",
        profile="transactions",
    ),
    # --- rule 6: what is remembered
    Bug(
        "dedupe forgets",
        "rule 6",
        TURN,
        "            return not closed\n",
        "            return True\n",
    ),
    Bug(
        "a tombstone too early",
        "rule 6",
        "coordinator/case_record.py",
        "    return ClosedCase(closed=case.closed or 0.0, status=case.status).to_json()\n",
        "    return None\n",
    ),
    Bug(
        "a case closed for good while its letter waits",
        "rule 6",
        "coordinator/case_record.py",
        "return case.status not in CLOSED or bool(case.dead_letters)",
        "return case.status not in CLOSED",
        profile="agents",
    ),
    # --- timers
    Bug(
        "lost timer",
        "I4",
        "coordinator/partition.py",
        "        self.timers.arm(case.case_id, due)\n",
        "",
        profile="agents",
    ),
    Bug(
        "timers lost at a restore",
        "I4",
        "coordinator/partition.py",
        "            self.timers.arm(case_id, due)\n",
        "",
        runs_max=60,
        profile="kills",
    ),
    Bug(
        "backstop not armed",
        "I4",
        "coordinator/draft.py",
        "            deadline=self.backstop(step),\n",
        "            deadline=None,\n",
    ),
    # --- the inbox and dead letters
    Bug(
        "a forwarded command dropped",
        "I2",
        TURN,
        "        self.records.append(\n"
        "            Record(message.topic, message.key, message.value, message.headers, "
        "partition=home)\n"
        "        )\n",
        "",
        runs_max=60,
        profile="agents",
    ),
    Bug(
        "a dead letter without its task",
        "I9",
        "coordinator/records.py",
        "        value = outcome.task if outcome and outcome.task else written.value\n",
        "        value = None\n",
        profile="agents",
    ),
    # --- the worker
    Bug(
        "watermark past a gap",
        "I8",
        "agents/commits.py",
        "        positions = {source: said[0].offset for",
        "        positions = {source: self.partitions[source].ledger.end or 0 for",
    ),
    Bug(
        "an outcome dropped on revoke",
        "I8",
        WORKER,
        "        yield from self.commits.write(going, tries=COMMIT_TRIES, orderly=True)\n",
        "        for source, offset in [at for at in self.backlog.running if at[0] in going]:\n"
        "            self.partitions[source].ledger.finish(offset)\n"
        "        yield from self.commits.write(going, tries=COMMIT_TRIES, orderly=True)\n",
        runs_max=60,
        profile="churn",
    ),
    Bug(
        "a start that no commit tells of",
        "I4",
        WORKER,
        "        if above and not (yield from self.commits.write(self.partitions, above)):\n",
        "        if not above and not (yield from self.commits.write(self.partitions, above)):\n",
        profile="crashes",
    ),
    Bug(
        "starts of suspects are not counted",
        "I4",
        "agents/recovery.py",
        "            suspect.starts += not suspect.condemned\n",
        "",
        profile="crashes",
    ),
    Bug(
        "skips what was not finished",
        "I8",
        "events/progress.py",
        "        if not self.offset <= offset < self.end:\n",
        "        if not self.offset <= offset < self.passed_at:\n",
        runs_max=60,
        profile="churn",
    ),
    Bug(
        "a commit after the loss",
        "I8",
        WORKER,
        "            yield from self._drop(gone)\n",
        "            yield from self.commits.write(gone)\n"
        "            yield from self._drop(gone)\n",
        runs_max=150,
        profile="churn",
    ),
    Bug(
        "a position before its outcome",
        "I8",
        "agents/crew.py",
        "        self._sent[run] = None\n        run.parcel",
        "        message = run.message\n"
        "        self._settled.append(Settled(message.source, message.offset, message.epoch))\n"
        "        self._sent[run] = None\n"
        "        run.parcel",
        runs_max=40,
        profile="agents",
    ),
    Bug(
        "order that was asked for and not kept",
        "I7",
        WORKER,
        "            ordered=spec.order_by is not None,\n",
        "            ordered=False,\n",
        runs_max=60,
        profile="agents",
    ),
    Bug(
        "what follows in a key's lane forgotten",
        "I7",
        BACKLOG,
        "            following.lane.line.put(following.tenant, following, first=True)\n",
        "            pass\n",
    ),
    Bug(
        "a full lane that is never let go",
        "I10",
        BACKLOG,
        "            lane.full = lane.waiting > tasks // 2 or lane.waiting_bytes > size // 2\n",
        "            lane.full = True\n",
    ),
    Bug(
        "a deep key that is never let go",
        "I10",
        BACKLOG,
        "        if not self._deep[key] or self._depth(key) <= self.bounds.key_depth_max // 2:\n",
        "        if not self._deep[key]:\n",
        runs_max=100,
        profile="agents",
    ),
)
BUGS = {bug.name: bug for bug in (*_ALL, *CASE_BUGS, *EFFECT_BUGS, *SPARED_BUGS)}
