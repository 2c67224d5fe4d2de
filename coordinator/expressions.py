"""Conditions and inputs of workflows: JMESPath, checked when declared and bounded when it runs.

JMESPath (https://jmespath.org/specification.html) has neither loops nor assignments, and cannot
reach anything but the values it is given. What it could still do to a coordinator is refused
here: nesting that exhausts the stack, and expressions whose result is many times their input.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite, prod
from typing import Any

from jmespath import exceptions
from jmespath.functions import Functions
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

from events.errors import CaseworksError, DeclarationError

DEPTH_MAX = 100
"""Levels of an expression; each costs two frames of the stack when it runs."""
GROWTH_MAX = 100
"""How many times what it reads an expression may write (`[@,@] | [@,@]`: four times)."""
VALUE_CHARS_MAX = 4 * 1024 * 1024
"""Size of a value that an expression may put together: characters of text, and 1 for the rest."""
CACHED_MAX = 4_096

Node = Mapping[str, Any]


class ExpressionError(CaseworksError):
    """An expression met values that it cannot work with."""

    kind = "bad_expression"


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression."""

    text: str
    names: frozenset[str]
    """What it reads of the view: `event`, `data`, steps."""
    _tree: Node = field(repr=False, compare=False)
    _grows: bool = field(default=False, repr=False, compare=False)

    def of(self, view: Mapping[str, Any]) -> Any:
        """The value for a view: JSON values by name. Raises `ExpressionError`.

        A name that is missing is null. The value shares parts with the view: change neither.
        """
        try:
            value = _INTERPRETER.visit(self._tree, view)
            if self._grows and _size(value) > VALUE_CHARS_MAX:
                raise ArithmeticError(f"its value is larger than {VALUE_CHARS_MAX} characters")
            return value
        except exceptions.JMESPathTypeError as error:
            wanted = " or ".join(error.expected_types)
            told = f"{error.function_name}() got {error.actual_type}, wants {wanted}"
            raise ExpressionError(f"{self.text}: {told}") from None
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ExpressionError(f"{self.text}: {type(error).__name__}: {error}") from None
        except RecursionError:
            raise ExpressionError(f"{self.text}: its values are nested too deeply") from None


def is_true(value: Any) -> bool:
    """JMESPath's truth: null, false and what is empty (string, list, object) are not; 0 is."""
    return value is not None and value is not False and value not in ("", [], {})


@lru_cache(CACHED_MAX)
def compile_expression(text: str) -> Expression:
    """Parse and check an expression. Raises `DeclarationError` saying where and what."""
    tree = _parsed(text)
    _check_depth(text, tree)
    for node in _nodes({"type": "whole", "children": [tree]}):
        if node["type"] == "function_expression":
            _check_call(text, node)
        elif any(child["type"] == "expref" for child in _children(node)):
            raise _wrong(text, "`&` stands for no value", "use it in sort_by(), map() and the like")
        elif node["type"] == "literal":
            _check_literal(text, node["value"])
    growth = _growth(tree)
    if growth > GROWTH_MAX:
        raise _wrong(text, f"its result may be over {GROWTH_MAX} times its input", "simplify it")
    return Expression(text, frozenset(_names(text, tree)), tree, growth > 1)


def _parsed(text: str) -> Node:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PendingDeprecationWarning)
            tree: Node = Parser().parse(text).parsed
    except PendingDeprecationWarning:
        raise _wrong(text, "a literal in backticks is no JSON", "write strings as 'text'") from None
    except exceptions.LexerError as error:
        place = f"column {error.lexer_position + 1}"
        raise _wrong(text, f"{place}: {error.message}", _SYNTAX) from None
    except exceptions.IncompleteExpressionError:
        raise _wrong(text, "it ends too early", _SYNTAX) from None
    except exceptions.EmptyExpressionError:
        raise _wrong(text, "it is empty", _SYNTAX) from None
    except exceptions.ParseError as error:
        told = f"column {error.lex_position + 1}: unexpected {error.token_value!r}"
        raise _wrong(text, told, _SYNTAX) from None
    except RecursionError:
        raise _wrong(text, _TOO_DEEP, "simplify it") from None
    return tree


