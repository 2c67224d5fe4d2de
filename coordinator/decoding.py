"""Commands as they come out of the inbox."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from events.broker import Message
from events.errors import PayloadError
from schemas.base import Message as Model
from schemas.commands import (
    COMMANDS,
    CORRELATION_COMMANDS,
    FLOCK_COMMANDS,
    SHELF_COMMANDS,
    Command,
    Correlated,
    CorrelationCommand,
    FlockCommand,
    Listen,
    Opened,
    ShelfCommand,
    correlation_id_of,
)

M = TypeVar("M", bound=Model)
CommandBeside = CorrelationCommand | FlockCommand | ShelfCommand
"""What moves something that stands beside the cases."""
_BESIDE: dict[str, type[CommandBeside]] = {
    **CORRELATION_COMMANDS,
    **FLOCK_COMMANDS,
    **SHELF_COMMANDS,
}


def _read(model: type[M], message: Message) -> M:
    """What an inbox record says, as this kind of command. Raises `PayloadError`."""
    try:
        return model.from_json(message.value or b"")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise PayloadError("schema", f"{first['loc']}: {first['msg']}") from None


def decode_command(message: Message) -> Command:
    """The command to a case in an inbox record. Raises `PayloadError`."""
    ce_type = message.header("ce_type") or ""
    model = COMMANDS.get(ce_type)
    if model is None:
        raise PayloadError("unknown_command", f"ce_type {ce_type!r}")
    command: Command = _read(model, message)
    if isinstance(command, Opened) and command.case_id != command.event.case_id:
        raise PayloadError("schema", "the case_id is not that of its event")
    return command


def decode_beside(message: Message) -> CommandBeside | None:
    """The command in an inbox record to something beside the cases; `None`: it is to a case.

    Raises `PayloadError`.
    """
    model = _BESIDE.get(message.header("ce_type") or "")
    if model is None:
        return None
    command: CommandBeside = _read(model, message)
    match command:
        case Listen(type=event_type, subject=subject):
            named = (event_type, subject)
        case Correlated(event=event):
            named = (event.type, event.subject or "")
        case _:
            return command
    if command.case_id != correlation_id_of(*named):
        raise PayloadError("schema", "the case_id is not that of its correlation")
    return command
