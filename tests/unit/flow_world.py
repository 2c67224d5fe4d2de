"""A world that lets anything happen to a case: in any order, twice, late, or never.

What happened is kept, and a property reads it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import note

from coordinator.case import Tick, apply, next_due
from coordinator.effects import Bury, Effect, Keep, Publish, Recall, SendTask
from coordinator.keys import UNDO, step_of
from coordinator.workflow import Plan
from schemas.base import Message
from schemas.case import Answer
from schemas.commands import Cancel, Command, Decision, Drop, Flocked, Replay, Signal
from schemas.lean_case import Case, StepState
from schemas.outcome import Delegate, Failure, Outcome, Progress
from schemas.task import task_id_of
from tests.unit.flows import AGENTS, Dice
from tests.unit.machine import Machine, event, opened

T = TypeVar("T")
WORKS = frozenset(("sent", "retrying"))

NOT_DONE = ("failed", "retry", "failed", "retry", "deferred", "halted", "escalate")
STATUSES = (*("done",) * 14, *NOT_DONE, "delegate", "delegate", "delegate")
OUTPUTS: tuple[Any, ...] = (
    {"ok": True, "list": [1, 2, 3]},
    {"ok": False, "list": []},
    {"ok": True, "list": [1]},
    None,
    "text",
    [1, 2],
)
LISTS: tuple[list[int], ...] = ([1, 2], [], [1], [1, 2, 3], [1, 2, 3, 4, 5, 6])
JUMPS_S = (0.0, 1.0, 30.0, 61.0, 1.0, 30.0, 61.0, 1.0, 30.0, 400.0, -3_600.0, 3_600.0)


@dataclass(frozen=True)
class Seen:
    """One command, what it found, and what became of it."""

    now: float
    before: Case | None
    command: Command | Tick
    effects: tuple[Effect, ...]
    after: Case
    parts: dict[str, StepState]
    """The items of its maps afterwards."""

    def closes(self) -> bool:
        """Whether it ended a life of the case."""
        return bool(self.of(Publish))

    def reopens(self) -> bool:
        """Whether it gave the case another life, be it one that ended at once."""
        was_closed = self.before is not None and self.before.closed is not None
        return was_closed and (self.after.closed is None or self.closes())

    def then(self, plan: Plan, command: Command | Tick, wait_s: float = 0.0) -> Seen:
        """What would become of this if the next thing to happen were a command."""
        now = self.now + wait_s
        after, effects = apply(self.after, command, now, plan, self.parts.get)
        assert after is not None
        parts = self.parts | {e.key: e.state for e in effects if isinstance(e, Keep)}
        return Seen(now, self.after, command, tuple(effects), after, parts)

    def of(self, kind: type[T]) -> list[T]:
        """Its effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]


@dataclass(frozen=True)
class Posted:
    """A task as its worker holds it."""

    task_id: str
    key: str
    agent: str
    attempt: int