def _check_depth(text: str, tree: Node) -> None:
    level = [tree]
    for _ in range(DEPTH_MAX):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise _wrong(text, _TOO_DEEP, "simplify it")


def _check_call(text: str, node: Node) -> None:
    name, given = node["value"], len(node["children"])
    known = Functions.FUNCTION_TABLE
    if name not in known:
        raise _wrong(text, f"unknown function {name}()", f"use one of {', '.join(sorted(known))}")
    takes = known[name]["signature"]
    many = bool(takes) and takes[-1].get("variadic", False)
    if given < len(takes) or (given > len(takes) and not many):
        wanted = f"{len(takes)} or more" if many else str(len(takes))
        raise _wrong(text, f"{name}() takes {wanted} arguments, not {given}", "correct the call")
    for at, argument in enumerate(node["children"]):
        wanted = takes[min(at, len(takes) - 1)]["types"]
        if argument["type"] == "expref" and "expref" not in wanted:
            raise _wrong(text, f"{name}() takes no `&`", "write it without")
    if name == "join" and node["children"][0]["type"] != "literal":
        raise _wrong(text, "join() needs a literal separator", "write it, as in join(', ', names)")


def _check_literal(text: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise _wrong(text, "a literal that is no finite number", "correct it") from None


def _growth(node: Node) -> int:
    """An upper bound of how many copies of its input the value may hold."""
    each = [_growth(child) for child in _children(node)]
    if node["type"] == "function_expression":
        doubling = 2 if node["value"] == "to_string" else 1  # it escapes what it escaped before
        return doubling * prod(each)
    if node["type"] in _CHAINS:
        return prod(each)
    return max(1, sum(each)) if node["type"] in _COLLECTS else max(each, default=1)


def _size(value: Any) -> int:
    """Characters and other values in a value, counted until there are too many."""
    found, left = 0, [value]
    while left and found <= VALUE_CHARS_MAX:
        each = left.pop()
        found += len(each) if isinstance(each, str) else 1
        if isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list):
            left += each
    return found


def _names(text: str, node: Node) -> Iterator[str]:
    """The names that an expression reads from the view it is given."""
    kind = node["type"]
    if kind in ("identity", "current"):
        raise _wrong(text, "it reads everything there is", "begin with a name: event, data, a step")
    if kind == "field":
        yield node["value"]
    elif kind in _CHAINS:
        first, *rest = node["children"]
        if kind in _DOTS and first["type"] in ("identity", "current") and rest[0]["type"] in _READS:
            yield from _names(text, rest[0])  # `@.data` is `data`
        else:
            yield from _names(text, first)
    elif kind != "expref":
        for child in _children(node):
            yield from _names(text, child)


def _nodes(tree: Node) -> Iterator[Node]:
    yield tree
    for child in _children(tree):
        yield from _nodes(child)


def _children(node: Node) -> list[Node]:
    return [] if node["type"] == "slice" else node["children"]


def _wrong(text: str, what: str, change: str) -> DeclarationError:
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return DeclarationError(f"expression {shown!r}: {what}: {change}")


class _FiniteFunctions(Functions):  # type: ignore[misc]
    """JMESPath's own, without numbers that JSON cannot hold."""

    def call_function(self, name: str, arguments: list[Any]) -> Any:
        value = super().call_function(name, arguments)
        if isinstance(value, float) and not isfinite(value):
            raise ArithmeticError(f"{name}() gives {value}, which JSON cannot hold")
        return value


_INTERPRETER = TreeInterpreter(Options(custom_functions=_FiniteFunctions()))
_DOTS = frozenset(("subexpression", "pipe"))
_CHAINS = _DOTS | {
    "index_expression",
    "projection",
    "filter_projection",
    "value_projection",
}
"""Nodes whose later children see what the first one gave, not the view."""
_COLLECTS = frozenset(("multi_select_dict", "multi_select_list"))
_READS = frozenset(("field", "multi_select_dict", "multi_select_list", "function_expression"))
_SYNTAX = "see jmespath.org"
_TOO_DEEP = f"it is nested more than {DEPTH_MAX} deep"
