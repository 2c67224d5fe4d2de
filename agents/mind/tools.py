"""Tools: typed functions that a model may call before it answers.

Their schema comes from the signature, arguments are validated by pydantic, and what goes wrong
inside a tool is told to the model. A model that does not learn from it is stopped.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from agents.limits.iterations import Trace
from agents.mind.errors import ToolMisuseError
from agents.mind.port import Reply, ToolCall, Turn
from agents.mind.turns import explained
from events.errors import DeclarationError, DependencyOpenError, HaltedError

RESULT_CHARS_MAX = 16_000
"""A longer result is cut, and the model is told so."""
ERROR_CHARS_MAX = 500
DESCRIPTION_CHARS_MAX = 1024
CALLS_MAX = 16
"""Calls in one reply."""
REPEATS_MAX = 3
"""How often the same call with the same arguments is made."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class RunsInThreads(Protocol):
    """Runs what blocks; `agents.services.Threads` is one."""

    def run(self, work: Callable[[], Any]) -> Awaitable[Any]:
        """Run it in a thread of its own; to be called on the event loop."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as a model sees it. Make one with `tool_of`."""

    function: Callable[..., Any]
    spec: dict[str, Any]
    arguments: TypeAdapter[tuple[tuple[Any, ...], dict[str, Any]]]
    """Validates what the model wrote into what the function is called with."""


def tool_of(function: Callable[..., Any]) -> Tool:
    """The tool that a function is: its name, its docstring, its parameters.

    `Annotated[str, Field(description=…)]` describes a parameter. Raises `DeclarationError`.
    """
    name = getattr(function, "__name__", "")
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f"tool {function!r} has no name that a model can call", hint="define it with def"
        )
    _check_parameters(name, function)

    @functools.wraps(function)
    def collected(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs

    try:
        collected.__annotations__ = get_type_hints(function, include_extras=True)
        arguments: TypeAdapter[Any] = TypeAdapter(cast("Any", collected))
        parameters = arguments.json_schema()
    except (NameError, PydanticUserError) as error:
        raise DeclarationError(
            f"tool {name!r}: {error}",
            hint="give it types of the module's top level, plain or pydantic",
        ) from error
    described = (inspect.getdoc(function) or name)[:DESCRIPTION_CHARS_MAX]
    about = {"name": name, "description": described, "parameters": parameters}
    return Tool(function, {"type": "function", "function": about}, arguments)


class Toolbox:
    """The tools of one run, and how often the model has gone wrong with them.

    Args:
        tools: The functions; their names differ.
        threads: Where plain functions run, which may block.
        trace: What the agent did last; a line for each call.
        mistakes_max: Calls of unknown tools or with wrong arguments that are put up with.
    """

    def __init__(
        self,
        tools: Sequence[Callable[..., Any]],
        threads: RunsInThreads,
        trace: Trace,
        mistakes_max: int,
    ) -> None:
        made = [tool_of(function) for function in tools]
        self._tools = {tool.spec["function"]["name"]: tool for tool in made}
        if len(self._tools) < len(made):
            names = ", ".join(tool.spec["function"]["name"] for tool in made)
            raise DeclarationError(f"two tools have one name: {names}")
        self._threads = threads
        self._trace = trace
        self._mistakes_left = mistakes_max
        self._made: Counter[tuple[str, str]] = Counter()
        self.specs = tuple(tool.spec for tool in made)

    async def answered(self, reply: Reply) -> tuple[Turn, ...]:
        """The model's calls and their results, in their order, as turns.

        Raises `ToolMisuseError`, and what stops an attempt: `HaltedError`, `DependencyOpenError`
        and `DeclarationError` of a tool. Other exceptions of a tool are told to the model.
        """
        if len(reply.calls) > CALLS_MAX:
            raise ToolMisuseError(f"{len(reply.calls)} tool calls at once, {CALLS_MAX} may be made")
        results = [(call, await self._result(call)) for call in reply.calls]
        asked: Turn = {
            "role": "assistant",
            "content": reply.text or None,
            "tool_calls": [_as_turn(call) for call in reply.calls],
        }
        return asked, *(
            {"role": "tool", "tool_call_id": call.id, "content": text} for call, text in results
        )

    async def _result(self, call: ToolCall) -> str:
        self._trace.add(f"tool {call.name}({call.arguments})")
        self._check_repeats(call)
        tool = self._tools.get(call.name)
        if tool is None:
            return self._mistake(f"there is no tool {call.name!r}, only {', '.join(self._tools)}")
        try:
            args, kwargs = tool.arguments.validate_json(call.arguments or "{}")
        except ValidationError as error:
            return self._mistake(f"{call.name}: {explained(error, 'the arguments')}")
        try:
            return _shown(await self._run(tool.function, args, kwargs))
        except (HaltedError, DependencyOpenError, DeclarationError):
            raise
        except Exception as error:  # noqa: BLE001 - the model is to make the best of it
            return self._told(f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX])

    async def _run(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        return await self._threads.run(functools.partial(function, *args, **kwargs))

    def _check_repeats(self, call: ToolCall) -> None:
        made = call.name, _canonical(call.arguments)
        self._made[made] += 1
        if self._made[made] > REPEATS_MAX:
            raise ToolMisuseError(
                f"the model calls {call.name!r} with the same arguments again and again",
                trace=self._trace.lines(),
            )

    def _mistake(self, text: str) -> str:
        told = self._told(text)
        self._mistakes_left -= 1
        if self._mistakes_left < 0:
            raise ToolMisuseError(
                f"the model cannot use its tools: {text}", trace=self._trace.lines()
            )
        return told

    def _told(self, text: str) -> str:
        self._trace.add(f"tool failed: {text}")
        return json.dumps({"error": text})


def _check_parameters(name: str, function: Callable[..., Any]) -> None:
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            problem = "takes any number of values"
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            problem = "is positional-only"
        elif parameter.annotation is parameter.empty:
            problem = "has no annotation"
        else:
            continue
        raise DeclarationError(
            f"tool {name!r}: parameter {parameter.name!r} {problem}",
            hint="a model gives each parameter by name, as JSON",
        )


def _as_turn(call: ToolCall) -> dict[str, Any]:
    """The call as it goes back to the model; vendors refuse arguments that are not JSON."""
    arguments = call.arguments if _parsed(call.arguments) is not None else "{}"
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _canonical(arguments: str) -> str:
    parsed = _parsed(arguments)
    return arguments if parsed is None else json.dumps(parsed, sort_keys=True)


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return None


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else to_json(value).decode()
    if len(text) <= RESULT_CHARS_MAX:
        return text
    return f"{text[:RESULT_CHARS_MAX]}… ({len(text)} characters, cut)"
