from __future__ import annotations

import json
from pathlib import Path

from caseworks.shadowing import ROOT
from schemas.export import freeze
from tests.unit.command_line import CommandLine

PUBLISHED = str(ROOT / "schemas" / "published")


def test_the_published_files_pass_their_check() -> None:
    ran = CommandLine()("schemas", "check", PUBLISHED)
    assert (ran.code, ran.err) == (0, "")


def test_drift_fails_and_says_how_to_mend_it(tmp_path: Path) -> None:
    command = CommandLine()
    command("schemas", "export", str(tmp_path))
    (tmp_path / "task.json").unlink()
    ran = command("schemas", "check", str(tmp_path))
    assert ran.code == 3
    assert ran.out == "task.json: missing\n"
    assert ran.err == "error: 1 files drifted  hint: caseworks schemas export\n"


def test_a_broken_promise_fails(tmp_path: Path) -> None:
    command = CommandLine()
    command("schemas", "export", str(tmp_path / "published"))
    promised = freeze(tmp_path / "baseline")
    baseline = json.loads(promised.read_text())
    baseline["task"]["written"]["properties"]["color"] = {"type": "string"}
    baseline["task"]["written"]["required"].append("color")
    promised.write_text(json.dumps(baseline))
    ran = command("schemas", "check", str(tmp_path / "published"))
    assert ran.code == 3
    assert ran.out == "task.color: not always there, though it must be (breaks readers)\n"
    assert "make them additive" in ran.err


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ran = CommandLine()("schemas", "check", str(tmp_path / "none"))
    assert ran.code == 3
    assert "there is no folder" in ran.err


def test_the_contract_of_one_app_names_its_topics_and_event_types(tmp_path: Path) -> None:
    ran = CommandLine()("schemas", "export", str(tmp_path), "--app", "tests.unit.shop_app:app")
    assert ran.code == 0
    document = json.loads((tmp_path / "asyncapi.json").read_text())
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert {"cw.tasks.risk", "cw.results.order"} <= addresses
    assert list(document["channels"]["events"]["messages"]) == ["order.placed"]
    order = json.loads((tmp_path / "order.placed.json").read_text())
    assert order["required"] == ["item", "price"]
