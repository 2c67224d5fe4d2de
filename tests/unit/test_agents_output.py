"""What an output must be: of its type, JSON, sure of itself to a degree, and not too large."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from agents.outcomes import Done, Escalate, Failed
from agents.wrappers.checked_output import checked_output
from tests.unit.test_agents_wrappers import Bench, bench, giving
from tests.unit.workbench import Answer, Ticket

__all__ = ["bench"]


class Ratio(BaseModel):
    """Pydantic writes infinity as a word that is no JSON, when it is asked to."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    of: float


def nested(times: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(times - 1):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        (Answer(text="a"), ({"text": "a", "confidence": 0.5}, 0.5)),
        ({"text": "a", "confidence": 1}, ({"text": "a", "confidence": 1.0}, 1.0)),
        ("text", Failed),
        (None, Failed),
        ({"text": "a", "confidence": math.nan}, Failed),
        ({"text": "a", "confidence": math.inf}, Failed),
        ({"text": "a", "confidence": 1.01}, Failed),
        ({"text": "\ud800"}, Failed),
        ({"text": "a" * 2_000_000}, Failed),
    ],
)
def test_an_output_is_its_type_in_json_with_a_confidence(
    bench: Bench, output: object, verdict: object
) -> None:
    found = bench.handle(checked_output(giving(Done(output))), bench.call())

    if isinstance(found, Done) and found.written is not None:
        assert (json.loads(found.written), found.confidence) == verdict
    else:
        assert type(found) is verdict


def test_an_output_above_its_limit_is_refused_by_its_size(bench: Bench) -> None:
    verdict = bench.handle(checked_output(giving(Done(Answer(text="a" * 262_144)))), bench.call())
    assert verdict == Failed("output_too_large", "262172 bytes, the limit is 262144")


@pytest.mark.parametrize(
    "output",
    [
        {"x": math.nan},
        {"x": -math.inf},
        {"x": object()},
        {1: {2, 3}, "f": len},
        {"confidence": True},
        {"confidence": "high"},
        {"x": Ratio(of=math.inf)},
        {"x": nested(201)},
    ],
)
def test_what_json_cannot_hold_is_refused(output: object) -> None:
    async def loose(ticket: Ticket) -> dict[str, Any]:
        raise NotImplementedError

    bench = Bench(loose)
    verdict = bench.handle(checked_output(giving(Done(output))), bench.call(agent="loose"))

    assert isinstance(verdict, Failed)
    assert verdict.kind == "invalid_output"


@pytest.mark.parametrize("output", [nested(150), {"x": "NaN", "y": "-Infinity"}, [{}] * 300])
def test_what_only_looks_as_if_json_could_not_hold_it_is_not(output: object) -> None:
    async def loose(ticket: Ticket) -> Any:
        raise NotImplementedError

    bench = Bench(loose)
    found = bench.handle(checked_output(giving(Done(output))), bench.call(agent="loose"))

    assert isinstance(found, Done)
    assert json.loads(found.written or b"") == output


def test_an_output_without_confidence_is_sure_and_an_explicit_one_wins() -> None:
    async def count(ticket: Ticket) -> int:
        raise NotImplementedError

    bench = Bench(count)
    call = bench.call(agent="count")

    assert bench.handle(checked_output(giving(Done(3))), call) == Done(3, 1.0)
    assert bench.handle(checked_output(giving(Done(3, 0.25))), call) == Done(3, 0.25)


def test_other_verdicts_pass_the_output_check(bench: Bench) -> None:
    assert bench.handle(checked_output(giving(Escalate("x"))), bench.call()) == Escalate("x")
