from __future__ import annotations

from events.topics import Partitions, catalogue
from tests.unit.command_line import TOPICS, CommandLine

APP = ("--app", "tests.unit.shop_app:app")


def test_topics_are_made_once_and_listed() -> None:
    command = CommandLine()
    made = command("topics", "create", *APP, "--json").lines[0]["created"]
    names = [s.name for s in catalogue(TOPICS, ["risk", "decide"], ["order"], Partitions())]
    assert sorted(made) == sorted(names)
    assert command("topics", "create", *APP, "--json").lines == [{"created": []}]
    listed = command("topics", "list", "--json").lines
    assert [topic["name"] for topic in listed] == sorted(names)
    assert "cleanup.policy=compact" in command("topics", "list").out


def test_checking_says_what_is_missing() -> None:
    command = CommandLine()
    ran = command("topics", "check", *APP)
    assert ran.code == 3
    assert "topics are missing" in ran.err
    assert "hint: caseworks topics create" in ran.err
    command("topics", "create", *APP)
    assert command("topics", "check", *APP).out == (
        "all topics are there; the inbox has 32 partitions\n"
    )
