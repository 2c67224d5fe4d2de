"""CloudEvents over HTTP: binary, structured and batched, as the records that Kafka gets. Pure.

Source: the CloudEvents HTTP protocol binding 1.0.2. An event becomes the record that a publisher
beside Kafka would write, and is checked by the very code that takes it in later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import NAMESPACE_URL, uuid5

from pydantic_core import from_json, to_json

from caseworks.api.auth import Caller
from caseworks.api.problems import Problem
from coordinator.intake import Intake
from events.broker import Headers, Message, Record
from events.envelope import STRUCTURED, event_record
from events.errors import PayloadError
from schemas.event import Event

BATCH = "application/cloudevents-batch+json"
EVENTS_MAX = 1000
"""Events in one batch."""
PROBLEMS_MAX = 20
SOURCE = "caseworks/api"

HttpHeaders = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that may be published, and its record."""

    event: Event
    record: Record


@dataclass(frozen=True, slots=True)
class Reading:
    """How requests are read for one caller at one time."""

    intake: Intake
    caller: Caller
    now: float
    idempotency_key: str | None = None

    def events(self, headers: HttpHeaders, body: bytes) -> list[Accepted]:
        """The events of a request. Raises `Problem` when any of them would be refused."""
        kind = _media_type(headers)
        if kind == BATCH:
            return self._batch(body)
        if kind not in {STRUCTURED, "application/json"} and not kind.endswith("+json"):
            told = f"{kind or 'nothing'} is not understood: send {STRUCTURED}, {BATCH} or JSON"
            raise Problem("media-type", told)
        try:
            return (
                [self._structured(_object(body), 0)]
                if kind == STRUCTURED
                else [self._binary(headers, body)]
            )
        except PayloadError as error:
            raise Problem("invalid", str(error.args[0]), reason=error.reason) from None

    def event_of(self, type: str, data: Any, **attributes: Any) -> Accepted:
        """An event that the API itself makes. Raises `Problem` when it would be refused."""
        envelope = {"specversion": "1.0", "type": type, "source": SOURCE, "data": data}
        try:
            return self._structured({**envelope, **attributes}, 0)
        except PayloadError as error:
            raise Problem("invalid", str(error.args[0]), reason=error.reason) from None

    def _batch(self, body: bytes) -> list[Accepted]:
        found = _json(body)
        if not isinstance(found, list) or not found:
            raise Problem("invalid", "a batch is a JSON array of events, at least one")
        if len(found) > EVENTS_MAX:
            raise Problem("invalid", f"{len(found)} events: a batch has at most {EVENTS_MAX}")
        accepted, refused = [], []
        for number, each in enumerate(found):
            try:
                if not isinstance(each, dict):
                    raise PayloadError("not_json", "an event is a JSON object")
                accepted.append(self._structured(each, number))
            except PayloadError as error:
                told = {"index": number, "reason": error.reason, "detail": str(error.args[0])}
                refused.append(told)
        if refused:
            raise Problem(
                "invalid",
                f"{len(refused)} of {len(found)} events are not valid: none was published",
                reason=refused[0]["reason"],
                errors=refused[:PROBLEMS_MAX],
            )
        return accepted

    def _structured(self, envelope: dict[str, Any], number: int) -> Accepted:
        if "data_base64" in envelope:
            raise PayloadError("not_json", "data_base64: the data of an event is JSON here")
        attributes = {name: each for name, each in envelope.items() if name != "data"}
        for name, each in attributes.items():
            if each is not None and not isinstance(each, str | int | bool):
                raise PayloadError("bad_attribute", f"{name[:50]!r} is no CloudEvents value")
        text = {n: _text(v) for n, v in attributes.items() if v is not None}
        return self._checked(text, to_json(envelope.get("data")), number)

    def _binary(self, headers: HttpHeaders, body: bytes) -> Accepted:
        attributes: dict[str, bytes] = {}
        for name, value in headers:
            if name[:3] == b"ce-":
                short = name[3:].decode("latin-1")
                if short in attributes:
                    raise PayloadError("duplicate_header", f"header {name.decode()!r} stands twice")
                attributes[short] = unquote_to_bytes(value) if b"%" in value else value
            elif name == b"traceparent":
                attributes["traceparent"] = value
        return self._checked(attributes, body, 0)

    def _checked(self, attributes: Mapping[str, bytes], value: bytes, number: int) -> Accepted:
        given = self._completed(dict(attributes), number)
        record = Message(
            self.intake.topics.events, 0, 0, int(self.now * 1000), None, value, _headers(given)
        )
        try:
            event = self.intake.check(record, self.now)
        except PayloadError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's validator may raise anything
            raise PayloadError("schema", f"{type(error).__name__}: {error}") from None
        return Accepted(event, event_record(event, self.intake.topics.events, value))

    def _completed(self, given: dict[str, bytes], number: int) -> dict[str, bytes]:
        """With the id that an idempotency key stands for, and the tenant of the key."""
        if self.idempotency_key is not None and not given.get("id"):
            given["id"] = event_id_of(self.caller.name, self.idempotency_key, number).encode()
        tenant = self.caller.tenant
        if tenant is not None:
            said = given.setdefault("tenant", tenant.encode())
            if said != tenant.encode():
                raise Problem("forbidden", f"this key publishes for the tenant {tenant} alone")
        return given


def event_id_of(caller: str, key: str, number: int) -> str:
    """The id of the event that a caller sends under a key: the same after every restart.

    So intake itself sees that it had the event before.
    """
    return str(uuid5(NAMESPACE_URL, f"caseworks/api\n{caller}\n{key}\n{number}"))


def _headers(attributes: Mapping[str, bytes]) -> Headers:
    trace = attributes.get("traceparent")
    found: list[tuple[str, bytes]] = [
        (f"ce_{name}", value)
        for name, value in attributes.items()
        if name not in ("traceparent", "datacontenttype")
    ]
    if trace is not None:
        found.append(("traceparent", trace))
    found.append(("content-type", b"application/json"))
    return tuple(found)


def _text(value: str | int | bool) -> bytes:  # noqa: FBT001 - as JSON has it
    if isinstance(value, bool):
        return b"true" if value else b"false"
    try:
        return str(value).encode()
    except UnicodeEncodeError:
        raise PayloadError("bad_attribute", "an attribute holds half of a character") from None


def _media_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"content-type":
            return value.decode("latin-1").partition(";")[0].strip().lower()
    return ""


def _json(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem("bad-request", f"the body is not JSON: {error}") from None


def _object(body: bytes) -> dict[str, Any]:
    found = _json(body)
    if not isinstance(found, dict):
        raise PayloadError("not_json", "a structured event must be a JSON object")
    return found
