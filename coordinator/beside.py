"""What stands beside the cases in a partition, and moves by commands of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator import correlation_turn, flock_turn, shelf_turn
from schemas.commands import CORRELATION_COMMANDS, FLOCK_COMMANDS, SHELF_COMMANDS

if TYPE_CHECKING:
    from coordinator.case_turn import CaseTurn
    from events.broker import Message

_KINDS = CORRELATION_COMMANDS.keys() | FLOCK_COMMANDS.keys() | SHELF_COMMANDS.keys()


def command(turn: CaseTurn, message: Message) -> bool:
    """Apply an inbox record that is not for a case; whether it was one. Raises `PayloadError`."""
    kind = message.header("ce_type") or ""
    if kind not in _KINDS:
        return False
    if kind in SHELF_COMMANDS:
        shelf_turn.command(turn, message, SHELF_COMMANDS[kind])
    elif kind in FLOCK_COMMANDS:
        flock_turn.command(turn, message, FLOCK_COMMANDS[kind])
    else:
        correlation_turn.command(turn, message)
    return True


def tick(turn: CaseTurn, partition: int, key: str) -> None:
    """Its time has come."""
    if key.startswith(shelf_turn.MARK):
        shelf_turn.tick_shelf(turn, partition, key)
    elif key.startswith(flock_turn.MARK):
        flock_turn.tick_flock(turn, partition, key)
    else:
        correlation_turn.tick_correlation(turn, partition, key)
