"""The bounds of a coordinator's loops, as the settings say."""

from __future__ import annotations

from caseworks.app import App
from coordinator.correlation import CorrelationLimits
from coordinator.outages import Outages
from coordinator.retries import RetryLimits
from coordinator.shelf import ShelfLimits
from coordinator.world import OrchestratorLimits
from events.broker import TopicPartition
from events.settings import Settings


def orchestrator_limits(settings: Settings, tombstones_s: float) -> OrchestratorLimits:
    """*tombstones_s*: how long the changelog keeps its tombstones."""
    return OrchestratorLimits(
        case_bytes_max=settings.case_bytes_max + settings.event_bytes_max,
        dedupe_window_s=settings.dedupe_window_s,
        keep_s=settings.dead_cases_keep_s,
        unseen_max_s=tombstones_s / 2,
        cases_open_max=settings.cases_open_max,
        in_time_s=settings.in_time_s,
        shelf=ShelfLimits(
            keep_s=settings.cache_keep_s,
            entries_max=settings.cache_entries_max,
            bytes_max=settings.cache_bytes_max,
        ),
        retries=RetryLimits(settings.retry_share, settings.retry_floor_per_s),
        correlation=CorrelationLimits(
            keep_s=settings.signal_keep_s, dedupe_window_s=settings.dedupe_window_s
        ),
    )


def outages_of(app: App, settings: Settings) -> Outages | None:
    """What the orchestrator knows of the fleet, where some step does not wait for an outage."""
    steps = (step for plan in app.plans for step in plan.spec.steps)
    if all(step.degrade_after_s is None for step in steps):
        return None
    return Outages(TopicPartition(settings.topics.control, 0))
