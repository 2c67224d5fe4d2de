"""What a replay or drop did: told letter by letter, and summed up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from caseworks.cli.dlq.asked import Asked
from caseworks.cli.dlq.telling import money
from caseworks.cli.output import note, plain, say, write_json
from caseworks.dead_mail.letters import Dead
from caseworks.dead_mail.remedy import Remedy, saved_by
from events.errors import PayloadError
from schemas.usage import Usage

REFUSED_TOLD_MAX = 20
"""Refused letters that are told to people one by one; the others are counted."""


@dataclass
class Tally:
    """Counts for one command."""

    asked: Asked
    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    reused: dict[str, dict[str, Usage]] = field(default_factory=dict)
    """By case, the finished steps that are not run again, and what each cost."""

    @property
    def seen(self) -> int:
        """Letters so far."""
        return self.done + self.refused.total()

    def tell(self, dead: Dead, done: Remedy | PayloadError) -> None:
        """One letter was done, would be done, or was refused."""
        if isinstance(done, PayloadError):
            self._refuse(dead, done)
            return
        self.done += 1
        if done.case_id:
            self.reused[done.case_id] = self.reused.get(done.case_id, {}) | dict(done.reused)
        if self.asked.as_json:
            entry = done.entry.model_dump(mode="json")
            about = {"dead_letter": dead.place, "does": done.told, "dry_run": self.asked.dry_run}
            write_json({**about, **entry})
            return
        say(f"{dead.place} -> {done.entry.to or 'the audit'}: {plain(done.told)}")
        if self.asked.dry_run:
            for line in done.entry.changed.splitlines():
                say(f"  {plain(line)}")

    def remark(self, text: str) -> None:
        """Something beside the letters that a person should know."""
        note(text)

    def sum_up(self) -> None:
        """What became of all of them, for people."""
        if self.asked.as_json:
            return
        verb = "replayed" if self.asked.action == "replay" else "dropped"
        would = "would be " if self.asked.dry_run else ""
        refused = ", ".join(f"{count} {why}" for why, count in self.refused.most_common())
        say(f"{self.done} {would}{verb}" + (f"; refused: {refused}" if refused else ""))
        steps = sum(map(len, self.reused.values()))
        if steps:
            saved = money(saved_by(self.reused))
            say(f"saved {saved}: the results of {steps} finished steps are reused")

    def _refuse(self, dead: Dead, error: PayloadError) -> None:
        self.refused[error.reason] += 1
        why = error.args[0]
        if self.asked.as_json:
            write_json({"dead_letter": dead.place, "refused": error.reason, "why": why})
        elif self.refused.total() <= REFUSED_TOLD_MAX:
            note(f"refused: {plain(why)}")
