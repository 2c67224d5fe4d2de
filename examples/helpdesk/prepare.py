"""Build `data/` from a folder of source data: `python -m examples.helpdesk.prepare FOLDER`.

For maintainers; nothing at run time needs it. The outcome depends on the sources alone: splits go
by the hash of an id or by time, never by how well anything does on a row.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from examples.helpdesk.calibrate import calibrate
from examples.helpdesk.demo import OOS_LABEL, digest
from examples.helpdesk.files import DATA, read_csv, read_jsonl
from examples.helpdesk.stock_history import low_stock, order_history
from examples.helpdesk.triage import Example, Examples

EXAMPLES_PER_INTENT = 25
PUBLISHED_PER_INTENT = 5
OUT_OF_SCOPE_PUBLISHED = 100
HISTORY_SHARE = 0.6
LICENCES = (
    "PolyAI-LDN+task-specific-datasets.txt",
    "clinc+oos-eval.txt",
    "sierra-research+tau2-bench.txt",
    "databricks+Spark-The-Definitive-Guide.txt",
    "ISBIG-UH+mysql-adventureworks.txt",
    "microsoft+sql-server-samples.txt",
    "aws-samples+aws-fraud-detector-samples.txt",
)
# Written by hand, not by this script.
BY_HAND = ("README.md", "SHA256SUMS")

Row = dict[str, Any]


def prepare(source: Path, target: Path = DATA) -> None:
    """Write every file of *target* from *source*, the checksums last."""
    target.mkdir(parents=True, exist_ok=True)
    kept, published = split_by_intent(read_jsonl(source / "queries_banking77.jsonl"))
    write_jsonl(target / "examples.jsonl", kept)
    write_jsonl(target / "tickets.jsonl", published)
    strangers = out_of_scope(read_jsonl(source / "queries_clinc150.jsonl"))
    write_jsonl(target / "out_of_scope.jsonl", strangers)
    write_jsonl(target / "articles.jsonl", map(article, read_jsonl(source / "kb_banking.jsonl")))
    write_jsonl(
        target / "customers.jsonl", map(customer, read_jsonl(source / "retail_users.jsonl"))
    )
    _prepare_stock(source, target)
    history, alerts = split_by_time(map(payment, read_csv(source / "payments_fraud.csv")))
    write_jsonl(target / "payments_history.jsonl", history)
    write_jsonl(target / "payments.jsonl", alerts)
    _prepare_calibration(kept, target)
    _copy_licences(source, target)
    write_checksums(target)


def split_by_intent(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The labelled questions to keep as examples, and those to publish, in the order of a hash."""
    by_intent: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_intent[row["intent"]].append(row)
    kept: list[Row] = []
    published: list[Row] = []
    for intent in sorted(by_intent):
        ranked = sorted(by_intent[intent], key=lambda row: digest(row["id"]))
        kept += ranked[:EXAMPLES_PER_INTENT]
        published += ranked[EXAMPLES_PER_INTENT:][:PUBLISHED_PER_INTENT]
    return kept, published


def out_of_scope(rows: Iterable[Row]) -> list[Row]:
    """Questions that are none of a bank's, the first of them in the order of a hash."""
    strangers = [row for row in rows if row["intent"] == OOS_LABEL]
    ranked = sorted(strangers, key=lambda row: digest(row["id"]))[:OUT_OF_SCOPE_PUBLISHED]
    return [{"id": row["id"], "text": row["text"], "intent": row["intent"]} for row in ranked]


def article(row: Row) -> Row:
    """An article; *internal* marks the procedures for staff, which their titles call so."""
    return {**row, "internal": "internal" in row["title"].lower()}


def customer(row: Row) -> Row:
    """What an answer may know of a customer: no address, no mail, no account numbers."""
    kinds = {method["source"] for method in row["payment_methods"].values()}
    return {
        "customer_id": row["user_id"],
        "first_name": row["name"]["first_name"],
        "payment_kinds": sorted(kinds),
        "orders": len(row["orders"]),
    }


def payment(row: Mapping[str, str]) -> Row:
    """A payment without its person: the id of the customer is a hash, names and contacts go."""
    return {
        "payment_id": row["EVENT_ID"],
        "customer": f"customer-{sha256(row['ENTITY_ID'].encode()).hexdigest()[:12]}",
        "category": row["product_category"],
        "amount": float(row["order_price"]),
        "currency": row["payment_currency"],
        "merchant": row["merchant"].removeprefix("fraud_"),
        "state": row["billing_state"],
        "paid_at": row["EVENT_TIMESTAMP"],
        "fraud": row["EVENT_LABEL"] == "1",
    }


def split_by_time(payments: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The earlier payments are history, the later ones are published."""
    ordered = sorted(payments, key=lambda row: (row["paid_at"], row["payment_id"]))
    cut = int(len(ordered) * HISTORY_SHARE)
    return ordered[:cut], ordered[cut:]


def _prepare_stock(source: Path, target: Path) -> None:
    stock = list(read_csv(source / "inventory_adventureworks.csv"))
    lines = order_history(stock, read_csv(source / "orders_online_retail.csv"))
    days: defaultdict[tuple[int, str], int] = defaultdict(int)
    for line in lines:
        if line.is_demand:
            days[line.product_id, line.day] += line.units
    with (target / "stock_orders.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["product_id", "day", "units"])
        writer.writerows([product, day, units] for (product, day), units in sorted(days.items()))
    write_jsonl(target / "stock_low.jsonl", low_stock(stock, lines))


def _prepare_calibration(kept: Sequence[Row], target: Path) -> None:
    rows = [Example(row["id"], row["text"], row["intent"]) for row in kept]
    measured = calibrate(Examples.of(rows)).model_dump()
    text = json.dumps(measured, indent=2) + "\n"
    (target / "calibration.json").write_text(text, encoding="utf-8", newline="\n")


def _copy_licences(source: Path, target: Path) -> None:
    (target / "LICENSES").mkdir(exist_ok=True)
    for name in LICENCES:
        shutil.copyfile(source / "LICENSES" / name, target / "LICENSES" / name)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One object a line, as the sources are written."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_checksums(folder: Path) -> None:
    """SHA256SUMS of every file that the script or the table of suppliers is."""
    lines = [f"{each}  {name}\n" for name, each in sorted(checksums(folder).items())]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", newline="\n")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 by path, of all files but those written by hand."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in BY_HAND]
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files
    }


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m examples.helpdesk.prepare FOLDER_OF_THE_SOURCE_DATA")
    prepare(Path(sys.argv[1]))
