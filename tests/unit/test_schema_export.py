from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from caseworks.contract import channels
from events.topics import Partitions, Topics, catalogue
from schemas import export
from schemas.base import Message
from schemas.commands import COMMANDS
from schemas.export import MESSAGES, Published, contract

SCHEMAS = Path(export.__file__).parent


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return {name: json.loads(text) for name, text in export.files(channels()).items()}


@pytest.fixture(scope="module")
def document(published: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = published[export.ASYNCAPI]
    return found


def test_what_is_published_is_what_the_models_say() -> None:
    """`caseworks schemas export` mends it."""
    assert export.check(SCHEMAS / "published", channels()) == []


def test_no_promise_of_the_last_release_is_broken() -> None:
    assert export.broken_promises(SCHEMAS / "baseline") == []


def test_an_export_is_the_same_every_time_and_says_what_it_changed(tmp_path: Path) -> None:
    first = export.export(tmp_path, channels())
    assert {path.name for path in first} == {f"{m.name}.json" for m in MESSAGES} | {"asyncapi.json"}
    assert export.export(tmp_path, channels()) == []
    (tmp_path / "task.json").write_text("{}")
    assert export.check(tmp_path, channels()) == ["task.json: out of date"]
    assert export.export(tmp_path, channels()) == [tmp_path / "task.json"]


def test_an_export_takes_away_its_own_files_and_nobody_elses(tmp_path: Path) -> None:
    gone = {"gone.event": {"type": "object"}}
    export.export(tmp_path, channels(), gone)
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    assert export.check(tmp_path, channels()) == ["gone.event.json: published no longer"]
    export.export(tmp_path, channels())
    assert not (tmp_path / "gone.event.json").exists()
    assert (tmp_path / "package.json").exists()


def test_every_command_of_the_inbox_is_published() -> None:
    assert {name.removeprefix("caseworks.") for name in COMMANDS} <= {m.name for m in MESSAGES}


def test_what_others_write_names_only_what_they_must(published: dict[str, Any]) -> None:
    assert "usage" not in published["outcome.json"]["required"]
    assert "budget" in published["task.json"]["required"]


def test_every_field_is_promised_of_a_message_that_is_written_in_full() -> None:
    class Sample(Message):
        a: int
        b: int = 2

    full, compact = (contract(Published("s", Sample, compact=word)) for word in (False, True))
    assert full.written["required"] == ["a", "b"]
    assert compact.written["required"] == ["a"]
    assert full.read["required"] == ["a"]


def test_every_schema_has_a_dialect_a_name_and_a_sentence(published: dict[str, Any]) -> None:
    for name, schema in published.items():
        if name == export.ASYNCAPI:
            continue
        assert schema["$schema"] == export.DIALECT
        assert schema["$id"].endswith(name.removesuffix(".json"))
        assert schema["description"]


# --- AsyncAPI


def test_every_topic_is_a_channel_with_its_settings(document: dict[str, Any]) -> None:
    specs = catalogue(Topics("{namespace}"), ["{agent}"], ["{workflow}"], Partitions())
    by_address = {each["address"]: each for each in document["channels"].values()}
    assert by_address.keys() == {spec.name for spec in specs}
    assert len(document["channels"]) == len(specs)
    for spec in specs:
        binding = by_address[spec.name]["bindings"]["kafka"]
        assert binding["partitions"] == spec.partitions
        policy = spec.config.get("cleanup.policy", "delete").split(",")
        assert binding["topicConfiguration"].get("cleanup.policy", ["delete"]) == policy


def test_every_parameter_of_an_address_is_declared(document: dict[str, Any]) -> None:
    for channel in document["channels"].values():
        named = {part.partition("}")[0] for part in channel["address"].split("{")[1:]}
        assert channel.get("parameters", {}).keys() == named


def test_every_channel_has_one_operation_that_names_its_messages(document: dict[str, Any]) -> None:
    by_channel = {each["channel"]["$ref"]: each for each in document["operations"].values()}
    assert by_channel.keys() == {f"#/channels/{name}" for name in document["channels"]}
    for place, operation in by_channel.items():
        assert operation["action"] in {"send", "receive"}
        channel = document["channels"][place.rpartition("/")[2]]
        told = {ref["$ref"] for ref in operation["messages"]}
        assert told == {f"{place}/messages/{name}" for name in channel["messages"]}


def test_every_reference_leads_somewhere(
    document: dict[str, Any], published: dict[str, Any]
) -> None:
    for ref in references(document):
        if ref.startswith("./"):
            assert ref.removeprefix("./") in published
            continue
        place: Any = document
        for part in ref.removeprefix("#/").split("/"):
            place = place[part]


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [ref for each in node for ref in references(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [ref for each in node.values() for ref in references(each)]


def test_an_app_adds_its_event_types(tmp_path: Path) -> None:
    class Order(Message):
        """An order."""

        total: int

    from dataclasses import replace

    of_app = [
        replace(each, messages=("order.placed",)) if each.id == "events" else each
        for each in channels(Topics("cw"), ["pack"], ["order"])
    ]
    data = {"order.placed": TypeAdapter(Order).json_schema()}
    export.export(tmp_path, of_app, data)
    document = json.loads((tmp_path / "asyncapi.json").read_text())
    payload = document["components"]["messages"]["order.placed"]["payload"]
    assert payload["schema"] == {"$ref": "./order.placed.json"}
    schema = json.loads((tmp_path / "order.placed.json").read_text())
    assert schema["properties"]["total"]["type"] == "integer"
