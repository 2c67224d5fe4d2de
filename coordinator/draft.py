"""A case being changed by one command: collects moves and effects, checks them by the tables."""

from __future__ import annotations

from typing import Any

from coordinator import coalescing, delegation, fallback, mapping, undo, waits
from coordinator.effects import (
    Effect,
    Ignored,
    IgnoredWhy,
    Keep,
    LeaveFlock,
    Publish,
    Recall,
    SendTask,
    Tune,
)
from coordinator.expressions import ExpressionError, is_true
from coordinator.keys import UNDO, step_of
from coordinator.result import result_of
from coordinator.states import CASE, ENDED, ENDED_WELL, PASSIVE, STEP, CaseEvent, StepEvent
from coordinator.surroundings import QUIET, Surroundings
from coordinator.view import CaseView, Parts, no_parts
from coordinator.workflow import Plan
from schemas.case import Answer
from schemas.lean_case import Case, CaseStatus, StepState
from schemas.outcome import Failure
from schemas.usage import Usage
from schemas.workflow import CACHE, StepSpec


class Draft(CaseView):
    """The mutable side of `coordinator.case`; lives for one command."""

    __slots__ = (
        "advancing",
        "answer",
        "around",
        "changed",
        "closed",
        "dead_letters",
        "deadline",
        "effects",
        "ending",
        "following",
        "heard",
        "held",
        "now",
        "published",
        "reason",
        "replays",
        "signals",
        "status",
        "usage",
    )

    def __init__(
        self,
        case: Case,
        now: float,
        plan: Plan,
        part: Parts = no_parts,
        around: Surroundings = QUIET,
    ) -> None:
        super().__init__(case, plan, part)
        self.around = around
        self.now = now
        self.status: CaseStatus = case.status
        self.reason = case.reason
        self.closed = case.closed
        self.deadline = case.deadline
        self.published = case.published
        self.dead_letters = case.dead_letters
        self.replays = case.replays
        self.usage = case.usage
        self.ending = case.ending
        self.heard = case.heard
        self.signals = case.signals
        self.following = case.following
        self.held = case.held
        self.answer: Answer | None = None
        self.effects: list[Effect] = []
        self.changed = False
        self.advancing = False

    # --- moves

    def put(self, key: str, state: StepState) -> None:
        """A state as it is now."""
        self.changed = True
        if key in self.steps:
            self.steps[key] = state
        elif key.endswith(UNDO):
            self.undos = {**self.undos, key.removesuffix(UNDO): state}
        else:
            self.kept[key] = state
            mapping.arm(self, key, state)

    def move(self, key: str, event: StepEvent, **fields: Any) -> None:
        """Move a step by the table."""
        state = self.at(key)
        self.put(key, state.evolve(status=STEP[state.status][event], **fields))

    def replace(self, key: str, **fields: Any) -> None:
        """Change fields of a step without moving it."""
        self.put(key, self.at(key).evolve(**fields))

    def send(self, key: str, event: StepEvent, *, agent: str | None, **fields: Any) -> None:
        """Send the next attempt of a step to an agent."""
        state, step = self.at(key), self.spec(key)
        sent = state.evolve(
            status=STEP[state.status][event],
            agent=agent,
            attempt=state.attempt + 1,
            deadline=self.backstop(step),
            first_sent=state.first_sent if state.first_sent is not None else self.now,
            **fields,
        )
        if step.degrade_after_s is not None or state.look is not None:
            sent = sent.evolve(look=fallback.look_at(step, sent.handed, self.now))
        self.put(key, sent)
        try:
            work = self.work(key, step, sent)
        except ExpressionError as error:
            self.break_off(step_of(key), Failure(kind="bad_expression", message=str(error)))
        else:
            self.effects.append(Recall(work) if agent == CACHE else SendTask(work))

    def start(self, key: str, step: StepSpec, agent: str | None, **fields: Any) -> None:
        """Send a step to an agent, or to who stands in for one that has been away for too long."""
        if not fallback.started(self, key, step, agent):
            self.send(key, "send", agent=agent, **fields)

    def backstop(self, step: StepSpec) -> float | None:
        """When a step sent now is given up; `None`: the case's deadline serves."""
        return None if step.deadline_s is None else self.now + step.deadline_s

    # --- the case

    def finish_step(self, key: str, **fields: Any) -> None:
        """A step is done; go on with what waited for it."""
        self.move(key, "done", due=None, deadline=None, ended=self.now, **fields)
        if key in self.plan.steps:
            self.advance()
        elif key.endswith(UNDO):
            undo.advance(self)
        elif key in self.delegated:
            delegation.ended(self, key)
        else:
            mapping.ended(self, key)

    def skip_step(self, key: str, **fields: Any) -> None:
        """A step ends without an output; go on with what waited for it."""
        self.move(key, "skip", due=None, deadline=None, ended=self.now, **fields)
        if mapping.is_item(key):
            mapping.ended(self, key)
        else:
            self.advance()

    def advance(self) -> None:
        """Start every step whose inputs are there; close the case when all have ended well."""
        if self.status == "undoing":
            undo.advance(self)
        elif not self.advancing and not self.idle:  # whoever is at it sees what ends meanwhile
            self.advancing = True
            self._advance()
            self.advancing = False

    @property
    def idle(self) -> bool:
        """Whether it waits for its time, or for the case that it follows."""
        if self.held is not None:
            return True
        return self.following is not None and self.following.role != "leads"

    def _advance(self) -> None:
        steps, plan = self.steps, self.plan
        ended = {name for name, state in steps.items() if state.status in ENDED_WELL}
        if len(ended) < len(steps):
            for name in plan.order:
                if steps[name].status != "waiting":
                    continue
                step = plan.steps[name]
                if ended.issuperset(step.after) or (step.join == "any" and self._won(step)):
                    self._start(step)
                    if self.closed is not None or self.ending is not None:
                        return
                    if steps[name].status in ENDED_WELL:
                        ended.add(name)
            if self.delegated:
                self._start_delegated(ended)
            if plan.races:
                ended.update(self._skip_losers())
        if ended.issuperset(self.steps):
            if self.status == "parked":
                self.shift("resume", None)
            degraded = any(state.degraded for state in self.steps.values())
            self.close("degrade" if degraded else "complete", self._why_degraded())

    def _won(self, step: StepSpec) -> bool:
        """Whether one of those who race for the step is done."""
        return any(self.steps[source].status == "done" for source in step.after)

    def _start(self, step: StepSpec) -> None:
        """A step's turn has come."""
        name = step.name
        try:
            if not self._wanted(step):
                self.move(name, "skip", ended=self.now)
            elif step.wait is not None:
                waits.begin_wait(self, step)
            elif step.approval is not None:
                waits.begin_approval(self, step)
            elif step.map is not None:
                mapping.begin(self, step)
            else:
                self.start(name, step, step.agent)
        except ExpressionError as error:
            self.break_off(name, Failure(kind="bad_expression", message=str(error)))

    def _wanted(self, step: StepSpec) -> bool:
        if step.join == "any" and not self._won(step):
            return False
        return step.when is None or is_true(self.evaluate(step.when))

    def _start_delegated(self, ended: set[str]) -> None:
        for key, asked in self.delegated.items():
            if self.steps[key].status == "waiting" and ended.issuperset(asked.after):
                self.send(key, "send", agent=asked.agent)

    def _skip_losers(self) -> set[str]:
        """Whoever raced for a step that has started, and that nobody else will read."""
        lost: set[str] = set()
        for name in reversed(self.plan.order):
            readers = self.plan.readers.get(name, ())
            if self.steps[name].status in ENDED or not readers:
                continue
            if all(self.steps[reader].status != "waiting" for reader in readers):
                waits.withdraw(self, name)
                delegation.forget(self, name)
                self.move(name, "skip", due=None, deadline=None, ended=self.now)
                lost.add(name)
        return lost

    def break_off(self, name: str, error: Failure) -> None:
        """A step cannot go on: there is no task that a dead letter could hold."""
        step = self.plan.steps[name]
        if step.optional:
            self.skip_step(name, error=error, degraded=True)
            return
        self.move(name, "fail", error=error, ended=self.now, due=None, deadline=None)
        event: CaseEvent = "fail" if step.on_dead_letter == "fail" else "escalate"
        self.close(event, f"{name}: {error.kind}: {error.message}")

    def shift(self, event: CaseEvent, reason: str | None) -> None:
        """Move the case by the table without closing it."""
        self.changed = True
        self.status = CASE[self.status][event]
        self.reason = reason

    def close(self, event: CaseEvent, reason: str | None) -> None:
        """End the case: abandon what runs, undo what must be, publish the one result."""
        self.abandon()
        if undo.begin(self, event, reason):
            return
        self.shift(event, reason)
        self.closed = self.now
        self.effects += [Ignored("unheard")] * len(self.heard)
        self.heard = ()
        self.published += 1
        if self.following is not None and self.answer is None:
            self.effects.append(LeaveFlock(coalescing.answer_of(self)))
        self.effects += [Tune(kind, on=False) for kind in self.plan.waits]
        self.effects.append(Publish(result_of(self), self.published))

    def abandon(self) -> None:
        """Everything that has not ended, ends; questions are withdrawn."""
        for name, state in self.steps.items():
            if state.status in ENDED or state.status == "failed":
                continue
            waits.withdraw(self, name)
            self.move(name, "abandon", due=None, deadline=None, ended=self.now)

    def reopen(self) -> None:
        """Open a closed case for a replay: abandoned and undone steps wait again."""
        self.shift("reopen", None)
        self.closed = None
        self.deadline = self.now + self.plan.spec.deadline_s
        self.forget_delegated(tuple(self.delegated))
        again = undo.undone(self)
        for name, state in self.steps.items():
            if name in again or state.status == "failed":
                self.renew(name, anew=name in again)
            elif state.status == "abandoned":
                # A question that was withdrawn and comes again is another question.
                replay = state.replay + (state.question is not None)
                self.move(name, "reopen", replay=replay, burnt=0, ended=None, error=None)
        self.undos, self.ending = {}, None
        self.effects += [Tune(kind, on=True) for kind in self.plan.waits]

    def renew(self, key: str, *, anew: bool = False) -> None:
        """A step waits to be done as another task: what is still said of the old one is stale.

        How far a loop or a map had come stands, unless everything is to be done `anew`.
        """
        state = self.at(key)
        fresh = StepState(
            status=STEP[state.status]["reopen"],
            attempt=state.attempt,
            replay=state.replay + 1,
            input=state.input,
        )
        if not anew:
            so_far = {"iteration": state.iteration, "output": state.output, "items": state.items}
            fresh = fresh.evolve(**so_far)
        self.put(key, fresh)

    def forget_delegated(self, keys: tuple[str, ...]) -> None:
        """Delegated steps whose outcome nobody needs any more."""
        if keys:
            self.changed = True
            self.delegated = {k: v for k, v in self.delegated.items() if k not in keys}
            self.steps = {k: v for k, v in self.steps.items() if k not in keys}

    def spend(self, usage: Usage) -> None:
        """Add what an attempt cost to the case."""
        if not usage.is_nothing:
            self.changed = True
            self.usage = usage if self.usage is None else self.usage + usage

    def ignore(self, why: IgnoredWhy) -> None:
        """The command changes nothing."""
        self.effects.append(Ignored(why))

    def finish(self) -> tuple[Case, list[Effect]]:
        """The case as it is now; the very same object when nothing changed."""
        if not self.changed:
            return self.case, self.effects
        self._settle()
        if self.kept:
            self.effects += [Keep(key, state) for key, state in self.kept.items()]
        changed = self.case.evolve(
            steps=self.steps,
            status=self.status,
            reason=self.reason,
            closed=self.closed,
            deadline=self.deadline,
            published=self.published,
            dead_letters=self.dead_letters,
            replays=self.replays,
            usage=self.usage,
            delegated=self.delegated,
            undos=self.undos,
            ending=self.ending,
            heard=self.heard,
            signals=self.signals,
            following=self.following,
            held=self.held,
        )
        return changed, self.effects

    def _settle(self) -> None:
        """A case says that it is parked for a replay, or waits for the world, and why."""
        if self.status not in ("open", "waiting", "parked"):
            return
        if self.idle:
            if self.status == "open":
                self.shift("wait", None)
            self.reason = coalescing.reason_of(self)
            return
        parked = [name for name, state in self.steps.items() if state.status == "parked"]
        if parked and self.status != "parked":
            self.shift("park", "; ".join(self._why_parked(name) for name in parked))
        elif self.status == "parked" and not parked:
            self.shift("resume", None)
        if parked:
            return
        passive = [name for name, state in self.steps.items() if state.status in PASSIVE]
        if not passive and self.status == "open":
            return
        works = any(s.status in ("sent", "retrying", "mapping") for s in self.steps.values())
        if passive and not works:
            if self.status == "open":
                self.shift("wait", None)
            self.reason = "; ".join(waits.reason_of(self, name) for name in passive)
        elif self.status == "waiting":
            self.shift("resume", None)

    def _why_parked(self, name: str) -> str:
        error = self.steps[name].error
        return f"{name}: {error.kind}: {error.message}" if error else name

    def _why_degraded(self) -> str | None:
        parts = [
            f"{name}: {fallback.how(state)}" for name, state in self.steps.items() if state.degraded
        ]
        return "; ".join(parts) or None
