"""Serving one `dlq replay` or `dlq drop`: whom it is about, what is asked first, what is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import typer

from caseworks.cli.dlq.asked import Asked
from caseworks.cli.dlq.editor import in_editor
from caseworks.cli.dlq.tally import Tally
from caseworks.cli.output import note
from caseworks.dead_mail import changes
from caseworks.dead_mail.audit import Audit
from caseworks.dead_mail.letters import Dead, dead_of
from caseworks.dead_mail.pacing import Pacer, read_rate
from caseworks.dead_mail.reading import Bounds, Survey, bounds_of, find, survey, within
from caseworks.dead_mail.remedy import Orders, Remedy, World, drop_of, replay_of
from caseworks.dead_mail.runs import Job, carry_out, carry_out_named
from caseworks.dead_mail.seat import ends_of, place_key
from caseworks.dead_mail.selection import Sieve
from caseworks.dead_mail.standing import standings
from caseworks.scan import partition_counts
from events.broker import Broker
from events.errors import PayloadError, SetupError
from events.settings import Settings
from schemas.base import instant
from schemas.letter_audit import LetterRun


class Desk:
    """Serves one command on one broker."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        clock: Callable[[], float],
        asked: Asked,
        tally: Tally | None = None,
    ) -> None:
        """*tally*: who is told instead of the person at the terminal."""
        self.broker, self.settings, self.asked = broker, settings, asked
        self.now = clock()
        self.counts = partition_counts(broker)
        if settings.topics.letter_audit not in self.counts:
            told = f"there is no topic {settings.topics.letter_audit} for the audit"
            raise SetupError(told, hint="caseworks topics create")
        self.audit = Audit(broker, settings)
        self.tally = tally or Tally(asked)
        self.pacer = Pacer(read_rate(asked.rate))
        self.why, self.replays_max, self.patch = asked.why, asked.replays_max, asked.patch
        self.force = asked.force

    def serve(self) -> int:
        """Do what was asked; returns the exit code."""
        if self.asked.places:
            return self._named([find(self.broker, place) for place in self.asked.places])
        run, found = self._resumed() if self.asked.resume else self._begun()
        if not found.count:
            self.tally.remark("no dead letter is meant: nothing is left to do")
            return 0
        sieve = Sieve(run.chosen, self.settings.topics)
        world = self._world(found.case_ids)
        if self.asked.dry_run:
            return self._foretold(found, sieve, world)
        self._confirm(min(found.count, self.asked.limit or found.count))
        return self._run(run, sieve, world)

    # --- by their places

    def _named(self, letters: list[Dead]) -> int:
        for dead in letters:
            self._refuse_handled(dead)
        case_ids = {dead.letter.case_id for dead in letters if dead.letter.case_id}
        world = self._world(case_ids)
        given = self._edited(letters[0]) if self.asked.edit else None
        orders = self._orders("")

        def treat(dead: Dead) -> Remedy:
            return self._treat(dead, world, orders, given)

        if self.asked.dry_run:
            for dead in letters:
                self.tally.tell(dead, treat(dead))
        else:
            if len(letters) > 1:
                self._confirm(len(letters))
            carry_out_named(
                self.broker, self.settings, letters, Job(treat, self.tally.tell, self.pacer)
            )
        self.tally.sum_up()
        return 0

    def _refuse_handled(self, dead: Dead) -> None:
        entry = self.audit.last(dead.place)
        if entry is None or self.force:
            return
        verb = "replayed" if entry.action == "replay" else "dropped"
        when = f"{entry.at:%Y-%m-%d %H:%M:%S}Z"
        told = f"{dead.place}: it was {verb} by {entry.by} at {when}"
        raise PayloadError("handled", told + ("" if self.asked.action == "drop" else "; --force"))

    def _edited(self, dead: Dead) -> changes.Given | None:
        """What a person makes of a letter in an editor."""
        text = changes.editable(dead, self.settings)
        given = changes.edited(dead, self.settings, in_editor(text)) if text else None
        if given is None:
            note("nothing was changed: it is replayed as it was")
        return given

    # --- a selection

    def _begun(self) -> tuple[LetterRun, Survey]:
        asked = self.asked
        name = asked.name or f"{instant(self.now):%Y%m%d-%H%M%S}-{uuid4().hex[:4]}"
        if self.audit.run(name) is not None:
            told = f"a run named {name} was begun before: --resume {name}, or another name"
            raise PayloadError("run", told)
        chosen = asked.filters.chosen(self.now)
        sieve = Sieve(chosen, self.settings.topics)
        bounds = bounds_of(self.broker, self.settings, sieve)
        found = survey(self.broker, self.settings, sieve, self._skip(), bounds)
        if sieve.unfit:
            told = f"{sieve.unfit} letters are left out: --where cannot work with their values"
            self.tally.remark(told)
        run = LetterRun(
            name=name,
            action=asked.action,
            by=asked.by,
            why=asked.why,
            at=instant(self.now),
            chosen=chosen,
            patch=asked.patch,
            replays_max=asked.replays_max,
            ends={place_key(source): end for source, end in bounds.ends.items()},
        )
        return run, found

    def _resumed(self) -> tuple[LetterRun, Survey]:
        run = self.audit.need_run(self.asked.resume)
        if run.action != self.asked.action:
            raise PayloadError("run", f"the run {run.name} is a {run.action}: type that again")
        self.why, self.patch, self.replays_max = run.why, run.patch, run.replays_max
        self.force = run.replays_max is None
        ends = ends_of(run)
        admin = self.broker.admin()
        try:
            lags = admin.lag(self.settings.topics.replay_group(run.name))
        finally:
            admin.close()
        starts = dict.fromkeys(ends, 0) | {
            lag.source: lag.committed or 0 for lag in lags if lag.source in ends
        }
        sieve = Sieve(run.chosen, self.settings.topics)
        bounds = Bounds(starts, ends)
        return run, survey(self.broker, self.settings, sieve, self._skip(), bounds)

    def _skip(self) -> Any:
        return () if self.force else self.audit

    def _foretold(self, found: Survey, sieve: Sieve, world: World) -> int:
        orders, left = self._orders(""), self.asked.limit
        for message in within(self.broker, sieve, self._skip(), found.bounds):
            if left is not None and self.tally.seen >= left:
                break
            dead = dead_of(message)
            try:
                self.tally.tell(dead, self._treat(dead, world, orders))
            except PayloadError as error:
                self.tally.tell(dead, error)
        self.tally.sum_up()
        return 0

    def _run(self, run: LetterRun, sieve: Sieve, world: World) -> int:
        orders = self._orders(run.name)

        def treat(dead: Dead) -> Remedy:
            return self._treat(dead, world, orders)

        if run.action == "replay":
            self.tally.remark(f"if it is interrupted: caseworks dlq replay --resume {run.name}")
        job = Job(treat, self.tally.tell, self.pacer, self.asked.limit)
        ended = carry_out(self.broker, self.settings, run, sieve, self._skip(), job)
        self.tally.sum_up()
        if not ended and run.action == "replay":
            self.tally.remark(f"the rest: caseworks dlq replay --resume {run.name}")
        return 0

    # --- both

    def _treat(
        self, dead: Dead, world: World, orders: Orders, given: changes.Given | None = None
    ) -> Remedy:
        if self.asked.action == "drop":
            return drop_of(dead, world, orders)
        if self.patch is not None:
            given = changes.patched(dead, self.settings, self.patch)
        return replay_of(dead, world, orders, given)

    def _world(self, case_ids: set[str]) -> World:
        held = standings(self.broker, self.settings, case_ids) if case_ids else {}
        return World(self.settings, self.counts, held)

    def _orders(self, run: str) -> Orders:
        return Orders(self.asked.by, self.now, self.why, self.replays_max, self.force, run)

    def _confirm(self, count: int) -> None:
        asked = self.asked
        if asked.yes:
            return
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"{count} dead letters: say --yes, or --dry-run first")
        typer.confirm(f"{asked.action} {count} dead letters?", abort=True, err=True)
