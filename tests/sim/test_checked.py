"""The checker finds nothing in the helpdesk and nothing in the mixed app: many runs of each."""

from __future__ import annotations

import pytest

from caseworks.check.pool import play
from caseworks.check.runs import Check, Finding
from caseworks.check.samples import events_for
from examples.helpdesk import app as helpdesk
from tests.sim.mixed_app import app as mixed
from tests.sim.mixed_app import demo_events

CHUNK = 50


def found(check: Check, start: int) -> list[Finding]:
    return [each for _, those in play(check, range(start, start + CHUNK)) for each in those]


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 200, CHUNK))
def test_two_hundred_runs_of_the_helpdesk_break_no_rule(start: int) -> None:
    check = Check(helpdesk, events_for(helpdesk, "examples.helpdesk:app", None))

    assert found(check, start) == []


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 200, CHUNK))
def test_two_hundred_runs_of_the_whole_language_break_no_rule(start: int) -> None:
    check = Check(mixed, tuple(demo_events()))

    assert found(check, start) == []
