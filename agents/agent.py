"""An agent: a named skill, made from a typed function."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict, Unpack

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from agents.processes.declared import OwnProcess, RunsIn, own_process
from agents.signature import StepInput, adapter_of, read_signature, where_is
from events.errors import DeclarationError
from schemas.agent import AgentSpec
from schemas.lean import LeanTask
from schemas.usage import Budget


class Limits(TypedDict, total=False):
    """What `from_function` takes besides the function; see `AgentSpec` for units and defaults."""

    timeout_s: float
    tries_max: int
    in_flight_max: int
    iterations_max: int
    calls: tuple[str, ...]
    order_by: str | None
    budget: Budget


@dataclass(frozen=True, eq=False)
class Agent:
    """A function, what it reads and returns, and its limits. Make one with `from_function`.

    An `async def` runs on the worker's event loop and must not block it; a plain `def` runs in a
    thread of its own, so it may block, and has no use for the async parts of `Context`; or in a
    process of its own, so it may compute, be stopped, and die.
    """

    spec: AgentSpec
    function: Callable[..., Any]
    data_type: Any
    inputs: tuple[StepInput, ...]
    output_type: Any
    is_async: bool
    context_at: int | None
    _data: TypeAdapter[Any] = field(repr=False)
    _inputs: tuple[TypeAdapter[Any], ...] = field(repr=False)
    output: TypeAdapter[Any] = field(repr=False)
    """Validates and writes the output."""
    process: OwnProcess | None = None
    """For one that runs in a process of its own."""

    @classmethod
    def from_function(
        cls,
        fn: Callable[..., Any],
        *,
        version: str | None = None,
        runs_in: RunsIn = "worker",
        processes_max: int | None = None,
        memory_max_mb: int | None = None,
        **limits: Unpack[Limits],
    ) -> Agent:
        """The agent named like the function, `_` as `-`. Raises `DeclarationError`.

        `version` defaults to a short digest of the function's source. `runs_in="process"` runs a
        plain function without a `Context` in one of `processes_max` child processes (default 2) of
        each worker, which may take `memory_max_mb` beyond what they take when they are loaded; it
        has as many tasks in flight as processes, so that none waits for another.
        """
        signature = read_signature(fn)
        where = where_is(fn)
        process = own_process(
            fn,
            signature,
            runs_in=runs_in,
            processes_max=processes_max,
            memory_max_mb=memory_max_mb,
            calls=limits.get("calls", ()),
        )
        if process is not None:
            at_once = limits.get("in_flight_max", process.processes_max)
            limits["in_flight_max"] = min(at_once, process.processes_max)
        output = adapter_of(signature.output_type, where, "the output")
        spec = _spec(fn, where, version or _digest(fn), _schema(output, where), limits)
        return cls(
            spec=spec,
            function=fn,
            data_type=signature.data_type,
            inputs=signature.inputs,
            output_type=signature.output_type,
            is_async=inspect.iscoroutinefunction(fn),
            context_at=signature.context_at,
            _data=adapter_of(signature.data_type, where, "the event's data"),
            _inputs=tuple(
                adapter_of(
                    source.type | None if source.optional else source.type,
                    where,
                    f"parameter {source.name!r}",
                )
                for source in signature.inputs
            ),
            output=output,
            process=process,
        )

    @property
    def name(self) -> str:
        """The agent's name on the wire."""
        return self.spec.name

    @property
    def step_name(self) -> str:
        """The name of the steps that run it: the function's."""
        return self.function.__name__

    def arguments(self, task: LeanTask, context: Any) -> list[Any]:
        """What the function is called with. Raises `pydantic.ValidationError`."""
        data = task.event.data if task.input is None else task.input
        found = self.arguments_of(data, task.results)
        if self.context_at is not None:
            found.insert(self.context_at, context)
        return found

    def arguments_of(self, data: Any, results: Mapping[str, Any]) -> list[Any]:
        """The same for a function without a `Context`."""
        found = [_validated(self._data, data)]
        for name, adapter in self._input_of.items():
            found.append(_validated(adapter, results.get(name)))
        return found

    @cached_property
    def _input_of(self) -> dict[str, TypeAdapter[Any]]:
        """By step: its adapter, in the order of the parameters."""
        names = [source.name for source in self.inputs]
        return dict(zip(names, self._inputs, strict=True))


def _validated(adapter: TypeAdapter[Any], value: Any) -> Any:
    """A decoded JSON value as its type; a strict model gets a second chance as JSON."""
    try:
        return adapter.validator.validate_python(value)
    except ValidationError:
        return adapter.validate_json(to_json(value))


def _spec(
    fn: Callable[..., Any], where: str, version: str, schema: dict[str, Any], limits: Limits
) -> AgentSpec:
    unknown = set(limits) - set(Limits.__annotations__)
    if unknown:
        raise DeclarationError(
            f"agent {where}: unknown limit {', '.join(sorted(unknown))}: "
            f"use {', '.join(Limits.__annotations__)} or version"
        )
    name = fn.__name__.replace("_", "-")
    try:
        return AgentSpec(name=name, version=version, output_schema=schema, **limits)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field_name = ".".join(str(part) for part in first["loc"])
        if field_name == "name":
            raise DeclarationError(
                f"agent {where}: {name!r} is no name for an agent: rename the function to lower "
                "case letters, digits and underscores, a letter first, at most 63 characters"
            ) from None
        raise DeclarationError(
            f"agent {where}: {field_name} is {first['input']!r}: {first['msg']}"
        ) from None


def _schema(output: TypeAdapter[Any], where: str) -> dict[str, Any]:
    try:
        return output.json_schema(mode="serialization")
    except Exception as error:
        raise DeclarationError(
            f"agent {where}: its output has no JSON Schema: {error}: return what JSON can hold"
        ) from error


def _digest(fn: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(fn).encode()
    except (OSError, TypeError):
        code = fn.__code__
        source = code.co_code + repr(code.co_consts).encode()
    return hashlib.sha256(source).hexdigest()[:8]
