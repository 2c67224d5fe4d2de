"""What analytics found to be out of bounds, and when it was well again: `{ns}.alerts`."""

from __future__ import annotations

from typing import ClassVar, Literal

from schemas.base import Instant, Message

AlertRule = Literal["errors", "confidence", "guards", "drift"]
AlertState = Literal["firing", "cleared"]


class Alert(Message):
    """One record when an episode begins, one when it is over; both have the same id."""

    ce_type: ClassVar[str] = "caseworks.alert"

    alert_id: str
    """`rule:scope:since`, with seconds since the epoch."""
    rule: AlertRule
    scope: str
    """`workflow:<name>`, `agent:<name>@<version>` or `tenant:<name>`."""
    state: AlertState
    value: float
    """What was measured: a share, a mean confidence, or a distance for `drift`."""
    threshold: float
    samples: int
    window_s: int
    since: Instant
    at: Instant
    says: str
