"""`caseworks check`: what it plays, what it says, and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from caseworks.app import App
from caseworks.check.runs import Check
from caseworks.check.samples import events_for, example_of, made_for, of_run
from caseworks.check.story import LINES_MAX, story
from events.errors import DeclarationError, SettingsError
from schemas.base import instant
from schemas.event import Event
from tests.sim import outside_app
from tests.sim.mixed_app import app as mixed
from tests.sim.mixed_app import demo_events
from tests.unit.command_line import CommandLine

MIXED = "tests.sim.mixed_app:app"
ROOT = Path(__file__).parents[2]


# --- the command


def test_a_sound_app_passes_and_the_exit_code_is_zero() -> None:
    ran = CommandLine()("check", "--app", MIXED, "--runs", "3")

    assert ran.code == 0, ran
    assert "3 runs" in ran.out
    assert "no with a violation" in ran.out


def test_json_says_the_same_on_one_line() -> None:
    ran = CommandLine()("check", "--app", MIXED, "--runs", "2", "--json")

    [said] = ran.lines
    assert (said["runs"], said["violations"]) == (2, [])


def test_an_unknown_profile_is_a_mistake_of_the_caller() -> None:
    assert CommandLine()("check", "--app", MIXED, "--profile", "bad luck").code == 2


def test_an_app_that_reaches_outside_is_named_and_not_checked(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text(json.dumps({"type": "asked", "data": {"what": "clock"}}))
    ran = CommandLine()(
        "check", "--app", "tests.sim.outside_app:app", "--runs", "1", "--events", str(events)
    )

    assert ran.code == 1
    assert "reach (outside_app.py:" in ran.out
    assert "ctx.now" in ran.out


@pytest.mark.slow
def test_jobs_play_the_same_runs() -> None:
    ran = CommandLine()("check", "--app", MIXED, "--runs", "24", "--jobs", "2", "--json")

    [said] = ran.lines
    assert (said["runs"], said["violations"]) == (24, [])


@pytest.mark.slow
def test_a_violation_is_told_with_its_seed_and_ends_with_one() -> None:
    script = (
        "import sys\n"
        "from tests.sim.bugs import BUGS\n"
        "from tests.sim.mutant import Finder\n"
        "sys.meta_path.insert(0, Finder(BUGS['offsets before the rest']))\n"
        "from caseworks.cli import run\n"
        "from caseworks.cli.base import Deps\n"
        "sys.exit(run(sys.argv[1:], Deps()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "check", "--app", MIXED, "--runs", "1", "--seed", "7"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert "seed 7:" in done.stdout
    assert "I2: cw.intake committed positions outside of a transaction" in done.stdout
    assert "made short" in done.stdout
    assert "event e0 is published" in done.stdout


# --- repeating


@pytest.mark.parametrize("hash_seeds", [("0", "1")])
def test_the_same_seed_is_the_same_run_in_any_process(hash_seeds: tuple[str, str]) -> None:
    script = (
        "import logging\n"
        "logging.disable(logging.CRITICAL)\n"
        "from caseworks.check.profiles import scenario_of\n"
        "from caseworks.simulation import simulate\n"
        "from tests.sim.mixed_app import app, demo_events\n"
        "print('\\n'.join(simulate(app, tuple(demo_events()), 5, scenario=scenario_of(5)).trace))\n"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for hash_seed in hash_seeds
    }

    assert len(traces) == 1
    assert len(traces.pop().splitlines()) > 200


def test_a_schedule_is_played_again_and_told() -> None:
    check = Check(mixed, tuple(demo_events()), "kills")
    from caseworks.check.invariants import Violation
    from caseworks.check.runs import Finding

    explained = check.explain(Finding(3, (Violation("I1", "made up"),)), tries_max=2)

    assert explained.violations == ()
    assert len(explained.schedule) == explained.choices
    assert len(explained.story) >= LINES_MAX


# --- who reaches outside


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("socket", "opens a socket"),
        ("process", "starts a process"),
        ("thread", "starts a thread"),
        ("to_thread", "reaches outside of its event loop"),
        ("clock", "reads the wall clock"),
        ("today", "reads the wall clock"),
        ("sleep", "sleeps on the wall clock"),
    ],
)
def test_an_agent_that_reaches_outside_is_named_with_its_line(what: str, said: str) -> None:
    found = Check(outside_app.app, (asked(what),)).outside(1)

    assert {each.what for each in found} == {said}
    assert all(each.function == "reach" for each in found)
    lines = Path(outside_app.__file__).read_text("utf-8").splitlines()
    case = lines.index(f'        case "{what}":')
    assert {each.line for each in found} == {case + 2}


def test_an_agent_that_waits_on_the_event_loop_is_not() -> None:
    assert Check(outside_app.app, (asked("virtual"),)).outside(1) == ()
    assert Check(mixed, tuple(demo_events())).outside(1) == ()


def asked(what: str) -> Event:
    return Event(
        id="a", source="/t", type="asked", time=instant(1_700_000_000.0), data={"what": what}
    )


# --- the events of a run


class Part(BaseModel):
    code: str = Field(min_length=3, max_length=5)
    count: int = Field(ge=1, le=9)


class Thing(BaseModel):
    name: str
    parts: list[Part]
    kind: Literal["a", "b"]
    price: float = Field(gt=0)
    note: str | None = None
    key: UUID
    pair: tuple[int, bool]


def test_data_is_made_from_the_schema_of_an_event() -> None:
    app = App("things")

    @app.agent()
    async def look(thing: Thing) -> str:
        return thing.name

    app.workflow("thing", on={"thing.seen": Thing}, steps=[look])
    made = made_for(app)

    assert len({event.id for event in made}) == 5
    for event in made:
        Thing.model_validate(event.data)


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"const": 3}, 3),
        ({"type": "integer", "minimum": 7, "maximum": 7}, 7),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 1),
        ({"type": "string", "minLength": 12, "maxLength": 12}, None),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": "array", "items": {"const": 1}, "minItems": 4}, [1, 1, 1, 1]),
        ({"examples": ["this"]}, "this"),
    ],
)
def test_an_example_fits_its_schema(schema: dict[str, Any], example: object) -> None:
    made = example_of(schema, Random(1))

    assert example is None or made == example
    assert not isinstance(made, str) or len(made) >= schema.get("minLength", 0)


def test_an_app_whose_data_nobody_can_guess_is_told_to_give_some() -> None:
    app = App("odd")

    class Odd(BaseModel):
        word: str = Field(pattern="^[0-9]{9}$")

    @app.agent()
    async def look(odd: Odd) -> str:
        return odd.word

    app.workflow("odd", on={"odd.seen": Odd}, steps=[look])

    with pytest.raises(DeclarationError, match=r"odd\.seen"):
        made_for(app)


def test_events_of_a_file_are_taken_with_what_it_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"type": "note.taken", "data": {"text": "x"}}\n\n{"type": "b", "id": "7"}\n')
    found = events_for(mixed, MIXED, file)

    assert [event.id for event in found] == ["line-1", "7"]
    file.write_text('{"type": 1')
    with pytest.raises(SettingsError, match="line 1"):
        events_for(mixed, MIXED, file)


def test_the_app_s_own_demo_comes_first_and_a_run_takes_five_of_it() -> None:
    pool = events_for(mixed, "examples.helpdesk:app", None)

    assert len(pool) > 20
    assert of_run(pool, 3) == of_run(pool, 3)
    assert len(of_run(pool, 3)) == 5
    assert of_run(pool, 3) != of_run(pool, 4)


# --- the story


def test_a_story_says_who_was_killed_after_what() -> None:
    told = story(
        [
            "0 0.000000 coordinator-1.0 begins",
            "1 0.000000 agenda event e7 is published",
            "4 0.003000 coordinator-1.0/1 produce cw.results.ticket e7=00ff00ff",
            "5 0.004000 coordinator-1.0/1 sendoffsets cw.inbox/3@40",
            "6 0.005000 coordinator-1.0/1 !! kill",
            "7 0.900000 coordinator-1.1 begins",
        ]
    )

    assert [line.split("s  ", 1)[1] for line in told] == [
        "1 processes start",
        "event e7 is published",
        (
            "coordinator-1 is killed, after the orchestrator of coordinator-1 writes 1 to "
            "results.ticket, adds the position inbox/3@40"
        ),
        "coordinator-1 starts again",
    ]


def test_of_a_long_story_the_faults_are_kept() -> None:
    quiet = [f"{n} {n}.0 worker-a.0 commitoffsets cw.tasks.a/0@{n}" for n in range(200)]
    told = story([*quiet, "201 201.0 worker-a.0 !! kill", *quiet])

    assert len(told) < LINES_MAX + 5
    assert any("is killed" in line for line in told)
    assert any("more …" in line for line in told)
