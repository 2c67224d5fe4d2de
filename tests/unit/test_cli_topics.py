from __future__ import annotations

from events.broker import ConsumerSpec
from events.topics import Partitions, Topics, catalogue
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


def test_lag_is_what_a_group_has_not_done() -> None:
    command = CommandLine()
    command.make_topics()
    group = Topics("cw").workers_group("triage")
    consumer = command.broker.consumer(ConsumerSpec(group, (TOPICS.tasks("triage"),)))
    consumer.take(1, 0)
    from events.broker import Record

    command.produce(*(Record(TOPICS.tasks("triage"), b"k", b"v") for _ in range(3)))
    rows = command("lag", "--json").lines
    mine = [row for row in rows if row["group"] == group]
    assert sum(row["lag"] for row in mine) == 3
    assert {row["members"] for row in mine} == {1}
    shown = [line.split() for line in command("lag").out.splitlines() if group in line]
    assert shown[0][-2] == "3"
    assert command("lag", "--partitions").out.count(group) == len(mine)
