"""An app: agents and workflows as a user declares them. Signatures are the DAG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from agents.agent import Agent
from coordinator.workflow import Plan, compile_all
from events.errors import DeclarationError
from schemas.result import ResultStatus
from schemas.usage import NO_LIMIT, Budget
from schemas.workflow import OnDeadLetter, StepSpec, WorkflowSpec

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)


@dataclass(frozen=True)
class Step:
    """A node of a workflow: the function of an agent, and what happens around it.

    Args:
        function: An agent of the app; its name is the step's.
        optional: The case goes on (as `degraded`) when it fails for good.
        fallback: The agent to ask when this one failed for good.
        timeout_s: Run time of one attempt; default: the agent's.
        deadline_s: Backstop from send to outcome, queueing included; default: the case's.
        attempts_max: Attempts before the step is given up.
        escalate_below: A lower confidence closes the case as `escalated`.
        review_below: A lower confidence asks a person; without approvals it escalates.
        on_dead_letter: What a dead task does to its case.
    """

    function: Function
    optional: bool = False
    fallback: Function | None = None
    timeout_s: float | None = None
    deadline_s: float | None = None
    attempts_max: int = 3
    backoff_s: float = 1.0
    escalate_below: float | None = None
    review_below: float | None = None
    on_dead_letter: OnDeadLetter = "escalate"


class App:
    """Agents and workflows under one name.

    Example:
        ```python
        app = App("shop")

        @app.agent()
        async def greet(order: Order) -> Greeting: ...

        app.workflow("order", on={"order.placed": Order}, steps=[greet])
        ```
    """

    def __init__(self, name: str) -> None:
        """*name* is for people: logs and headings."""
        self.name = name
        self._agents: dict[str, Agent] = {}
        self._by_function: dict[Function, Agent] = {}
        self._workflows: list[WorkflowSpec] = []
        self._data_types: dict[str, TypeAdapter[Any]] = {}

    def agent(  # noqa: PLR0913 - each is a limit with a default
        self,
        *,
        calls: Sequence[str] = (),
        timeout_s: float = 30.0,
        tries_max: int = 3,
        in_flight_max: int = 64,
        iterations_max: int = 10,
        order_by: str | None = None,
        budget: Budget = NO_LIMIT,
        version: str | None = None,
    ) -> Callable[[F], F]:
        """Declare a function to be an agent; the function itself stays as it is.

        Raises `DeclarationError` when its signature does not say what it reads and returns.
        """

        def declare(function: F) -> F:
            made = Agent.from_function(
                function,
                calls=tuple(calls),
                timeout_s=timeout_s,
                tries_max=tries_max,
                in_flight_max=in_flight_max,
                iterations_max=iterations_max,
                order_by=order_by,
                budget=budget,
                version=version,
            )
            if made.spec.name in self._agents:
                raise DeclarationError(f"two agents are named {made.spec.name!r}: rename one")
            self._agents[made.spec.name] = made
            self._by_function[function] = made
            return function

        return declare

    def workflow(
        self,
        name: str,
        *,
        on: Mapping[str, Any],
        steps: Iterable[Step | Function],
        results: Mapping[ResultStatus, str] = MappingProxyType({}),
        deadline_s: float = 86_400.0,
    ) -> None:
        """Declare what happens on these event types; *on* names the schema of their data.

        Raises `DeclarationError`; the graph as a whole is checked when the app starts.
        """
        try:
            self._declare(name, on, steps, results, deadline_s)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DeclarationError(
                f"workflow {name!r}: {place} is {first['input']!r}: {first['msg']}"
            ) from None

    def _declare(
        self,
        name: str,
        on: Mapping[str, Any],
        steps: Iterable[Step | Function],
        results: Mapping[ResultStatus, str],
        deadline_s: float,
    ) -> None:
        nodes = [step if isinstance(step, Step) else Step(step) for step in steps]
        optional = {self._agent_of(name, n.function).step_name for n in nodes if n.optional}
        outputs = {
            self._agent_of(name, n.function).step_name: self._agent_of(name, n.function).output_type
            for n in nodes
        }
        specs = tuple(self._step(name, node, outputs, optional) for node in nodes)
        adapters = {event_type: TypeAdapter(model) for event_type, model in on.items()}
        for event_type, adapter in adapters.items():
            if event_type in self._data_types:
                raise DeclarationError(
                    f"event type {event_type!r} opens two workflows, one of them {name!r}: "
                    "remove it from `on` of one of them"
                )
            self._data_types[event_type] = adapter
        self._workflows.append(
            WorkflowSpec(
                name=name,
                on=tuple(on),
                steps=specs,
                deadline_s=deadline_s,
                results=dict(results),
                data_schemas={kind: adapter.json_schema() for kind, adapter in adapters.items()},
            )
        )

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents by name."""
        return MappingProxyType(self._agents)

    @property
    def data_types(self) -> Mapping[str, TypeAdapter[Any]]:
        """What the data of each event type must be."""
        return MappingProxyType(self._data_types)

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """The workflows, checked as a whole. Raises `DeclarationError`."""
        if not self._workflows:
            raise DeclarationError(
                f"app {self.name!r} has no workflow: declare one with app.workflow(...)"
            )
        return compile_all(
            self._workflows, {name: agent.spec for name, agent in self._agents.items()}
        )

    def _agent_of(self, workflow: str, function: Function) -> Agent:
        try:
            return self._by_function[function]
        except (KeyError, TypeError):
            name = getattr(function, "__name__", repr(function))
            raise DeclarationError(
                f"workflow {workflow!r}: {name} is no agent of app {self.name!r}: "
                "put @app.agent() above it"
            ) from None

    def _step(
        self, workflow: str, node: Step, outputs: Mapping[str, Any], optional: set[str]
    ) -> StepSpec:
        agent = self._agent_of(workflow, node.function)
        fallback = self._agent_of(workflow, node.fallback) if node.fallback else None
        place = f"workflow {workflow!r}, step {agent.step_name!r}"
        for reader in (agent, fallback) if fallback else (agent,):
            _check_inputs(place, reader, outputs, optional)
        after = tuple(source.name for source in agent.inputs)
        if fallback is not None:
            _check_fallback(place, agent, fallback)
        return StepSpec(
            name=agent.step_name,
            agent=agent.spec.name,
            after=after,
            optional=node.optional,
            fallback=fallback.spec.name if fallback else None,
            timeout_s=node.timeout_s if node.timeout_s is not None else agent.spec.timeout_s,
            deadline_s=node.deadline_s,
            attempts_max=node.attempts_max,
            backoff_s=node.backoff_s,
            escalate_below=node.escalate_below,
            review_below=node.review_below,
            on_dead_letter=node.on_dead_letter,
        )


