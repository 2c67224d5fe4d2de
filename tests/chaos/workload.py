"""Which app is put under load, the events that it gets, and what is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import workload as tickets

SOURCE = "/chaos"


@dataclass(frozen=True, slots=True)
class Workload:
    """An app under load.

    Args:
        target: The app as `module:app`.
        workflows: Whose results are read.
        agents: Their worker processes share them out.
        event: Makes the type and the data of the event of a number and id.
        needs: The steps that each step reads; empty: their order is not checked.
        right: Whether a result is right for its event's id.
    """

    target: str
    workflows: tuple[str, ...]
    agents: tuple[str, ...]
    event: Callable[[int, str], tuple[str, bytes]]
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    right: Callable[[str, Mapping[str, Any]], bool] = lambda _event_id, _body: True


def noop() -> Workload:
    """Four agents that do nothing: what is measured is Caseworks."""

    def event(number: int, event_id: str) -> tuple[str, bytes]:
        return "ticket.created", json.dumps(tickets.event(number) | {"id": event_id}).encode()

    def right(event_id: str, body: Mapping[str, Any]) -> bool:
        """Completed, by all four steps, and with the answer to this very event."""
        steps, output = body["steps"], body["output"] or {}
        done = all(step["status"] == "done" for step in steps.values())
        answer = (output.get("role"), output.get("case"))
        return (
            body["status"] == "completed"
            and done
            and len(steps) == 4
            and answer == ("reply", event_id)
        )

    return Workload(
        target="benchmarks.noop:app",
        workflows=("noop",),
        agents=("triage", "billing", "kb", "reply"),
        event=event,
        needs={"billing": ("triage",), "kb": ("triage",), "reply": ("billing", "kb")},
        right=right,
    )


def helpdesk() -> Workload:
    """The example that ships, on its real data: three workflows and agents that work."""
    from caseworks.app import App
    from caseworks.demo.material import load_material
    from caseworks.loading import load_app

    target = "examples.helpdesk:app"
    app: App = load_app(target)
    events = list(load_material(target).events)

    def event(number: int, _event_id: str) -> tuple[str, bytes]:
        made = events[number % len(events)]
        return made.type, json.dumps(dict(made.data)).encode()

    return Workload(
        target=target,
        workflows=tuple(plan.name for plan in app.plans),
        agents=tuple(app.agents),
        event=event,
    )


WORKLOADS: Mapping[str, Callable[[], Workload]] = {"noop": noop, "helpdesk": helpdesk}
