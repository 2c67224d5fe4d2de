"""Versions: a case stays on the workflow that it began with, whatever is deployed since.

When the first case of a version is opened, the version is noted in the partition's changelog,
beside the cases. A case of another version than the current one is moved by the plan in that note:
a new version runs beside the old ones until their cases have ended.
"""

from __future__ import annotations

from functools import lru_cache

from coordinator.workflow import Plan, agents_of, assemble, incompatibilities
from events.errors import DeclarationError
from schemas.workflow import NotedWorkflow

PLANS_MAX = 256
"""Plans of other versions held ready."""
PREFIX = "plan/"


def note_key(workflow: str, version: str) -> str:
    """Where the changelog notes a version."""
    return f"{PREFIX}{workflow}/{version}"


def note_of(plan: Plan) -> bytes:
    """A plan as the changelog notes it: the workflow, and the agents that its steps name."""
    names = {agent for step in plan.spec.steps for agent in agents_of(step)}
    agents = {name: plan.agents[name] for name in sorted(names)}
    return NotedWorkflow(spec=plan.spec, agents=agents).to_json()


@lru_cache(maxsize=PLANS_MAX)
def plan_of(note: bytes) -> Plan:
    """The plan in a note. It ran before, so it is not checked again.

    Raises `pydantic.ValidationError` for a note that no version of ours wrote.
    """
    noted = NotedWorkflow.from_json(note)
    return assemble(noted.spec, noted.agents)


def check_unchanged(note: bytes | None, plan: Plan) -> None:
    """A version that cases run on must stay what it is, as far as they rely on it.

    Raises `DeclarationError` naming what changed. Other limits, thresholds and result types are
    taken over by the running cases; a workflow without a version of its own never fails this.
    """
    if note is None:
        return
    found = incompatibilities(NotedWorkflow.from_json(note).spec, plan.spec)
    if found:
        raise DeclarationError(
            f"workflow {plan.name!r}: version {plan.spec.version!r} has run with other steps: "
            f"{'; '.join(found)}: give the changed workflow a new version, or leave `version` out"
        )
