"""Commands as they come out of the inbox."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from events.broker import Message
from events.errors import PayloadError
from schemas.base import Message as Model
from schemas.commands import COMMANDS, Command, Opened

M = TypeVar("M", bound=Model)


def read(model: type[M], message: Message) -> M:
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
    command: Command = read(model, message)
    if isinstance(command, Opened) and command.case_id != command.event.case_id:
        raise PayloadError("schema", "the case_id is not that of its event")
    return command
