"""What a ticket is about: the nearest labelled examples vote, weighted by how near they are.

A ticket's 20 nearest of 1,925 labelled questions (BM25) vote for their intents with the fourth
power of their scores. The winner's share of the vote, times the share of the ticket's words that
the examples know at all, is the evidence; a best score below the floor counts as none of ours.
Evidence becomes a probability by a logistic curve. Floor, curve and the threshold from which an
answer goes out unseen are measured by leave-one-out on the examples alone (`calibrate.py`) and
stand in `data/calibration.json`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pydantic import BaseModel

from examples.helpdesk.files import DATA, read_json, read_jsonl
from examples.helpdesk.search import Index, words
from examples.helpdesk.tickets import OUT_OF_SCOPE, Candidate, Ticket, Triage

NEIGHBOURS = 20
VOTE_POWER = 4
SHOWN = 3


class Example(NamedTuple):
    """A question that a person gave its intent."""

    id: str
    text: str
    intent: str


class Neighbour(NamedTuple):
    """An example near a ticket, and its score."""

    example: Example
    score: float


class Calibration(BaseModel):
    """What leave-one-out measured: see `calibrate.py`."""

    floor: float
    slope: float
    intercept: float
    threshold: float
    target: float
    examples: int
    answered: int
    right: int

    def confidence(self, evidence: float) -> float:
        """The probability that an intent with this evidence is right, in steps of 0.0001."""
        if evidence <= 0:
            return 0.0
        bounded = min(max(evidence, 0.001), 0.999)
        odds = self.slope * math.log(bounded / (1 - bounded)) + self.intercept
        return round(1 / (1 + math.exp(-odds)), 4)


@dataclass(frozen=True)
class Examples:
    """The labelled examples and their index."""

    rows: Sequence[Example]
    index: Index

    @classmethod
    def of(cls, rows: Sequence[Example]) -> Examples:
        """Index the examples."""
        return cls(rows, Index([(row.text,) for row in rows]))

    def nearest(self, text: str, leave_out: int | None = None) -> list[Neighbour]:
        """The nearest examples, the best first, without the one at position *leave_out*."""
        found = self.index.nearest(words(text), NEIGHBOURS + (leave_out is not None))
        near = [Neighbour(self.rows[at], score) for at, score in found if at != leave_out]
        return near[:NEIGHBOURS]


def vote(neighbours: Sequence[Neighbour]) -> list[Candidate]:
    """The intents of the neighbours by their share of the vote, the largest first."""
    votes: defaultdict[str, float] = defaultdict(float)
    for example, score in neighbours:
        votes[example.intent] += score**VOTE_POWER
    total = sum(votes.values())
    best = sorted(votes.items(), key=lambda item: -item[1])[:SHOWN]
    return [Candidate(intent=intent, share=round(each / total, 4)) for intent, each in best]


def decide(
    neighbours: Sequence[Neighbour], candidates: Sequence[Candidate], known: float, by: Calibration
) -> Triage:
    """The triage that this vote and this share of known words speak for."""
    best = neighbours[0].score if neighbours else 0.0
    if best < by.floor:
        return Triage(
            intent=OUT_OF_SCOPE,
            confidence=0.0,
            candidates=tuple(candidates),
            reason=f"no labelled example is near: best score {best:.1f}, floor {by.floor:.1f}",
        )
    first = candidates[0]
    return Triage(
        intent=first.intent,
        confidence=by.confidence(first.share * known),
        candidates=tuple(candidates),
        reason=f"{first.share:.0%} of the vote of the {len(neighbours)} nearest examples; "
        f"{known:.0%} of the words are known",
    )


def triage_by_examples(ticket: Ticket) -> tuple[Triage, list[Neighbour]]:
    """The triage of a ticket by its nearest examples, and these."""
    known = examples().index.known(words(ticket.text))
    neighbours = examples().nearest(ticket.text)
    return decide(neighbours, vote(neighbours), known, calibration()), neighbours


@cache
def examples() -> Examples:
    """The examples of the data folder, read and indexed on first use: about 30 ms a process."""
    rows = read_jsonl(DATA / "examples.jsonl")
    return Examples.of([Example(row["id"], row["text"], row["intent"]) for row in rows])


@cache
def calibration() -> Calibration:
    """The measured calibration of the data folder."""
    return Calibration.model_validate(read_json(DATA / "calibration.json"))
