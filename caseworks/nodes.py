"""What stands in `steps=[...]` of a workflow: functions, and what happens around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from agents.agent import Agent
from coordinator.expressions import compile_expression
from events.errors import DeclarationError
from schemas.workflow import OnDeadLetter, StepSpec

Function = Callable[..., Any]
Link = Function | Literal["cache", "escalate"]
"""Who or what stands in for an agent."""
AgentOf = Callable[[str, Function], Agent]
"""The agent of a function; told the place for its error."""


@dataclass(frozen=True)
class Map:
    """Run the step once for each item of a list; its output is the list of theirs.

    Args:
        over: Expression that gives the list: `data.lines`. The function's first parameter is
            an item.
        concurrency: Items at work at the same time.
        items_max: A longer list fails the step.
        on_failure: An item that failed for good fails the step, or is null in the output.
    """

    over: str
    concurrency: int = 10
    items_max: int = 1_000
    on_failure: Literal["fail", "skip"] = "fail"


@dataclass(frozen=True)
class Loop:
    """Run the step again until a condition holds; it may read its own last output.

    Args:
        until: Expression: `output.score > `0.8``; it also knows `iteration` (from 1).
        iterations_max: No more rounds than this.
        exhausted: After the last round the step fails, or its last output is taken, degraded.
    """

    until: str
    iterations_max: int = 5
    exhausted: Literal["fail", "accept"] = "fail"


@dataclass(frozen=True)
class Step:
    """A node of a workflow: the function of an agent, and what happens around it.

    Args:
        function: An agent of the app; its name is the step's.
        after: Steps that must have ended too, besides those that the function reads.
        inputs: Expressions for parameters that are no steps.
        when: Expression; the step is skipped when it is not true.
        join: Start when all steps before it have ended well, or as soon as one is done.
        map: Run once for each item of a list.
        loop: Run again until a condition holds.
        optional: The case goes on (as `degraded`) when it fails for good.
        fallback: Who stands in when this one failed for good or was halted: an agent, or a list
            of agents, `"cache"` (the last good output for the same input) and `"escalate"`, asked
            in this order.
        degrade_after_s: Ask them, too, when what an agent calls has been away for so long.
        escalate_to: The higher agent to ask once before people are.
        undo: The agent that undoes the finished step when its case fails or is cancelled.
        timeout_s: Run time of one attempt; default: the agent's.
        deadline_s: Backstop from send to outcome, queueing included; default: the case's.
        attempts_max: Attempts before the step is given up.
        backoff_s: Longest pause before the second attempt; it doubles.
        backoff_s_max: Longest pause before any attempt.
        escalate_below: A lower confidence closes the case as `escalated`.
        review_below: A lower confidence asks a person about the output.
        review_timeout_s: How long the person has.
        on_expiry: What becomes of a review that nobody answered.
        on_dead_letter: What a dead task does to its case.
    """

    function: Function
    after: Sequence[Before] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    when: str | None = None
    join: Literal["all", "any"] = "all"
    map: Map | None = None
    loop: Loop | None = None
    optional: bool = False
    fallback: Link | Sequence[Link] | None = None
    degrade_after_s: float | None = None
    escalate_to: Function | None = None
    undo: Function | None = None
    timeout_s: float | None = None
    deadline_s: float | None = None
    attempts_max: int = 3
    backoff_s: float = 1.0
    backoff_s_max: float = 60.0
    escalate_below: float | None = None
    review_below: float | None = None
    review_timeout_s: float = 86_400.0
    on_expiry: Literal["escalate", "fail", "approve"] = "escalate"
    on_dead_letter: OnDeadLetter = "escalate"


@dataclass(frozen=True)
class Wait:
    """A step that waits for an event of the case's subject; its output is the event's data.

    Args:
        event: The event type, or the name of a signal to the case.
        data: The schema of its data; default: anything.
        timeout_s: How long it waits.
        name: The step's; default: the event type with `_` between its words.
        after: Steps that must have ended before it waits.
        when: Expression; the step is skipped when it is not true.
        join: Wait when all steps before it have ended well, or as soon as one is done.
        on_timeout: Nothing came: the step is skipped, or the case is escalated or fails.
    """

    event: str
    data: Any = None
    timeout_s: float = field(kw_only=True)
    name: str = field(default="", kw_only=True)
    after: Sequence[Before] = field(default=(), kw_only=True)
    when: str | None = field(default=None, kw_only=True)
    join: Literal["all", "any"] = field(default="all", kw_only=True)
    on_timeout: Literal["skip", "escalate", "fail"] = field(default="escalate", kw_only=True)

    @property
    def step_name(self) -> str:
        """The name of the step."""
        return self.name or re.sub(r"[^a-z0-9]+", "_", self.event.lower()).strip("_")


@dataclass(frozen=True)
class Approval:
    """A step that asks a person; its output is the approved (or corrected) action.

    Args:
        name: The step's.
        of: Expression that gives the exact action to decide on, mostly a step: `refund`.
        after: Steps that must have ended before; default: those that `of` reads.
        when: Expression; nobody is asked when it is not true.
        join: Ask when all steps before it have ended well, or as soon as one is done.
        timeout_s: How long the person has.
        on_expiry: Nobody answered: skipped, escalated, failed or approved.
        on_reject: The answer was no: the step is skipped, or the case is escalated or fails.
    """

    name: str
    of: str
    after: Sequence[Before] = ()
    when: str | None = None
    join: Literal["all", "any"] = "all"
    timeout_s: float = 86_400.0
    on_expiry: Literal["skip", "escalate", "fail", "approve"] = "escalate"
    on_reject: Literal["skip", "escalate", "fail"] = "escalate"


Node = Step | Wait | Approval
Before = str | Function | Node
"""A step that comes before: its function, its node, or its name."""


def node_of(given: Node | Function) -> Node:
    """A node; a bare function is a step without more to say."""
    return given if isinstance(given, (Step, Wait, Approval)) else Step(given)


def name_of(given: Before, workflow: str, agent_of: AgentOf) -> str:
    """The name of a step."""
    match given:
        case str():
            return given
        case Wait():
            return given.step_name
        case Approval():
            return given.name
        case Step():
            return agent_of(workflow, given.function).step_name
        case _:
            return agent_of(workflow, given).step_name


def spec_of(node: Node, workflow: str, agent_of: AgentOf) -> StepSpec:
    """The node as data. Raises `DeclarationError`."""
    name = name_of(node, workflow, agent_of)
    after = [name_of(before, workflow, agent_of) for before in node.after]
    given: dict[str, Any] = {"name": name, "when": node.when, "join": node.join}
    match node:
        case Wait():
            given["wait"] = _picked(node, "event", "timeout_s", "on_timeout")
        case Approval():
            given["approval"] = _picked(node, "of", "timeout_s", "on_expiry", "on_reject")
            after = after or sorted(_steps_read(node.of))
        case Step():
            agent = agent_of(workflow, node.function)
            given |= _work(node, agent, workflow, agent_of)
            own = {name, *node.inputs}
            read = [source.name for source in agent.inputs if source.name not in own]
            named = set[str]().union(*(_steps_read(text) for text in node.inputs.values()))
            after = [*read, *sorted(named - {name}), *after]
    given["after"] = tuple(dict.fromkeys(after))
    try:
        return StepSpec.model_validate(given)
    except ValidationError as error:
        raise wrong_value(f"workflow {workflow!r}, step {name!r}", error) from None


def _steps_read(text: str) -> frozenset[str]:
    try:
        return compile_expression(text).names - {"event", "data"}
    except DeclarationError:  # told with its place when the workflow is checked as a whole
        return frozenset()


def wrong_value(place: str, error: ValidationError) -> DeclarationError:
    """The first thing that a model refused, as a sentence."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return DeclarationError(f"{place}: {where} is {first['input']!r}: {first['msg']}")


