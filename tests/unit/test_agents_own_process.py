"""Declaring an agent that runs in a process, and what passes between it and its worker."""

from __future__ import annotations

import json

import pytest

from agents.agent import Agent
from agents.context import Context
from agents.delegation import Delegate, DelegateStep, asked_of
from agents.outcomes import Deferred, Done, Escalate, Failed, Halted, Retry, Verdict
from agents.processes.child import answer_to
from agents.processes.wire import LENGTH, Answer, read, written
from caseworks.app import App
from events.errors import DeclarationError
from tests.unit.caged_functions import Asked, Found, work
from tests.unit.workbench import Workbench, a_message, a_task


async def waits(asked: Asked) -> str:
    return asked.what


def asks(asked: Asked, ctx: Context) -> str:
    return ctx.case_id


def plain(asked: Asked) -> str:
    return asked.what


def in_main(asked: Asked) -> str:
    return asked.what


in_main.__module__ = "__main__"


def test_an_agent_has_as_many_tasks_in_flight_as_processes() -> None:
    assert Agent.from_function(plain, runs_in="process").spec.in_flight_max == 2
    many = Agent.from_function(plain, runs_in="process", processes_max=5, in_flight_max=64)
    assert many.spec.in_flight_max == 5
    few = Agent.from_function(plain, runs_in="process", processes_max=5, in_flight_max=3)
    assert few.spec.in_flight_max == 3


def test_without_a_word_an_agent_runs_in_the_worker() -> None:
    agent = Agent.from_function(plain)

    assert agent.process is None
    assert agent.spec.in_flight_max == 64


def test_an_app_passes_on_what_is_said_of_the_process() -> None:
    app = App("a")
    app.agent(runs_in="process", processes_max=3, memory_max_mb=64)(plain)

    process = app.agents["plain"].process
    assert process is not None
    assert (process.module, process.qualname) == (__name__, "plain")
    assert (process.processes_max, process.memory_max_mb) == (3, 64)


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (waits, {"runs_in": "process"}, r"waits .*it is async.*: write `def`"),
        (asks, {"runs_in": "process"}, "its Context stays in the worker: remove it"),
        (plain, {"runs_in": "process", "calls": ("crm",)}, "nothing guards its calls.*`calls`"),
        (plain, {"runs_in": "process", "processes_max": 0}, "processes_max is 0: at least 1"),
        (plain, {"runs_in": "process", "memory_max_mb": 1}, "memory_max_mb is 1: at least 16"),
        (plain, {"runs_in": "thread"}, "runs_in is 'thread': write 'worker' or 'process'"),
        (plain, {"processes_max": 2}, "processes_max is for agents with processes: .*runs_in"),
        (plain, {"memory_max_mb": 64}, "memory_max_mb is for agents with processes: .*runs_in"),
        (in_main, {"runs_in": "process"}, "the script that is run.*: move it to a module"),
    ],
)
def test_what_cannot_run_in_a_process_is_refused_with_what_to_change(
    function: object, options: dict[str, object], says: str
) -> None:
    with pytest.raises(DeclarationError, match=says):
        Agent.from_function(function, **options)  # type: ignore[arg-type]


def test_a_function_inside_a_function_is_refused() -> None:
    def hidden(asked: Asked) -> str:
        return asked.what

    with pytest.raises(DeclarationError, match="define it at the top of its module"):
        Agent.from_function(hidden, runs_in="process")


def test_without_processes_it_runs_like_any_plain_function() -> None:
    """So does the simulator."""
    bench = Workbench(plain, limits={"runs_in": "process"})

    outcome = bench.run_task(data={"what": "x"})

    assert (outcome.status, outcome.output) == ("done", "x")


def frames(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = LENGTH.unpack(data[: LENGTH.size])[0] + LENGTH.size
        found.append(data[LENGTH.size : size])
        data = data[size:]
    return found


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize(
    "verdict",
    [
        Done({"a": [1, None]}, 0.25, b'{"a":[1,null]}'),
        Done(None, 1.0, b"null"),
        Failed("permanent", "no ☂"),
        Retry("timeout", "late", 2.5),
        Retry("connection"),
        Halted("budget", "spent", ("one", "two")),
        Deferred("dependency_open", "open", 3.0),
        Escalate("a lawyer"),
    ],
    ids=str,
)
def test_every_ending_travels(verdict: Verdict, raised: bool) -> None:
    answer = Answer(verdict, raised, traceback="" if type(verdict) is Done else "line 1\nline 2")

    assert read(*frames(written(answer))) == answer


def test_a_delegation_travels_as_it_is_asked_for() -> None:
    asked = Delegate(
        DelegateStep("look", agent=plain, input=Asked(what="x")),
        DelegateStep("write", agent="writer", after=["look"]),
    )

    found = read(*frames(written(Answer(asked)))).verdict

    assert isinstance(found, Delegate)
    assert asked_of(found) == asked_of(asked)


def test_a_delegation_that_makes_no_sense_has_failed() -> None:
    wrong = Delegate(DelegateStep("look", agent="a", after=["nobody"]))

    found = read(*frames(written(Answer(wrong)))).verdict

    assert isinstance(found, Failed)
    assert found.kind == "invalid_delegation"


@pytest.mark.parametrize(
    "head", [b"", b"[]", b"{}", b'{"raised":true}', b'{"exploded":{}}', b'{"failed":{"no":1}}']
)
def test_what_is_no_answer_is_refused(head: bytes) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        read(head, b"")


def request(what: str) -> bytes:
    found = {"data": {"what": what}, "results": {}, "case_id": "c-1", "traceparent": None}
    return json.dumps(found).encode()


def test_a_child_answers_whatever_the_function_does() -> None:
    agent = Agent.from_function(work)
    for what, kind in (("sys.exit", Failed), ("escalate", Escalate), ("who", Done)):
        assert type(answer_to(agent, request(what), 1000).verdict) is kind
    assert type(answer_to(agent, b"no json", 1000).verdict) is Failed
    told = answer_to(agent, request("permanent"), 1000)
    assert "PermanentError: no such order" in told.traceback


def test_an_output_beyond_its_limit_is_refused_in_the_child() -> None:
    agent = Agent.from_function(work)

    answer = answer_to(agent, request("50 MB"), 1000)

    assert answer.verdict == Failed(
        "output_too_large",
        f"{len(Found(text='x' * 50_000_000).model_dump_json())} bytes, the limit is 1000",
    )
    assert len(written(answer)) < 1000


def test_the_arguments_are_those_that_the_worker_would_pass() -> None:
    agent = Agent.from_function(work)
    task = a_task("work", data={"what": "who"}, results={"before": {"text": "lamp"}})
    bench = Workbench(work)
    lean = bench.desk.open(a_message(task), bench.loop.time).task

    assert agent.arguments(lean, None) == agent.arguments_of(
        {"what": "who"}, {"before": {"text": "lamp"}}
    )
