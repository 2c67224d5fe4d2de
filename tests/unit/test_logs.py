from __future__ import annotations

import contextvars
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from events.logs import (
    TEXT_CHARS_MAX,
    bind,
    bind_case,
    clean,
    configure,
    get_logger,
    trace_id_of,
)
from events.trace_ids import trace_id_for

FORGED = "hello\r\n\x1b[2J\x9b31m\u202ereversed\u2028next"


@pytest.fixture(autouse=True)
def root_logger_left_alone() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_process_writes_one_json_object_a_line() -> None:
    out = io.StringIO()
    configure(stream=out, role="worker", instance="0")
    get_logger("agents.worker").info("task_done", agent="triage", ms=12)
    [line] = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "task_done",
        "level": "info",
        "logger": "agents.worker",
        "role": "worker",
        "instance": "0",
        "agent": "triage",
        "ms": 12,
    }


def test_case_and_trace_stand_in_every_line_whoever_writes_it() -> None:
    out = io.StringIO()
    configure(stream=out)
    with bind(case_id="c1", trace_id="t1"):
        get_logger("ours").info("one")
        logging.getLogger("a.library").warning("two %s", "words")
        structlog.get_logger("an.agent").info("three")
    get_logger("ours").info("four")
    told = [(line["event"], line.get("case_id"), line.get("trace_id")) for line in lines(out)]
    assert told == [
        ("one", "c1", "t1"),
        ("two words", "c1", "t1"),
        ("three", "c1", "t1"),
        ("four", None, None),
    ]


def test_static_fields_reach_other_threads() -> None:
    out = io.StringIO()
    configure(stream=out, role="coordinator")
    thread = threading.Thread(target=get_logger("ours").info, args=("elsewhere",))
    thread.start()
    thread.join(5)
    assert lines(out)[0]["role"] == "coordinator"


@pytest.mark.parametrize("pretty", [True, False])
def test_control_characters_can_neither_forge_a_line_nor_drive_a_terminal(pretty: bool) -> None:
    out = io.StringIO()
    configure(stream=out, pretty=pretty)
    get_logger("ours").info(FORGED, body=FORGED, nested={FORGED: [FORGED]})
    logging.getLogger("a.library").info(FORGED)
    text = out.getvalue()
    assert text.count("\n") == 2
    assert not set(text) & set("\r\x1b\x9b\u202e\u2028")


def test_a_traceback_keeps_its_lines_in_a_terminal_and_stays_harmless() -> None:
    out = io.StringIO()
    configure(stream=out, pretty=True)
    try:
        raise ValueError("bad \x1b[2J input")
    except ValueError:
        get_logger("ours").exception("task_failed")
    text = out.getvalue()
    assert "\nTraceback (most recent call last):\n" in text
    assert "\x1b" not in text
    assert "bad \\x1b[2J input" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hunter2hunter2"),
        ("sasl.password", "hunter2hunter2"),
        ("OPENAI_API_KEY", "hunter2hunter2"),
        ("config", {"ssl.key.password": "hunter2hunter2"}),
        ("error", "401 for Authorization: Bearer hunter2hunter2"),
        ("url", "https://joe:hunter2hunter2@example.test/path"),
        ("url", "https://example.test/?api_key=hunter2hunter2&x=1"),
        ("text", "key sk-hunter2hunter2hunter2"),
    ],
)
def test_secrets_are_hidden(name: str, value: object) -> None:
    out = io.StringIO()
    configure(stream=out)
    get_logger("ours").info("x", **{name: value})
    assert "hunter2" not in out.getvalue()
    assert "***" in out.getvalue()


def test_counts_of_tokens_are_no_secrets() -> None:
    assert clean({"tokens_in": 7, "max_tokens": 3}) == {"tokens_in": 7, "max_tokens": 3}


def test_long_texts_are_cut_and_say_so() -> None:
    cut = clean("x" * (TEXT_CHARS_MAX + 1))
    assert cut.startswith("x" * TEXT_CHARS_MAX)
    assert cut.endswith(f"({TEXT_CHARS_MAX + 1} chars)")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_whatever_is_logged_becomes_one_line_of_strict_json(value: object) -> None:
    text = json.dumps(clean({"value": value}), allow_nan=False)
    assert "\n" not in text


def test_a_level_that_is_off_writes_nothing() -> None:
    out = io.StringIO()
    configure(stream=out, level="warning")
    get_logger("ours").info("quiet")
    get_logger("ours").warning("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_without_configuration_lines_go_to_stdlib_logging(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    get_logger("embedded").warning("told", agent="triage")
    assert caplog.records[0].name == "embedded"
    assert "told" in caplog.text
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (f"00-{'ab' * 16}-{'cd' * 8}-01", "ab" * 16),
        ("", None),
        (None, None),
        (f"00-{'AB' * 16}-{'cd' * 8}-01", None),
        ("nonsense", None),
    ],
)
def test_the_trace_id_is_read_from_traceparent(
    traceparent: str | None, trace_id: str | None
) -> None:
    assert trace_id_of(traceparent) == trace_id


def test_a_case_whose_event_came_without_a_trace_has_its_own_in_every_line() -> None:
    def told(case_id: str, traceparent: str | None) -> str:
        out = io.StringIO()
        configure(stream=out)
        contextvars.copy_context().run(tell, case_id, traceparent)
        [line] = lines(out)
        return str(line["trace_id"])

    def tell(case_id: str, traceparent: str | None) -> None:
        bind_case(case_id, traceparent)
        get_logger("ours").info("hello")

    assert told("c1", None) == told("c1", "nonsense") == trace_id_for("c1", None)
    assert told("c2", None) != told("c1", None)
    assert told("c1", f"00-{'ab' * 16}-{'cd' * 8}-01") == "ab" * 16