class World(Machine):
    """A case among workers, people and operators that answer in any order, twice, or never."""

    def __init__(self, plan: Plan, list_: list[int]) -> None:
        self.tasks: list[Posted] = []
        self.letters: list[str] = []
        self.history: list[Seen] = []
        data = {"yes": True, "no": False, "list": list_}
        note(plan.spec.to_compact_json())
        given = {"data": data, "priority": "deferred" if plan.off_peak else "normal"}
        super().__init__(plan, business=event().model_copy(update=given))

    def do(self, command: Command | Tick) -> list[Any]:
        note(command.to_compact_json() if isinstance(command, Message) else (self.now, command))
        before = getattr(self, "case", None)
        effects = super().do(command)
        self.history.append(
            Seen(self.now, before, command, tuple(effects), self.case, dict(self.parts))
        )
        for effect in effects:
            if isinstance(effect, (SendTask, Recall)):
                self.tasks.append(_posted(self.case, effect))
            elif isinstance(effect, Bury):
                key, state = effect.work.key, effect.work.state
                self.letters.append(
                    task_id_of(self.case.case_id, key, state.replay, state.iteration)
                )
        return effects

    # --- one thing that may happen

    def happen(self, dice: Dice) -> None:
        """Something happens a moment later, and is told once or several times."""
        self.now += dice.of((0.0, 1.0, 0.25))
        command = dice.of(HAPPENINGS)(self, dice)
        for _ in range(dice.of((1, 1, 1, 2, 3))):
            self.do(command)

    def _answer(self, dice: Dice) -> Command | Tick:
        """A worker ends one of the tasks that the case waits for; without one, others act."""
        at_work = self.at_work()
        if at_work:
            return self._outcome(dice.of(at_work), dice)
        if self.case.following is not None and self.case.following.role != "leads":
            return self._flocked(dice)
        return dice.of(OTHERS)(self, dice)

    def _repeat(self, dice: Dice) -> Outcome:
        """A worker ends any task that there ever was."""
        task = self.tasks[dice.roll(len(self.tasks))] if self.tasks else NOBODYS
        return self._outcome(task, dice)

    def _invent(self, dice: Dice) -> Outcome:
        """A worker that is mistaken about its task."""
        keys = [*self.case.steps, *self.parts, *(f"{name}{UNDO}" for name in self.plan.order)]
        keys += [f"{name}:{dice.roll(8)}" for name in self.plan.order]
        key = dice.of((*keys, "nothing", "s0.nothing", "s0.nothing:1"))
        attempt, replay, iteration = dice.of((1, 0, 2, 9)), dice.roll(3), dice.roll(3)
        task_id = task_id_of(self.case.case_id, key, replay, iteration)
        return self._outcome(Posted(task_id, key, dice.of((*AGENTS, "zed")), attempt), dice)

    def _outcome(self, task: Posted, dice: Dice) -> Outcome:
        status = dice.of(STATUSES)
        error = Failure(kind="boom", message="it broke")
        if status == "deferred":
            error = Failure(kind="open", retry_after_s=dice.of((5.0, 600.0)))
        return Outcome.model_validate(
            {
                "task_id": task.task_id,
                "case_id": self.case.case_id,
                "agent": task.agent,
                "attempt": task.attempt,
                "status": status,
                "output": dice.of(OUTPUTS) if status == "done" else None,
                "confidence": dice.of((1.0, 1.0, 1.0, 0.6, 0.2)),
                "error": None if status == "done" else error,
                "usage": {"calls": 1},
                "delegates": _delegates(dice) if status == "delegate" else (),
                "started_at": event().time,
                "finished_at": event().time,
            }
        )

    def _progress(self, dice: Dice) -> Progress:
        task = dice.of(self.tasks[::-1] or [NOBODYS])
        return Progress(
            task_id=task.task_id,
            case_id=self.case.case_id,
            agent=task.agent,
            attempt=task.attempt,
        )

    def _wake(self, dice: Dice) -> Tick:
        """The timer fires, when it should or at another time."""
        if dice.rare(2):
            self.now += dice.of(JUMPS_S)
        elif self.case.closed is None:
            self.now = max(self.now, next_due(self.case, 0))
        return Tick()

    def _cancel(self, dice: Dice) -> Cancel:
        return Cancel(case_id=self.case.case_id)

    def _replay(self, dice: Dice) -> Replay:
        """An operator replays a letter, or what was never one."""
        if self.letters and not dice.rare(4):
            given = {"input": dice.of((None, None, {"ok": True}))}
            return self.letter(dice.roll(len(self.letters))).model_copy(update=given)
        name = dice.of((*self.case.steps, *self.parts, "nothing"))
        task_id = task_id_of(self.case.case_id, name, dice.roll(2))
        command_id = f"invented:0:{dice.roll(3)}"
        return Replay(case_id=self.case.case_id, task_id=task_id, command_id=command_id)

    def _drop(self, dice: Dice) -> Drop:
        letter = self.letters[dice.roll(len(self.letters))] if self.letters else "nobody:s0"
        return Drop(case_id=self.case.case_id, task_id=letter, command_id="drop")

    def letter(self, index: int) -> Replay:
        """The command that replays this letter."""
        task_id = self.letters[index]
        return Replay(case_id=self.case.case_id, task_id=task_id, command_id=f"dlq:0:{index}")

    def _signal(self, dice: Dice) -> Signal:
        name = dice.of(("reply", "payment", "rain"))
        signal_id = dice.of(("1", "2", "3", ""))
        data = dice.of(OUTPUTS)
        return Signal(case_id=self.case.case_id, name=name, data=data, signal_id=signal_id)

    def _decide(self, dice: Dice) -> Decision:
        asked = [s.question for s in self.case.steps.values() if s.question is not None]
        question = dice.of(asked) if asked else None
        right = question is not None and not dice.rare(4)
        return Decision(
            case_id=self.case.case_id,
            approval_id=question.approval_id if question else "nothing",
            verdict=dice.of(("approve", "reject", "correct")),
            action_hash=question.action_hash if question and right else "wrong",
            by="eve",
            correction=dice.of(OUTPUTS),
        )

    def _flocked(self, dice: Dice) -> Flocked:
        """The flock speaks: of itself, of another case, of that one's end."""
        leader = dice.of((self.case.case_id, self.case.case_id, "another"))
        answer = Answer(status=dice.of(("completed", "degraded", "escalated")), output=1)
        ended = leader == "another" and dice.rare(3)
        return Flocked(case_id=self.case.case_id, leader=leader, answer=answer if ended else None)

    def _open(self, dice: Dice) -> Command:
        return opened(self.plan, self.case.event.model())

    def at_work(self) -> list[Posted]:
        """The tasks whose outcomes the case waits for."""
        return [task for task in self.tasks if _works_on(self, task)]

    # --- and how it ends

    def settle(self, dice: Dice) -> None:
        """Time passes until the case has ended; workers go on, or have all gone."""
        silent = dice.rare(2)
        rounds = 0
        while self.case.closed is None:
            rounds += 1
            assert rounds < ROUNDS_MAX, "the case does not end"
            at_work = self.at_work()
            if at_work and not silent:
                self.do(self._outcome(at_work[0], dice))
            else:
                self.now = max(self.now, next_due(self.case, 0))
                self.do(Tick())


