"""Reading an agent's contract from the signature of its function.

The first parameter is the event's data (or an item, or what another agent asks for), later names
are steps (`T | None` where the step may be skipped), and one parameter may be a `Context`. The
return annotation is the output. What does not fit is a `DeclarationError` saying function, place
and what to change.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from types import FunctionType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from agents.context import Context
from agents.outcomes import VERDICTS
from events.errors import DeclarationError

FRAMES_MAX = 20
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class StepInput:
    """A parameter that is the output of another step; `type` is without its `| None`."""

    name: str
    type: Any
    optional: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function reads and returns."""

    data_type: Any
    inputs: tuple[StepInput, ...]
    output_type: Any
    context_at: int | None
    """Position of the `Context` parameter; the others keep their order around it."""


def read_signature(fn: Callable[..., Any]) -> Signature:
    """The contract of a function. Raises `DeclarationError`."""
    where = where_is(fn)
    hints = _hints(_checked_function(fn, where), where)
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters:
        raise _wrong(where, "it has no parameters", "the first one is the event's data")
    contexts = [n for n, p in enumerate(parameters) if _is_context(hints.get(p.name))]
    if len(contexts) > 1:
        raise _wrong(where, "two parameters are a Context", "keep one of them")
    context_at = contexts[0] if contexts else None
    if context_at == 0:
        place = f"parameter {parameters[0].name!r}"
        raise _wrong(where, f"{place} comes first and is a Context", "put the event's data first")
    for parameter in parameters:
        _check_parameter(where, parameter, hints)
    first, *steps = (p for n, p in enumerate(parameters) if n != context_at)
    return Signature(
        data_type=_data_type(where, first.name, hints[first.name]),
        inputs=tuple(_step_input(where, p.name, hints[p.name]) for p in steps),
        output_type=_output_type(where, hints),
        context_at=context_at,
    )


def adapter_of(kind: Any, where: str, place: str) -> TypeAdapter[Any]:
    """A pydantic adapter for an annotation. Raises `DeclarationError`."""
    try:
        return TypeAdapter(kind)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        text = f"{place} is {_shown(kind)}, which pydantic cannot validate"
        raise _wrong(where, text, "use a pydantic model, a dataclass or plain types") from error


def where_is(fn: Callable[..., Any]) -> str:
    """A function as a person finds it: name, file and line."""
    code = getattr(fn, "__code__", None)
    name = getattr(fn, "__qualname__", None) or repr(fn)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


def _checked_function(fn: Callable[..., Any], where: str) -> FunctionType:
    if not isinstance(fn, FunctionType):
        raise DeclarationError(
            f"agent {where}: it is no function but {type(fn).__name__}: "
            "declare a function with def or async def"
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise _wrong(where, "it yields", "return one value")
    return fn


def _hints(fn: FunctionType, where: str) -> dict[str, Any]:
    try:
        return get_type_hints(fn, localns=_names_in_reach(fn), include_extras=True)
    except NameError as error:
        text = f"the annotation {error.name!r} cannot be found"
        raise _wrong(
            where, text, f"define or import {error.name} above it (not under TYPE_CHECKING)"
        ) from None
    except Exception as error:
        raise _wrong(where, f"its annotations cannot be read: {error}", "correct them") from error


def _names_in_reach(fn: FunctionType) -> Mapping[str, Any]:
    """Local names of the functions that are running while *fn* is defined inside them."""
    found: dict[str, Any] = {}
    frame = sys._getframe(1)  # noqa: SLF001 - what inspect.currentframe returns, never None
    for _ in range(FRAMES_MAX):
        if frame.f_globals is fn.__globals__ and frame.f_locals is not frame.f_globals:
            found = {**frame.f_locals, **found}
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found


def _check_parameter(where: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> None:
    name, place = parameter.name, f"parameter {parameter.name!r}"
    if parameter.kind in _VARIADIC:
        raise _wrong(where, f"{place} takes any number of values", "name each step you read")
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        raise _wrong(where, f"{place} is keyword-only", "remove the `*` before it")
    if name not in hints:
        raise _wrong(where, f"{place} has no annotation", f"write `{name}: <its type>`")
    if parameter.default is not inspect.Parameter.empty:
        change = "remove it; write `| None` for an optional step"
        raise _wrong(where, f"{place} has a default value", change)


def _data_type(where: str, name: str, hint: Any) -> Any:
    if hint is NoneType:
        text = f"parameter {name!r}, the first, is None"
        raise _wrong(where, text, "write the type of the event's data or of an item")
    return hint


def holds_data(hint: Any) -> bool:
    """Whether the data of an event, a JSON object, fits a type."""
    plain = get_origin(hint) or hint
    if plain in (Any, Union, UnionType):
        return plain is Any or any(holds_data(member) for member in get_args(hint))
    return isinstance(plain, type) and (
        issubclass(plain, (BaseModel, Mapping)) or is_dataclass(plain) or is_typeddict(plain)
    )


def _step_input(where: str, name: str, hint: Any) -> StepInput:
    kind, optional = _without_none(hint)
    if kind is None:
        text = f"parameter {name!r} is None"
        raise _wrong(where, text, "write the type that the step returns")
    return StepInput(name, kind, optional)


def _output_type(where: str, hints: Mapping[str, Any]) -> Any:
    if "return" not in hints:
        raise _wrong(where, "it has no return annotation", "write `-> <the output's type>`")
    members = tuple(m for m in _members(hints["return"]) if m not in VERDICTS)
    if not members:
        text = f"it returns {_shown(hints['return'])}, which is no output"
        raise _wrong(where, text, "write `-> <the output's type>`")
    return _union(members)


def _without_none(hint: Any) -> tuple[Any, bool]:
    members = _members(hint)
    rest = tuple(m for m in members if m is not NoneType)
    if len(rest) == len(members):
        return hint, False
    return (_union(rest), True) if rest else (None, True)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _union(members: tuple[Any, ...]) -> Any:
    return members[0] if len(members) == 1 else Union[members]  # noqa: UP007 - made at run time


def _is_context(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Context)


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _wrong(where: str, what: str, change: str) -> DeclarationError:
    return DeclarationError(f"agent {where}: {what}: {change}")
