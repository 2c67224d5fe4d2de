"""What stands beside the cases in a partition, and moves by commands of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from coordinator import correlation_turn, flock_turn, shelf_turn
from coordinator.decoding import decode_beside
from schemas.commands import Correlated, Join, Leave, Listen, RecallOutput, RetainOutput

if TYPE_CHECKING:
    from coordinator.case_turn import CaseTurn
    from events.broker import Message


def command(turn: CaseTurn, message: Message) -> bool:
    """Apply an inbox record that is not for a case, or forward it; whether it was one.

    Raises `PayloadError`.
    """
    given, home = decode_beside(message), message.partition
    if given is None:
        return False
    turn.count("caseworks_commands_total", kind=given.ce_type.rpartition(".")[2])
    if turn.forwarded(message, given.case_id):
        return True
    match given:
        case RetainOutput() | RecallOutput():
            shelf_turn.command(turn, home, given)
        case Join() | Leave():
            flock_turn.command(turn, home, given)
        case Listen() | Correlated():
            correlation_turn.command(turn, home, given)
        case _:
            assert_never(given)
    return True


def tick(turn: CaseTurn, partition: int, key: str) -> None:
    """Its time has come."""
    if key.startswith(shelf_turn.MARK):
        shelf_turn.tick_shelf(turn, partition, key)
    elif key.startswith(flock_turn.MARK):
        flock_turn.tick_flock(turn, partition, key)
    else:
        correlation_turn.tick_correlation(turn, partition, key)
