"""What travels in the ticket workflow: the event's data and the output of each step."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

OUT_OF_SCOPE = "out_of_scope"

Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]


class Message(BaseModel):
    """Unknown fields are ignored, as everywhere on the wire."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Ticket(Message):
    """The data of `ticket.created`: what a customer wrote, as they wrote it."""

    ticket_id: Name
    body: str = Field(min_length=1, max_length=100_000)
    subject: str | None = Field(default=None, max_length=1_000)
    customer_id: str | None = Field(default=None, max_length=200)
    channel: str | None = Field(default=None, max_length=50)

    @property
    def text(self) -> str:
        """Subject and body."""
        return f"{self.subject}\n{self.body}" if self.subject else self.body


class Candidate(Message):
    """An intent that near examples speak for, and their share of the vote."""

    intent: str
    share: Share


class Triage(Message):
    """What a ticket is about. *confidence* is the probability that *intent* is right."""

    intent: str
    confidence: Share
    candidates: tuple[Candidate, ...] = ()
    reason: str


class Source(Message):
    """An article that an answer rests on."""

    id: str
    title: str


class Knowledge(Message):
    """The best passage for a ticket, and the articles found, the best first."""

    passage: str = ""
    sources: tuple[Source, ...] = ()


class Customer(Message):
    """What an answer may know of a customer; a stranger is a normal answer."""

    known: bool
    first_name: str | None = None
    payment_kinds: tuple[str, ...] = ()
    orders: int = 0


class Answer(Message):
    """The result's output: below the threshold it is the suggestion to the person who takes over.

    *confidence* is the triage's, and 0 when no article supports the answer.
    """

    intent: str
    answer: str
    sources: tuple[Source, ...]
    confidence: Share
    reason: str
