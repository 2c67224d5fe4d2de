"""Waits and approvals in a turn of the orchestrator.

What the world says must fit into its case; what a case asks of the world is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator import approval_records
from coordinator.correlation_turn import listen_record
from coordinator.effects import Answered, Ask, Tune
from coordinator.workflow import Plan
from events.broker import Message
from events.envelope import is_hostile
from events.errors import PayloadError
from schemas.commands import Cancel, Command, Decision, Signal
from schemas.lean_case import Case

if TYPE_CHECKING:
    from coordinator.case_turn import CaseTurn

WORD_BYTES_MAX = 16_384
"""A decision without a correction and a cancellation hold no more than a few words."""


def weigh(turn: CaseTurn, message: Message, command: Command) -> int:
    """What its case grows by with something that the world says, in bytes.

    Raises `PayloadError` for what the case cannot hold: it is set aside and can be sent again.
    """
    size = len(message.value or b"")
    match command:
        case Decision(correction=None) | Cancel():  # must get through to a case that is full
            if size > WORD_BYTES_MAX:
                raise PayloadError("too_large", f"{size} bytes, the limit is {WORD_BYTES_MAX}")
            return 0
        case Signal(data=said) | Decision(correction=said):
            if is_hostile(said):
                raise PayloadError("not_json", "it is nested too deep or holds an infinity")
        case _:
            return 0
    held = turn.world.states[message.partition].size_of(command.case_id)
    held += turn.grown.get(command.case_id, 0) + size
    if held > turn.world.limits.case_bytes_max:
        raise PayloadError("case_too_large", f"with this the case would hold {held} bytes")
    return size


def carry_out(turn: CaseTurn, case: Case, plan: Plan, effect: Ask | Answered | Tune) -> None:
    """The records of what a case asks of people and correlations."""
    writer, now = turn.world.writer, turn.now
    match effect:
        case Ask():
            turn.records.append(approval_records.requested(writer, case, plan, effect, now))
            turn.count("caseworks_approvals_requested_total", workflow=case.workflow)
        case Answered(ending=ending):
            turn.records.append(approval_records.ended(writer, case, effect, now))
            turn.count("caseworks_approvals_ended_total", workflow=case.workflow, ending=ending)
        case Tune(event_type, on):
            if case.event.subject:
                turn.records.append(listen_record(turn, case, event_type, on=on))
