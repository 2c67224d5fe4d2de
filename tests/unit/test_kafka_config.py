"""The client settings of the Kafka adapter, and its log lines."""

from __future__ import annotations

import logging

from events.broker import ConsumerSpec
from events.kafka.config import ClientConfig, Repeats


def test_a_user_may_change_sizes_but_not_what_the_promises_rest_on() -> None:
    user = {"fetch.wait.max.ms": "7", "isolation.level": "read_uncommitted", "acks": "1"}
    config = ClientConfig("h:1", "me", user)
    member = config.member(ConsumerSpec("g", ("t",), instance="i-0"))
    assert member["fetch.wait.max.ms"] == "7"
    assert member["isolation.level"] == "read_committed"
    assert member["group.instance.id"] == "i-0"
    assert member["session.timeout.ms"] == 6000
    assert config.producer()["acks"] == "all"
    assert config.transactional("t-0")["partitioner"] == "murmur2_random"


def test_a_dynamic_member_has_no_instance_name() -> None:
    member = ClientConfig("h:1", "me").member(ConsumerSpec("g", ("t",)))
    assert "group.instance.id" not in member


def test_a_loop_that_restores_refuses_a_position_outside_of_the_log() -> None:
    config = ClientConfig("h:1", "me")
    resets = [
        config.member(ConsumerSpec("g", ("t",), paused_on_assign=paused))["auto.offset.reset"]
        for paused in (False, True)
    ]
    assert resets == ["earliest", "error"]


def test_lines_of_one_kind_pass_once_a_second() -> None:
    repeats = Repeats()

    def line(text: str) -> logging.LogRecord:
        return logging.LogRecord("l", logging.WARNING, "f", 1, text, (), None)

    passed = [repeats.filter(line(f"FAIL broker {n}")) for n in range(5)]
    assert passed == [True, False, False, False, False]
    assert repeats.filter(line("GETPID retrying"))
