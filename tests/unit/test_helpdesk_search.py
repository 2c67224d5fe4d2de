from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.helpdesk.files import read_jsonl
from examples.helpdesk.search import CHARS_MAX, TERMS_MAX, WORDS_MAX, Index, words
from examples.helpdesk.tickets import Ticket
from examples.helpdesk.triage import examples, triage_by_examples

SOURCE = Path(__file__).parents[2].parent / "shared" / "data"
HOSTILE = ("bad_naughty_strings.jsonl", "bad_web_payloads.jsonl")

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates and NUL as well

PETS = Index([("the cat sleeps",), ("the dogs sleep",), ("the bird sings",), ("the fish swims",)])


@given(ANY_TEXT)
def test_any_text_at_all_is_a_harmless_query(text: str) -> None:
    for position, score in PETS.nearest(words(text), 3):
        assert 0 <= position < 4
        assert score > 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('cat" OR "bird', {0, 2}),
        ("cat NOT sleeps", {0, 1}),  # as an operator it would leave nothing
        ("cat AND bird", {0, 2}),  # same
        ("NEAR(cat bird, 0)", {0, 2}),
        ("c0: bird", {2}),
        ("c1: bird", {2}),  # no such column
        ("bir*", set()),
        ("^bird", {2}),
        ("{c0} : bird", {2}),
        ("bird AND", {2}),
        ("((((", set()),
        ('"', set()),
        ("bird\x00", {2}),
        ("bird \ud800", {2}),
        ("'; DROP TABLE d; --bird", {2}),
    ],
)
def test_operators_of_the_query_language_are_mere_text(text: str, found: set[int]) -> None:
    assert {position for position, _ in PETS.nearest(words(text), 4)} == found


def test_a_raw_text_would_have_been_an_operator() -> None:
    """That quoting matters: the same text, unquoted, is refused by SQLite."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE d USING fts5(c0)")

    with pytest.raises(sqlite3.OperationalError):
        db.execute("SELECT 1 FROM d WHERE d MATCH ?", ("bird AND",)).fetchall()
    db.close()


def test_words_are_found_by_their_stem() -> None:
    assert [position for position, _ in PETS.nearest(["dog"], 4)] == [1]


def test_a_word_in_every_document_finds_nothing() -> None:
    assert PETS.nearest(["the"], 4) == []


def test_common_words_add_to_the_score_and_call_nothing_up() -> None:
    filler = [(f"common number{n}",) for n in range(250)]
    index = Index([("rare other",), ("rare common",), *filler, *[("other",)] * 700])

    found = index.nearest(["rare", "common"], 5)

    assert [position for position, _ in found] == [1, 0]


def test_common_words_are_enough_when_no_rare_one_is_known() -> None:
    filler = [(f"common number{n}",) for n in range(250)]
    index = Index([*filler, *[("other",)] * 700])

    assert len(index.nearest(["neverseen", "common"], 5)) == 5


@given(st.integers(0, 300))
def test_a_query_is_bounded_however_long_the_text(n: int) -> None:
    expression = PETS.expression(words(" ".join(f"word{each}" for each in range(n)))) or ""

    assert expression.count('"word') == min(n, TERMS_MAX)


def test_a_long_text_is_read_to_a_limit() -> None:
    assert len(words("a " * 100_000)) == WORDS_MAX
    assert sum(map(len, words("a" * 100_000))) <= CHARS_MAX


def test_the_share_of_known_words_counts_each_once() -> None:
    assert PETS.known(["cat", "cat", "zebra"]) == 0.5
    assert PETS.known(["cat"], besides=1) == 0
    assert PETS.known([]) == 0


@pytest.mark.skipif(not SOURCE.is_dir(), reason="the source data lies not beside the repository")
@pytest.mark.parametrize("name", HOSTILE)
def test_every_hostile_string_gets_a_triage(name: str) -> None:
    rows = [row["text"] for row in read_jsonl(SOURCE / name)]
    tickets = [Ticket(ticket_id="x", body=text) for text in rows if text]

    outcomes = [triage_by_examples(ticket)[0] for ticket in tickets]

    assert len(outcomes) > 200
    assert {outcome.intent for outcome in outcomes} <= {
        "out_of_scope",
        *(row.intent for row in examples().rows),
    }