ROUNDS_MAX = 300
NOBODYS = Posted("nobody:s0", "s0", "ann", 1)
Happening = Callable[[World, Dice], Command | Tick]
OTHERS: tuple[Happening, ...] = (World._wake, World._replay, World._decide, World._signal)
HAPPENINGS: tuple[Happening, ...] = (
    *(World._answer,) * 20,
    *(World._repeat,) * 3,
    World._invent,
    World._progress,
    *(World._wake,) * 4,
    *(World._replay,) * 4,
    *(World._signal,) * 3,
    *(World._decide,) * 4,
    World._open,
    World._flocked,
    World._cancel,
    World._drop,
)


def _posted(case: Case, effect: SendTask | Recall) -> Posted:
    key, state = effect.work.key, effect.work.state
    task_id = task_id_of(case.case_id, key, state.replay, state.iteration)
    return Posted(task_id, key, state.agent or "", state.attempt)


def _works_on(world: World, task: Posted) -> bool:
    """Whether the case waits for this very task."""
    case = world.case
    if task.key.endswith(UNDO):
        state = case.undos.get(task.key.removesuffix(UNDO))
    else:
        state = case.steps.get(task.key) or world.parts.get(task.key)
    if ":" in task.key and task.key not in items_at_work(world.history[-1], step_of(task.key)):
        return False
    if state is None or state.status != "sent" or state.attempt != task.attempt:
        return False
    return task.task_id == task_id_of(case.case_id, task.key, state.replay, state.iteration)


def _delegates(dice: Dice) -> tuple[Delegate, ...]:
    one, two = Delegate(name="x", agent="bob"), Delegate(name="y", agent="ann", after=("x",))
    wrong = (
        (Delegate(name="x", agent="zed"),),
        (Delegate(name="x", agent="ann", after=("x",)),),
        (),
        (one, one),
        tuple(Delegate(name=f"n{i}", agent="ann") for i in range(21)),
    )
    many = tuple(Delegate(name=f"n{i}", agent="ann", input=i) for i in range(3))
    return dice.of(((one,), (one, two), (one,), many, (one, two), dice.of(wrong)))


def live(plan: Plan, script: list[bytes]) -> World:
    """A case of the plan from its opening to its end, whatever happens to it."""
    world = World(plan, LISTS[script[0][-1] % len(LISTS)] if script else LISTS[0])
    for row in script:
        world.happen(Dice(row))
    world.settle(Dice(script[-1][::-1] if script else b""))
    return world


def results(world: World) -> list[Publish]:
    """What the case published."""
    return [effect for effect in world.effects if isinstance(effect, Publish)]


def lives(world: World) -> Iterator[list[Seen]]:
    """The history from opening or reopening to the next one."""
    life: list[Seen] = []
    for seen in world.history:
        if seen.reopens():
            yield life
            life = []
        life.append(seen)
    yield life


def items_at_work(seen: Seen, name: str) -> list[str]:
    """The items of a map that somebody works on."""
    state = seen.after.steps[name]
    if state.items is None or state.status not in ("mapping", "parked"):
        return []
    again = state.items.again
    keys = (f"{name}:{index}" for index in range(state.items.next) if index not in again)
    return [key for key in keys if seen.parts[key].status in WORKS]
