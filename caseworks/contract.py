"""The wire contract of an app, or of any app: the topic catalogue as channels of messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from events.topics import Partitions, Topics, TopicSpec, catalogue
from schemas.asyncapi import Channel
from schemas.commands import COMMANDS, CORRELATION_COMMANDS, FLOCK_COMMANDS, SHELF_COMMANDS

if TYPE_CHECKING:
    from caseworks.app import App
    from events.settings import Settings

ANY = Topics("{namespace}")
"""Topic names of no namespace in particular: addresses with parameters."""


def channels(
    topics: Topics = ANY,
    agents: Iterable[str] = ("{agent}",),
    workflows: Iterable[str] = ("{workflow}",),
    partitions: Partitions = Partitions(),  # noqa: B008 - frozen
) -> list[Channel]:
    """Every topic with the messages that travel on it; by default those of any app."""
    return [_channel(topics, spec) for spec in catalogue(topics, agents, workflows, partitions)]


def app_contract(app: App, settings: Settings) -> tuple[list[Channel], dict[str, dict[str, Any]]]:
    """The channels of one app, and the schema of the data of each of its event types."""
    data = {
        event_type: schema
        for plan in app.plans
        for event_type, schema in plan.spec.data_schemas.items()
    }
    made = channels(
        settings.topics, app.agents, [plan.spec.name for plan in app.plans], settings.partitions
    )
    named = [
        replace(channel, messages=tuple(sorted(data))) if channel.id == "events" else channel
        for channel in made
    ]
    return named, data


def _channel(topics: Topics, spec: TopicSpec) -> Channel:
    local = spec.name.removeprefix(f"{topics.namespace}.")
    messages, received = _messages(local)
    return Channel(
        id=local.translate(str.maketrans(".-", "__", "{}")),
        address=spec.name,
        key=spec.key,
        partitions=spec.partitions,
        holds=spec.holds.translate(str.maketrans("", "", "{}")),
        messages=messages,
        action="receive" if received else "send",
        config=spec.config,
    )


def _messages(local: str) -> tuple[tuple[str, ...], bool]:
    """What a topic carries, and whether Caseworks is the one that receives it."""
    match local.split("."):
        case [*_, "dlq"]:
            return ("dead_letter",), False
        case ["events" | "feedback" as kind]:
            return (kind.removesuffix("s"),), True
        case ["inbox"]:
            commands = (*COMMANDS, *CORRELATION_COMMANDS, *FLOCK_COMMANDS, *SHELF_COMMANDS)
            return tuple(ce_type.removeprefix("caseworks.") for ce_type in commands), True
        case ["cases"]:
            beside = ("case_correlation", "case_flock", "case_shelf")
            return ("case", "case_closed", *beside, "case_position"), False
        case ["approvals"]:
            return ("approval_requested", "approval_ended"), False
        case ["audit", "letters"]:
            return ("letter_handled", "letter_run"), False
        case ["facts"]:
            return ("fact_case", "fact_decision", "fact_feedback"), False
        case ["tasks" | "results" | "effects" | "alerts" as kind, *_]:
            return (kind.removesuffix("s"),), False
        case ["requests"]:
            asked = ("breaker", "probe", "breaker_order", "pause_order")
            return tuple(f"request_{each}" for each in asked), True
        case ["control"]:
            return ("control_open", "control_breaker", "control_pause"), False
        case _:
            raise AssertionError(f"topic {local!r} has no messages in caseworks.contract")
