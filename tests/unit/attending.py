"""Things that need a person, and their commands parsed as the command line parses them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from caseworks.attention import Concern, Inputs, look
from caseworks.cli.root import app
from caseworks.lag.views import GroupReport, LagReport, PartitionLag, State
from schemas.alert import Alert, AlertRule
from schemas.base import instant

NOW = 1_790_000_000.0
CASE = "8d4b7a0e-0000-4000-8000-000000000001"

USAGE_ERROR = typer.BadParameter.__bases__[0]
"""Typer carries its own copy of click in newer versions."""


def one(**seen: Any) -> Concern:
    """The only thing that is told of what was seen."""
    [found] = look(Inputs(**seen), NOW).items
    return found


def typed(concern: Concern) -> list[str]:
    """The words of its command as a shell takes them, parsed as the command line does."""
    name, *words = shlex.split(concern.command)
    assert name == "caseworks"
    parse(words)
    return words


def parse(words: Sequence[str]) -> None:
    """Raises `USAGE_ERROR` for what is no command of ours."""
    found, rest = get_command(app), list(words)
    while isinstance(found, TyperGroup):
        with found.make_context("caseworks", [rest[0], "--help"], resilient_parsing=True) as within:
            name = rest[0]
            _, inner, rest = found.resolve_command(within, rest)
        if inner is None:
            raise USAGE_ERROR(f"there is no command {name}")
        found = inner
    with found.make_context("caseworks", rest):
        pass


def partition(state: State | None = None, **more: Any) -> PartitionLag:
    known: dict[str, Any] = {
        "group": "cw.worker.triage",
        "topic": "cw.tasks.triage",
        "partition": 3,
        "committed": 1,
        "stable": 9,
        "end": 9,
        "lag": 8,
        "committed_lag": 8,
        "done_ahead": 0,
        "in_flight": 0,
        "undelivered": 8,
        "hidden": 0,
        "deleted": 0,
        "exact": True,
        "oldest_age_s": 120.0,
        "owned": True,
        "state": state,
        "why": "nothing was committed",
    }
    return PartitionLag(**{**known, **more})


def group(*partitions: PartitionLag, **more: Any) -> GroupReport:
    known: dict[str, Any] = {
        "group": "cw.worker.triage",
        "agent": "triage",
        "members": 1,
        "unowned": 0,
        "held": "",
        "partitions": partitions,
    }
    return GroupReport(**{**known, **more})


def lag(*groups: GroupReport) -> LagReport:
    return LagReport(NOW, groups)


def alert(rule: AlertRule = "drift", scope: str = "agent:triage@3") -> Alert:
    at = instant(NOW - 60)
    return Alert(
        alert_id="a",
        rule=rule,
        scope=scope,
        state="firing",
        value=0.4,
        threshold=0.2,
        samples=80,
        window_s=900,
        since=at,
        at=at,
        says="confidence has moved",
    )