_AS_GIVEN = (
    "optional",
    "degrade_after_s",
    "deadline_s",
    "attempts_max",
    "backoff_s",
    "backoff_s_max",
    "escalate_below",
    "review_below",
    "review_timeout_s",
    "on_expiry",
    "on_dead_letter",
)


def _picked(node: Node, *names: str) -> dict[str, Any]:
    return {name: getattr(node, name) for name in names}


def _chain(
    given: Link | Sequence[Link] | None, workflow: str, agent_of: AgentOf
) -> str | list[str] | None:
    """The links by their names; words stay what they are, to be judged with the workflow."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, Sequence):
        return [
            link if isinstance(link, str) else agent_of(workflow, link).spec.name for link in given
        ]
    return agent_of(workflow, given).spec.name


def _work(node: Step, agent: Agent, workflow: str, agent_of: AgentOf) -> dict[str, Any]:
    given = _picked(node, *_AS_GIVEN)
    given["agent"] = agent.spec.name
    given["fallback"] = _chain(node.fallback, workflow, agent_of)
    for role in ("escalate_to", "undo"):
        other = getattr(node, role)
        given[role] = agent_of(workflow, other).spec.name if other is not None else None
    given["timeout_s"] = node.timeout_s if node.timeout_s is not None else agent.spec.timeout_s
    given["map"] = asdict(node.map) if node.map is not None else None
    given["loop"] = asdict(node.loop) if node.loop is not None else None
    if node.inputs:  # then nothing else is read: the steps among the parameters are named too
        steps = {s.name: s.name for s in agent.inputs if s.name not in node.inputs}
        given["inputs"] = {**steps, **node.inputs}
    return given
