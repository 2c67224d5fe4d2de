"""Any text: a workflow file, or an expression, or an answer that says why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseworks.workflow_file import WorkflowFileError, parse_workflow
from coordinator.expressions import ExpressionError, compile_expression, is_true
from coordinator.graph import dot, mermaid
from events.errors import DeclarationError
from tests.unit.test_workflow_file import GOOD

pytestmark = pytest.mark.slow

EXAMPLES = 200
WORDS = st.sampled_from(
    ["name", "on", "steps", "map", "wait", "&a", "*a", "!!x", "- ", "? ", ": ", *'\n\t{}[]|>"#\0é']
)
PARTS = st.sampled_from(
    ["data", "a", "||", "&&", "`1`", "'x'", "[]", "[0]", "[::2]", "length(", *".[]*?|!@&{}:,()=<"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def answered(text: str) -> None:
    try:
        found = parse_workflow(text)
    except WorkflowFileError as error:
        told = error.problems
    else:
        told = ("fine", *found.problems({}))
        assert mermaid(found.spec)
        assert dot(found.spec)
    assert told
    assert all("\n" not in problem for problem in told)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(WORDS, max_size=30).map("".join))
def test_any_text_is_a_workflow_or_refused(text: str) -> None:
    answered(text)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 12), WORDS)
def test_any_change_of_a_file_is_a_workflow_or_refused(at: int, gone: int, put: str) -> None:
    answered(GOOD[:at] + put + GOOD[at + gone :])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "on", "steps", "deadline_s", "x"]), JSON))
def test_any_value_is_a_workflow_or_refused(value: dict[str, Any]) -> None:
    answered(json.dumps(value))


@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(st.lists(PARTS, max_size=12).map("".join), st.fixed_dictionaries({"data": JSON, "a": JSON}))
def test_any_text_is_an_expression_with_a_value_or_refused(text: str, view: dict[str, Any]) -> None:
    try:
        expression = compile_expression(text)
    except DeclarationError:
        return
    assert "@" not in expression.names
    try:
        value = expression.of(view)
    except ExpressionError:
        return
    is_true(value)
    json.dumps(value, allow_nan=False)