def _check_inputs(place: str, agent: Agent, outputs: Mapping[str, Any], optional: set[str]) -> None:
    """What a function reads must be there, be of that type, and be `| None` where optional."""
    for source in agent.inputs:
        if source.name not in outputs:
            raise DeclarationError(
                f"{place}: {agent.spec.name!r} reads {source.name!r}, which is no step of this "
                "workflow: add the step or remove the parameter"
            )
        if source.optional != (source.name in optional):
            change = "add `| None`" if source.name in optional else "remove `| None`"
            state = "is optional" if source.name in optional else "is not optional"
            raise DeclarationError(
                f"{place}: parameter {source.name!r} of {agent.spec.name!r}: the step {state}: "
                f"{change}"
            )
        if source.type is not Any and source.type != outputs[source.name]:
            raise DeclarationError(
                f"{place}: parameter {source.name!r} of {agent.spec.name!r} is {source.type!r}, "
                f"but the step returns {outputs[source.name]!r}: make them the same"
            )


def _check_fallback(place: str, agent: Agent, fallback: Agent) -> None:
    """A fallback gets the same task: it may read less, not more, and returns the same."""
    more = {s.name for s in fallback.inputs} - {s.name for s in agent.inputs}
    if more:
        raise DeclarationError(
            f"{place}: the fallback {fallback.spec.name!r} reads {', '.join(sorted(more))}, "
            f"which {agent.spec.name!r} does not: a fallback may not read more"
        )
    if fallback.output_type != agent.output_type:
        raise DeclarationError(
            f"{place}: the fallback {fallback.spec.name!r} returns {fallback.output_type!r}, not "
            f"{agent.output_type!r}: make them the same"
        )
