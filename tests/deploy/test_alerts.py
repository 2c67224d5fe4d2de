"""The alert rules fire and clear when they should, and speak of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from typing import Any

import pytest
import yaml

from tests.architecture.tree import ROOT
from tests.deploy.promql import labels_in, labels_of, metrics_in

PROMETHEUS = ROOT / "deploy" / "prometheus"
TESTS = ("rules_test.yml", "slo_test.yml")
GROUPS = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = [rule for rule in RULES if "record" in rule]
KNOWN = labels_of() | {rule["record"]: {"workflow"} for rule in RECORDED}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (package prometheus)"
)


def promtool(*arguments: str) -> None:
    ran = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def checks() -> list[dict[str, Any]]:
    """One list of looks at alerts for each promtool test."""
    files = [yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8")) for name in TESTS]
    return [case for file in files for case in file["tests"]]


def seconds(text: str) -> int:
    units = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([dhms])", text))


@needs_promtool
@pytest.mark.parametrize("file", TESTS)
def test_every_alert_fires_and_stays_silent_as_its_tests_say(file: str) -> None:
    promtool("test", "rules", file)


@needs_promtool
def test_prometheus_accepts_the_configuration_and_its_rules() -> None:
    promtool("check", "config", "prometheus.yml")


def test_every_alert_is_tested_firing_and_then_clearing() -> None:
    fires: dict[str, set[str]] = defaultdict(set)
    for case in checks():
        looks: dict[str, list[tuple[int, bool]]] = defaultdict(list)
        for look in case["alert_rule_test"]:
            fired = bool(look.get("exp_alerts"))
            looks[look["alertname"]].append((seconds(look["eval_time"]), fired))
        for alert, seen in looks.items():
            first = min((at for at, fired in seen if fired), default=None)
            if first is not None:
                fires["fired"].add(alert)
                if any(at > first and not fired for at, fired in seen):
                    fires["cleared"].add(alert)

    assert fires["fired"] == {rule["alert"] for rule in ALERTS}
    assert fires["fired"] - fires["cleared"] == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_names_metrics_and_labels_of_the_catalogue(rule: dict[str, Any]) -> None:
    metrics = metrics_in(rule["expr"])
    known = set().union(*(KNOWN.get(metric, set()) for metric in metrics))
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule.get("annotations", {}).values())))

    assert metrics
    assert metrics <= KNOWN.keys()
    assert labels_in(rule["expr"]) | told <= known


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_to_do_and_where_more_stands(rule: dict[str, Any]) -> None:
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")

    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "action", "runbook_url"}
    assert (PROMETHEUS / file).exists()
    assert anchor == rule["alert"].lower()


def test_every_alert_has_its_section_in_the_runbooks_and_every_section_its_alert() -> None:
    text = (PROMETHEUS / "runbooks.md").read_text(encoding="utf-8")
    sections = re.findall(r"(?m)^## (\w+)$", text)
    linked = set(re.findall(r"\]\(#(\w+)\)", text))

    assert sorted(sections) == sorted(rule["alert"] for rule in ALERTS)
    assert linked <= {section.lower() for section in sections}


def test_the_windows_of_the_service_level_are_all_recorded() -> None:
    recorded = {rule["record"] for rule in RECORDED}
    read = {name for rule in ALERTS for name in metrics_in(rule["expr"]) if ":" in name}

    assert read == recorded
    for rule in RECORDED:
        window = rule["record"].rpartition("ratio_rate")[2]
        assert set(re.findall(r"\[(\w+)\]", rule["expr"])) == {window}


def test_the_reader_of_expressions_finds_a_metric_that_does_not_exist() -> None:
    expression = 'sum by (group) (rate(caseworks_lagg{topic="x"}[5m])) > 1 and on (team) up'

    assert metrics_in(expression) == {"caseworks_lagg", "up"}
    assert labels_in(expression) == {"group", "topic", "team"}
