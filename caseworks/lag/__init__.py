"""How far behind the consumer groups are, and whether they move: the names that others use."""

from __future__ import annotations

from caseworks.lag.groups import agent_of, behind, groups_of, loops_of, workers_of
from caseworks.lag.monitor import LagMonitor, tell
from caseworks.lag.survey import THOROUGH, Effort, Surveyor, survey
from caseworks.lag.views import AgentWork, GroupReport, LagReport, PartitionLag, State, Work, worst

__all__ = [
    "THOROUGH",
    "AgentWork",
    "Effort",
    "GroupReport",
    "LagMonitor",
    "LagReport",
    "PartitionLag",
    "State",
    "Surveyor",
    "Work",
    "agent_of",
    "behind",
    "groups_of",
    "loops_of",
    "survey",
    "tell",
    "workers_of",
    "worst",
]
