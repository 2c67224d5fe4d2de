from __future__ import annotations

import subprocess
import sys

import pytest

from examples.helpdesk.answer import NO_ARTICLE, compose
from examples.helpdesk.customers import STRANGER, customers, look_up
from examples.helpdesk.files import DATA, read_jsonl
from examples.helpdesk.knowledge import PASSAGE_CHARS_MAX, SOURCES_MAX, Library, library, search_for
from examples.helpdesk.tickets import (
    OUT_OF_SCOPE,
    Customer,
    Knowledge,
    Source,
    Ticket,
    Triage,
)

SURE = Triage(intent="card_arrival", confidence=0.97, reason="all say so")
LOST = Triage(intent=OUT_OF_SCOPE, confidence=0.0, reason="nothing near")
FOUND = Knowledge(passage="Ten days.", sources=(Source(id="s", title="Card shipping"),))
YARA = Customer(known=True, first_name="Yara")


def test_an_answer_quotes_the_article_it_names() -> None:
    answer = compose(SURE, FOUND, YARA)

    assert "Hello Yara" in answer.answer
    assert "“Card shipping”:\nTen days." in answer.answer
    assert answer.sources == FOUND.sources
    assert (answer.intent, answer.confidence) == ("card_arrival", 0.97)


@pytest.mark.parametrize("customer", [None, STRANGER])
def test_nobody_is_greeted_by_a_name_that_is_not_known(customer: Customer | None) -> None:
    assert compose(SURE, FOUND, customer).answer.startswith("Hello, thank you")


def test_an_answer_without_an_article_is_not_sure_however_sure_the_triage_was() -> None:
    answer = compose(SURE, Knowledge(), YARA)

    assert (answer.answer, answer.confidence) == (NO_ARTICLE, 0.0)
    assert "no article" in answer.reason


def test_an_out_of_scope_ticket_gets_no_suggestion() -> None:
    answer = compose(LOST, FOUND, None)

    assert (answer.intent, answer.confidence, answer.sources) == (OUT_OF_SCOPE, 0.0, ())


def test_a_customer_is_found_by_id_and_a_stranger_is_no_error() -> None:
    known = next(iter(customers()))

    assert look_up(Ticket(ticket_id="t", body="b", customer_id=known), SURE).known
    assert look_up(Ticket(ticket_id="t", body="b", customer_id="nobody"), SURE) == STRANGER
    assert look_up(Ticket(ticket_id="t", body="b"), SURE) == STRANGER


def test_no_record_is_opened_for_a_ticket_that_is_out_of_scope() -> None:
    known = next(iter(customers()))

    assert look_up(Ticket(ticket_id="t", body="b", customer_id=known), LOST) == STRANGER


def test_procedures_for_staff_answer_no_customer() -> None:
    internal = {row["id"] for row in read_jsonl(DATA / "articles.jsonl") if row["internal"]}
    cited = {passage.source.id for passage in library().passages}

    assert internal
    assert internal.isdisjoint(cited)


def test_the_article_on_the_matter_is_found() -> None:
    ticket = Ticket(ticket_id="t", body="How can people transfer money to me?")
    triage = Triage(intent="receiving_money", confidence=0.9, reason="")

    found = search_for(ticket, triage)

    assert found.sources[0].title == "How to send and receive money"


def test_a_passage_and_its_sources_are_bounded() -> None:
    long = {"id": "a", "title": "Cards", "text": "## All\n" + "card line\n" * 1000}
    others = [
        {"id": f"b{n}", "title": f"Other {n}", "text": f"## x\nword{n} card"} for n in range(5)
    ]
    fillers = [{"id": f"f{n}", "title": "Filler", "text": f"## x\nfiller{n}"} for n in range(50)]
    articles = [{**each, "internal": False} for each in [long, *others, *fillers]]

    found = Library.of(articles).search(["card", "cards"])

    assert len(found.sources) <= SOURCES_MAX
    assert 0 < len(found.passage) <= PASSAGE_CHARS_MAX + 2


def test_a_ticket_of_question_words_alone_finds_no_article() -> None:
    assert search_for(Ticket(ticket_id="t", body="How do I do it?"), LOST) == Knowledge()


def test_importing_the_example_reads_no_data_and_needs_no_framework() -> None:
    """Each agent runs in its own process, and pays for what it uses."""
    code = (
        "import sys, examples.helpdesk; print('sqlite3' in sys.modules, 'caseworks' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]
