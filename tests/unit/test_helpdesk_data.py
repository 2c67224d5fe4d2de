from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from examples.helpdesk import prepare
from examples.helpdesk.calibrate import TARGET, calibrate
from examples.helpdesk.files import DATA, read_jsonl
from examples.helpdesk.triage import calibration, examples

SOURCE = Path(__file__).parents[2].parent / "shared" / "data"
needs_the_sources = pytest.mark.skipif(
    not SOURCE.is_dir(), reason="the source data does not lie beside the repository"
)


def test_every_intent_has_25_examples_and_5_published_tickets() -> None:
    kept = Counter(row["intent"] for row in read_jsonl(DATA / "examples.jsonl"))
    published = Counter(row["intent"] for row in read_jsonl(DATA / "tickets.jsonl"))

    assert kept.keys() == published.keys()
    assert len(kept) == 77
    assert set(kept.values()) == {25}
    assert set(published.values()) == {5}


@pytest.mark.parametrize("field", ["id", "text"])
def test_no_published_ticket_is_an_example(field: str) -> None:
    kept = {row[field] for row in read_jsonl(DATA / "examples.jsonl")}
    published = {row[field] for row in read_jsonl(DATA / "tickets.jsonl")}

    assert kept.isdisjoint(published)


def test_no_published_payment_is_older_than_the_history() -> None:
    history = max(row["paid_at"] for row in read_jsonl(DATA / "payments_history.jsonl"))
    published = min(row["paid_at"] for row in read_jsonl(DATA / "payments.jsonl"))

    assert history < published


def test_the_split_depends_on_ids_alone() -> None:
    rows = [{"id": f"q{n}", "intent": "a", "text": str(n)} for n in range(40)]

    forwards = prepare.split_by_intent(rows)
    backwards = prepare.split_by_intent(reversed(rows))

    assert forwards == backwards
    assert [len(part) for part in forwards] == [25, 5]


def test_the_data_is_what_the_checksums_say() -> None:
    listed = {
        name: digest
        for line in (DATA / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
        for digest, _, name in [line.partition("  ")]
    }

    assert listed == prepare.checksums(DATA)


def test_a_changed_byte_changes_the_checksums(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n", encoding="utf-8")
    before = prepare.checksums(tmp_path)
    (tmp_path / "a.jsonl").write_text("{ }\n", encoding="utf-8")

    assert before != prepare.checksums(tmp_path)


def test_every_licence_travels_with_the_data_and_is_named_in_its_readme() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")

    assert sorted(prepare.LICENCES) == sorted(p.name for p in (DATA / "LICENSES").iterdir())
    assert [name for name in prepare.LICENCES if name not in readme] == []


def test_the_readme_counts_the_rows_that_are_there() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    rows = {path.name: sum(1 for _ in read_jsonl(path)) for path in DATA.glob("*.jsonl")}

    assert [name for name, n in rows.items() if f"`{name}` | {n:,} |" not in readme] == []


def test_customers_and_payments_carry_no_contact() -> None:
    customers = next(read_jsonl(DATA / "customers.jsonl"))
    payments = next(read_jsonl(DATA / "payments.jsonl"))

    assert set(customers) == {"customer_id", "first_name", "payment_kinds", "orders"}
    assert payments["customer"].startswith("customer-")
    assert {"customer_email", "billing_phone", "ip_address", "ENTITY_ID"}.isdisjoint(payments)


@pytest.mark.slow
def test_leave_one_out_on_the_examples_gives_the_stored_calibration() -> None:
    measured = calibrate(examples())

    assert measured.model_dump() == pytest.approx(calibration().model_dump(), rel=0.02)
    assert measured.right >= TARGET * measured.answered


@pytest.mark.slow
@needs_the_sources
def test_the_script_makes_the_same_data_again(tmp_path: Path) -> None:
    (tmp_path / "suppliers.csv").write_bytes((DATA / "suppliers.csv").read_bytes())

    prepare.prepare(SOURCE, tmp_path)

    made, kept = prepare.checksums(tmp_path), prepare.checksums(DATA)
    # Another SQLite may score in another last digit; the test above bounds what that may do.
    made.pop("calibration.json")
    kept.pop("calibration.json")
    assert made == kept
