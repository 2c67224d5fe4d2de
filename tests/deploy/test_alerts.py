"""The alert rules fire when they should, and speak of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from events.metrics import CATALOGUE
from tests.architecture.tree import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
# From Prometheus itself and from its client library, not from our catalogue.
BORROWED = {"up": {"job", "instance"}, "process_start_time_seconds": {"job", "instance"}}
OWN = {metric.name: {*metric.labels, "job", "instance"} for metric in CATALOGUE.values()}
LABELS = BORROWED | OWN
FUNCTIONS = {"sum", "max", "by", "or", "unless", "offset", "time"} | {
    "increase",
    "rate",
    "changes",
    "max_over_time",
}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (package prometheus)"
)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """Every name of an expression that is neither a label, a value, a duration nor a function."""
    bare = re.sub(r"\{.*?\}|\bby \(.*?\)|\[\w+\]|\boffset \w+", "", expression)
    return set(re.findall(r"[a-z_][a-z0-9_]*", bare)) - FUNCTIONS


def labels_in(expression: str) -> set[str]:
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = re.findall(r"\bby \((.*?)\)", expression)
    return {*matched, *(label.strip() for group in grouped for label in group.split(","))}


def promtool(*arguments: str) -> None:
    ran = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_every_alert_fires_and_stays_silent_as_its_tests_say() -> None:
    promtool("test", "rules", "rules_test.yml")


@needs_promtool
def test_prometheus_accepts_the_configuration_and_its_rules() -> None:
    promtool("check", "config", "prometheus.yml")


def test_every_alert_is_tested_firing() -> None:
    cases = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {
        checked["alertname"]
        for case in cases
        for checked in case["alert_rule_test"]
        if checked.get("exp_alerts")
    }

    assert {rule["alert"] for rule in rules()} == fired


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_names_metrics_and_labels_of_the_catalogue(rule: dict[str, Any]) -> None:
    metrics = metrics_in(rule["expr"])
    known = set().union(*(LABELS.get(metric, set()) for metric in metrics))
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))

    assert metrics
    assert metrics <= LABELS.keys()
    assert labels_in(rule["expr"]) | told <= known


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "action"}


def test_the_reader_of_expressions_finds_a_metric_that_does_not_exist() -> None:
    expression = 'sum by (group) (rate(caseworks_lagg{topic="x"}[5m])) > 1'

    assert metrics_in(expression) == {"caseworks_lagg"}
    assert labels_in(expression) == {"group", "topic"}
