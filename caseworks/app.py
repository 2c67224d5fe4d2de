"""An app: agents and workflows as a user declares them. Signatures are the DAG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from agents.agent import Agent
from agents.processes.declared import RunsIn
from caseworks.nodes import Function, Node, Wait, node_of, spec_of, wrong_value
from caseworks.signatures import check_signatures, shown
from coordinator.workflow import Plan, compile_all
from events.errors import DeclarationError
from schemas.result import ResultStatus
from schemas.usage import NO_LIMIT, Budget
from schemas.workflow import WorkflowSpec

F = TypeVar("F", bound=Function)


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
        self._opening: set[str] = set()
        self._awaited: dict[str, Any] = {}

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
        runs_in: RunsIn = "worker",
        processes_max: int | None = None,
        memory_max_mb: int | None = None,
        version: str | None = None,
        direct: bool = False,
    ) -> Callable[[F], F]:
        """Declare a function to be an agent; the function itself stays as it is.

        *runs_in* `"process"` is for plain functions that compute, or that may not be trusted with
        the worker: they run in child processes, *processes_max* (default 2) of each worker and as
        many tasks at once, may take *memory_max_mb* there, are killed when they are out of time,
        and take nobody with them when they die. They have no `Context`.

        *direct*: it may also be asked alone, by `POST /api/v1/agents/<name>/process` or an event of
        type `caseworks.agent.<name>`: the app gets the workflow `agent-<name>` of this one step,
        with a result topic of its own. For agents that read nothing but the event's data.

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
                runs_in=runs_in,
                processes_max=processes_max,
                memory_max_mb=memory_max_mb,
                version=version,
            )
            if made.spec.name in self._agents:
                raise DeclarationError(f"two agents are named {made.spec.name!r}: rename one")
            self._agents[made.spec.name] = made
            self._by_function[function] = made
            if direct:
                self._open_to_all(made)
            return function

        return declare

    def workflow(  # noqa: PLR0913 - each is a limit or a name with a default
        self,
        name: str,
        *,
        on: Mapping[str, Any],
        steps: Iterable[Node | Function],
        results: Mapping[ResultStatus, str] = MappingProxyType({}),
        deadline_s: float = 86_400.0,
        undo_deadline_s: float = 3_600.0,
        coalesce_by: str | None = None,
        coalesce_window_s: float = 60.0,
        off_peak: str = "",
        off_peak_zone: str = "UTC",
        version: str | None = None,
    ) -> None:
        """Declare what happens on these event types; *on* names the schema of their data.

        *coalesce_by*: an expression over `event` and `data`; events of a tenant for which it gives
        the same, within *coalesce_window_s*, are one execution that answers each. *off_peak*
        (`22:00-06:00`): when events of priority `deferred` begin. *version* defaults to a digest of
        the declaration: then every change is a new version, and open cases stay on theirs.

        Raises `DeclarationError`; the graph as a whole is checked when the app starts.
        """
        nodes = [node_of(given) for given in steps]
        specs = tuple(spec_of(node, name, self._agent_of) for node in nodes)
        awaited: dict[str, Any] = {}
        for node in nodes:
            if isinstance(node, Wait) and node.data is not None:
                _agree(name, awaited, node.event, node.data)
        try:
            spec = WorkflowSpec(
                name=name,
                version=version or "",
                on=tuple(on),
                steps=specs,
                deadline_s=deadline_s,
                undo_deadline_s=undo_deadline_s,
                coalesce_by=coalesce_by,
                coalesce_window_s=coalesce_window_s,
                off_peak=off_peak,
                off_peak_zone=off_peak_zone,
                results=dict(results),
            )
        except ValidationError as error:
            raise wrong_value(f"workflow {name!r}", error) from None
        self._add(spec, on, awaited)

    def _open_to_all(self, agent: Agent) -> None:
        """The workflow of one step by which an agent is asked alone."""
        if agent.inputs:
            raise DeclarationError(
                f"agent {agent.name!r} reads the step {agent.inputs[0].name!r}, so it cannot be "
                "asked alone: remove direct=True, or read that from the event's data"
            )
        self.workflow(
            direct_workflow(agent.name),
            on={direct_type(agent.name): agent.data_type},
            steps=[agent.function],
        )

    def load_workflow(self, path: str | Path) -> None:
        """Declare the workflow of a YAML file; its agents are this app's.

        Raises `DeclarationError`.

        Example:
            `app.load_workflow(Path(__file__).parent / "order.yaml")`
        """
        from caseworks.workflow_file import read_workflow

        found = read_workflow(Path(path))
        limits = {name: agent.spec for name, agent in self._agents.items()}
        self._add(found.with_limits_of(limits), found.load_on(), found.load_awaited())

    def _add(self, spec: WorkflowSpec, on: Mapping[str, Any], awaited: Mapping[str, Any]) -> None:
        check_signatures(spec, self._agents, awaited)
        adapters = {
            event_type: _adapter(spec.name, event_type, model) for event_type, model in on.items()
        }
        for event_type in adapters:
            if event_type in self._opening:
                raise DeclarationError(
                    f"event type {event_type!r} opens two workflows, one of them {spec.name!r}: "
                    "remove it from `on` of one of them"
                )
        for event_type, model in awaited.items():
            _agree(spec.name, self._awaited, event_type, model)
            adapters.setdefault(event_type, _adapter(spec.name, event_type, model))
        self._opening |= on.keys()
        self._data_types |= adapters
        schemas = {kind: adapter.json_schema() for kind, adapter in adapters.items()}
        self._workflows.append(spec.model_copy(update={"data_schemas": schemas}))

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents by name."""
        return MappingProxyType(self._agents)

    @property
    def workflows(self) -> tuple[WorkflowSpec, ...]:
        """The workflows as declared; `plans` has them checked."""
        return tuple(self._workflows)

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


def direct_workflow(agent: str) -> str:
    """The workflow by which an agent is asked alone, where it was declared with `direct=True`."""
    return f"agent-{agent}"


def direct_type(agent: str) -> str:
    """The event type that opens it."""
    return f"caseworks.agent.{agent}"


def _adapter(workflow: str, event_type: str, model: Any) -> TypeAdapter[Any]:
    """A validator for the data of an event that has a JSON Schema too."""
    try:
        adapter = TypeAdapter(model)
        adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError):
        raise DeclarationError(
            f"workflow {workflow!r}: the data of {event_type!r} is {shown(model)}, which pydantic "
            "cannot validate or describe: use a pydantic model or dict"
        ) from None
    return adapter


def _agree(workflow: str, known: dict[str, Any], event_type: str, model: Any) -> None:
    """Steps that wait for the same event say the same of its data."""
    if known.setdefault(event_type, model) != model:
        raise DeclarationError(
            f"workflow {workflow!r}: the data of {event_type!r} is {shown(model)} here and "
            f"{shown(known[event_type])} elsewhere: make them the same"
        )
