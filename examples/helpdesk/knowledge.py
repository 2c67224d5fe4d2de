"""What the bank's knowledge base says on a ticket: full-text search over passages of articles.

Articles are cut at their headings, and a passage is found by its article's title and its own
words. Procedures for staff (`internal` in the data) never answer a customer and are not indexed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from examples.helpdesk.files import DATA, read_jsonl
from examples.helpdesk.search import Index, words
from examples.helpdesk.tickets import OUT_OF_SCOPE, Knowledge, Source, Ticket, Triage

PASSAGES = 6
SOURCES_MAX = 3
PASSAGE_CHARS_MAX = 700
TERMS_MAX = 8
TITLE_WEIGHT = 3.0

# Words that any question is made of. The examples need them to tell "how" from "why"; here they
# would only find titles that are questions as well.
_QUESTION_WORDS = frozenset(
    words(
        """
        a about after again all already also am an and any anything are as at be because been
        before being but by can cannot could couldn d did didn do does doesn doing don done else
        ever for from get getting go going got had has hasn have haven having hello help hey hi how
        i if im in into is isn it its just keep let like ll long m make many may me might more much
        must my need no not now of off on one only or other our out over please possible re really
        s see seem she should so some someone something still t than thank thanks that the their
        them then there these they thing think this those to told too try trying up us use used
        using ve very want wanted was wasn way we well were what when where which while who why
        will with won wondering work working would wouldn wrong yet you your
        """,
        limit=None,
    )
)
_HEADING = re.compile(r"^#+ +", re.MULTILINE)


class Passage(NamedTuple):
    """A piece of an article under one heading."""

    source: Source
    heading: str
    text: str


@dataclass(frozen=True)
class Library:
    """Passages and their index."""

    passages: Sequence[Passage]
    index: Index

    @classmethod
    def of(cls, articles: Iterable[Mapping[str, Any]]) -> Library:
        """Cut and index the articles that may answer a customer."""
        passages = [
            passage
            for article in articles
            if not article["internal"]
            for passage in _cut(article["id"], article["title"], article["text"])
        ]
        texts = [(each.source.title, f"{each.heading} {each.text}") for each in passages]
        return cls(passages, Index(texts, weights=(TITLE_WEIGHT, 1.0)))

    def search(self, query: Iterable[str]) -> Knowledge:
        """The best passage for these words, and the articles of the best few."""
        terms = self.index.rarest(query, TERMS_MAX)
        found = [self.passages[at] for at, _ in self.index.nearest(terms, PASSAGES)]
        if not found:
            return Knowledge()
        sources = tuple({each.source.id: each.source for each in found}.values())
        return Knowledge(passage=_shorten(found[0].text), sources=sources[:SOURCES_MAX])


def search_for(ticket: Ticket, triage: Triage) -> Knowledge:
    """What the knowledge base says on a ticket, its intent's name included."""
    intent = "" if triage.intent == OUT_OF_SCOPE else triage.intent.replace("_", " ")
    asked = words(f"{intent} {ticket.text}")
    return library().search(word for word in asked if word not in _QUESTION_WORDS)


@cache
def library() -> Library:
    """The knowledge base of the data folder, read and indexed on first use: about 0.1 s."""
    return Library.of(read_jsonl(DATA / "articles.jsonl"))


def _cut(article_id: str, title: str, text: str) -> Iterator[Passage]:
    source = Source(id=article_id, title=title)
    for part in _HEADING.split(text):
        heading, _, body = part.strip().partition("\n")
        if body.strip():
            yield Passage(source, heading, body.strip())


def _shorten(text: str) -> str:
    """The whole lines that fit."""
    if len(text) <= PASSAGE_CHARS_MAX:
        return text
    kept = text[:PASSAGE_CHARS_MAX].rpartition("\n")[0] or text[:PASSAGE_CHARS_MAX]
    return f"{kept.rstrip()}\n…"
