"""Every error as an RFC 9457 problem document: the catalogue, and how exceptions become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from events.errors import (
    BrokerError,
    CaseworksError,
    DeclarationError,
    OperatorError,
    PayloadError,
    SetupError,
)
from events.logs import get_logger

MEDIA_TYPE = "application/problem+json"
DETAIL_CHARS_MAX = 1000

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: `type` is `urn:caseworks:problem:<name>`."""

    status: int
    title: str


KINDS: dict[str, Kind] = {
    "bad-request": Kind(400, "The request cannot be read"),
    "unauthenticated": Kind(401, "Say who you are"),
    "token-refused": Kind(401, "The token is not accepted"),
    "forbidden": Kind(403, "The key does not allow this"),
    "not-found": Kind(404, "There is no such thing"),
    "method-not-allowed": Kind(405, "The method is not for this address"),
    "too-slow": Kind(408, "The request came too slowly"),
    "conflict": Kind(409, "It is too late, or somebody else was first"),
    "too-large": Kind(413, "The request is too large"),
    "media-type": Kind(415, "The content type is not understood"),
    "invalid": Kind(422, "The content is not valid"),
    "headers-too-large": Kind(431, "The headers are too large"),
    "rate-limited": Kind(429, "Too many requests"),
    "internal": Kind(500, "Something went wrong here"),
    "not-available": Kind(501, "This installation does not have it"),
    "unavailable": Kind(503, "It cannot be done now"),
}
"""Every problem that the API answers, by name."""
_BY_STATUS = {kind.status: name for name, kind in reversed(KINDS.items())}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that is an error. `name` is one of `KINDS`; *more* are further members."""

    def __init__(
        self, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.kind = KINDS[name]
        self.detail = detail[:DETAIL_CHARS_MAX]
        self.headers = dict(headers or {})
        self.more = more

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.kind.status

    def body(self) -> bytes:
        """The document as JSON."""
        document = {
            "type": f"urn:caseworks:problem:{self.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            **self.more,
        }
        return msgspec.json.encode(document)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: what a `Problem` becomes on the wire."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


def answer_of(problem: Problem) -> Answer:
    """The problem as status, headers and body."""
    body = problem.body()
    more = tuple((k.lower().encode(), v.encode("latin-1")) for k, v in problem.headers.items())
    fixed = (
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    )
    return Answer(problem.status, body, fixed + more)


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem that a bare status stands for."""
    name = _BY_STATUS.get(status, "internal" if status >= 500 else "bad-request")
    return Problem(name, detail, headers=headers)


def of_exception(error: BaseException) -> Problem:
    """What to tell about an exception: never where in the code it was raised."""
    match error:
        case Problem():
            return error
        case PayloadError(reason=reason):
            return Problem("invalid", str(error.args[0]), reason=reason)
        case DeclarationError():
            return Problem("invalid", str(error.args[0]), hint=error.hint)
        case BrokerError():
            log.warning("api_kafka", error=str(error))
            return unavailable("Kafka does not answer")
        case SetupError():
            log.warning("api_setup", error=str(error))
            return Problem("unavailable", str(error.args[0]), hint=error.hint)
        case OperatorError() | CaseworksError():
            log.error("api_error", error=str(error))
            return Problem("unavailable", str(error.args[0]), hint=error.hint)
        case _:
            log.error("api_unexpected", exc_info=error)
            return Problem("internal", "an unexpected error; the log of the API says more")


def unavailable(detail: str, retry_after_s: int = 1) -> Problem:
    """Something that is worth another try a little later."""
    return Problem("unavailable", detail, headers={"Retry-After": str(retry_after_s)})
