"""A real Prometheus scrapes a real run that is broken and mended: alerts fire, and clear."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.e2e.system import until
from tests.e2e.watched import RULES, Ghost, Traffic, Watched

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus is not installed (Debian has it)"
    ),
]
AT_WORK = {
    "CaseworksDeadLetters",
    "CaseworksDeadLetterStorm",
    "CaseworksSloBurnFast",
    "CaseworksSloBurnSlow",
    "CaseworksBreakerOpen",
    "CaseworksAgentBlocks",
    "CaseworksLagStalled",
}
WORKER_GONE = {
    "CaseworksProcessDown",
    "CaseworksNoMembers",
    "CaseworksLagStopped",
    "CaseworksLagRewound",
    "CaseworksLagHigh",
    "CaseworksWorkBehind",
    "CaseworksWorkOld",
}
BROKER_GONE = {"CaseworksLoopStalled", "CaseworksLagUnknown"}
RESTARTED = {"CaseworksRestarts"}
ALL = AT_WORK | WORKER_GONE | BROKER_GONE | RESTARTED


def test_every_alert_is_made_to_fire_here() -> None:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule} == ALL


def test_every_alert_fires_when_something_breaks_and_clears_when_it_is_mended(
    tmp_path: Path,
) -> None:
    with (
        Watched(tmp_path) as watched,
        closing(Traffic(watched)) as traffic,
        closing(Ghost(watched)) as ghost,
    ):
        _well(watched, traffic)
        _at_work(watched, traffic, ghost)
        _worker_gone(watched, ghost)
        _broker_gone(watched)
        watched.until_clear(ALL, 60)

    assert watched.seen >= ALL


def _well(watched: Watched, traffic: Traffic) -> None:
    """Everything runs, and no alert has anything to say."""
    traffic.send("order.haunted")
    until(lambda: watched.answers("coordinator") and watched.answers("worker"), 30)
    until(lambda: len(watched.ask("caseworks_consumer_members > 0")) == 8, 30)
    until(lambda: bool(watched.ask('caseworks_work_behind_seconds{agent="steady"}')), 30)
    watched.until_clear(ALL, 30)


def _at_work(watched: Watched, traffic: Traffic, ghost: Ghost) -> None:
    """Agents fail, call what is away, stand on the event loop, or never end."""
    ghost.mode = "stuck"
    traffic.kinds |= {"order.ill", "order.haunted"}
    traffic.send("order.called", 20)
    traffic.send("order.blocked")

    watched.until_firing(AT_WORK, 40)

    traffic.kinds -= {"order.ill", "order.haunted"}
    ghost.mode = "follows"
    watched.mended.touch()
    watched.until_clear(AT_WORK - {"CaseworksAgentBlocks"}, 40)


def _worker_gone(watched: Watched, ghost: Ghost) -> None:
    """The worker dies, comes back, and dies again and again; a group goes back."""
    ghost.mode = "back"
    watched.kill("worker")

    watched.until_firing(WORKER_GONE, 40)

    ghost.mode = "follows"
    lives = {watched.started_at("worker")}
    for restart in range(3):
        watched.start("worker")
        until(lambda: watched.started_at("worker") not in lives, 30)
        lives.add(watched.started_at("worker"))
        if restart < 2:
            watched.kill("worker")
    watched.until_firing(RESTARTED, 20)
    watched.until_clear(WORKER_GONE, 40)


def _broker_gone(watched: Watched) -> None:
    """Kafka stands still: loops wait in the middle of a transaction, and nobody can measure."""
    os.kill(watched.kafka.pid, signal.SIGSTOP)
    try:
        watched.until_firing(BROKER_GONE, 30)
    finally:
        os.kill(watched.kafka.pid, signal.SIGCONT)
