"""What a turn of the orchestrator works with: bounds, plans, states, how records are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from coordinator.correlation import DEFAULT_LIMITS, CorrelationLimits
from coordinator.partition import PartitionState
from coordinator.records import Writer
from coordinator.retries import DEFAULT_LIMITS as RETRY_LIMITS
from coordinator.retries import RetryBudgets, RetryLimits
from coordinator.shelf import DEFAULT_LIMITS as SHELF_LIMITS
from coordinator.shelf import ShelfLimits
from coordinator.surroundings import QUIET, Surroundings
from coordinator.workflow import Plan
from events.broker import Headers
from schemas.agent import AgentSpec


@dataclass(frozen=True, slots=True)
class OrchestratorLimits:
    """The bounds of the orchestrator."""

    due_max: int = 1000
    """Timers fired per partition in one turn."""
    case_bytes_max: int = 524_288 + 1_048_576
    """What one case may hold: its event and what its steps add."""
    keep_s: float = 30 * 86_400.0
    """How long a closed case with a live dead letter is kept: as long as the letter."""
    dedupe_window_s: float = 7 * 86_400.0
    cases_open_max: int = 1_000_000
    """In all partitions; the orchestrator tells how many are open, and intake waits."""
    unseen_max_s: float = 12 * 3600.0
    """A state that has not seen its changelog for so long is thrown away: well below the time that
    tombstones are kept there (`delete.retention.ms`)."""
    in_time_s: float | None = None
    """From event to answer; without, the deadline of the case."""
    correlation: CorrelationLimits = DEFAULT_LIMITS
    shelf: ShelfLimits = SHELF_LIMITS
    retries: RetryLimits = RETRY_LIMITS


@dataclass(frozen=True, slots=True)
class World:
    """What does not change from turn to turn."""

    writer: Writer
    plans: Mapping[str, Plan]
    agents: Mapping[str, AgentSpec]
    version_notes: Mapping[str, bytes]
    """By workflow: what the changelog notes of its current version."""
    states: Mapping[int, PartitionState]
    limits: OrchestratorLimits
    home_of: Callable[[str], int]
    """The inbox partition that a case belongs to."""
    log_headers: Headers
    retries: RetryBudgets = field(default_factory=RetryBudgets)
    around: Surroundings = QUIET
