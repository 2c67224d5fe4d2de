"""What has to be remembered of open cases until their results come. Pure."""

from __future__ import annotations

from collections import OrderedDict

from pydantic import ValidationError

from caseworks.tracing.spans import Asked, Told
from coordinator.versions import PREFIX, note_key, plan_of
from coordinator.workflow import Plan
from events.broker import Message
from schemas.lean_case import Case
from schemas.result import Result

_ASKING = b'"asking"'
_EVENT = b'"event"'


class Book:
    """The last state of each case, as bytes, and when people were asked; bounded.

    Args:
        cases_max: Beyond it the case that was quiet for longest is forgotten: what is then known
            of it is what its result tells.
    """

    def __init__(self, cases_max: int) -> None:
        self._max = cases_max
        self._states: OrderedDict[bytes, bytes] = OrderedDict()
        self._asked: dict[bytes, dict[str, Asked]] = {}
        self._notes: dict[str, bytes] = {}
        self.forgotten = 0
        """Cases that went for lack of room."""

    def __len__(self) -> int:
        return len(self._states)

    def add(self, message: Message) -> None:
        """Take a record of the changelog. A closed case stays until its result was told."""
        key, value = message.key or b"", message.value
        if key.startswith(b"\0"):
            name = key[1:].decode(errors="replace")
            if name.startswith(PREFIX) and value is not None:
                self._notes[name] = value
        elif key.startswith(b"@") or b"/" in key:
            return  # an entity of its own, or a part of a case
        elif value is None:
            self._drop(key)
        elif _EVENT in value:
            self._keep(key, value, message.timestamp_ms / 1000)

    def told(self, message: Message) -> Told:
        """All that is known of the case of a result. Raises `pydantic.ValidationError`."""
        result = Result.from_json(message.value or b"")
        key = result.case_id.encode()
        case = self._case(key)
        return Told(
            result=result,
            traceparent=case.event.traceparent if case else message.header("traceparent"),
            tenant=message.header("ce_tenant"),
            case=case,
            plan=self._plan(result),
            asked=self._asked.get(key, {}),
        )

    def done(self, case_id: str) -> None:
        """Its spans are where they belong: nothing of it is needed any more."""
        self._drop(case_id.encode())

    def _keep(self, key: bytes, value: bytes, at: float) -> None:
        if _ASKING in value or key in self._asked:
            self._ask(key, value, at)
        self._states[key] = value
        self._states.move_to_end(key)
        if len(self._states) > self._max:
            old, _ = self._states.popitem(last=False)
            self._asked.pop(old, None)
            self.forgotten += 1

    def _ask(self, key: bytes, value: bytes, at: float) -> None:
        try:
            steps = Case.from_json(value).steps
        except ValueError:
            return
        asked = self._asked.setdefault(key, {})
        for name, step in steps.items():
            before = asked.get(name)
            if step.status == "asking" and before is None:
                asked[name] = Asked(at)
            elif step.status != "asking" and before is not None and before.until is None:
                asked[name] = Asked(before.since, at)

    def _case(self, key: bytes) -> Case | None:
        value = self._states.get(key)
        try:
            return Case.from_json(value) if value is not None else None
        except ValueError:  # of a later version
            return None

    def _plan(self, result: Result) -> Plan | None:
        note = self._notes.get(note_key(result.workflow, result.workflow_version))
        try:
            return plan_of(note) if note is not None else None
        except ValidationError:
            return None

    def _drop(self, key: bytes) -> None:
        self._states.pop(key, None)
        self._asked.pop(key, None)
