from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.metrics import CATALOGUE, NULL, Metric, Null, Prometheus, Telemetry, UnknownMetricError

RESULTS = "caseworks_results_total"


def say(telemetry: Telemetry, metric: Metric, value: float, label: str = "x") -> None:
    labels = dict.fromkeys(metric.labels, label)
    match metric.kind:
        case "counter":
            telemetry.count(metric.name, value, **labels)
        case "gauge":
            telemetry.set(metric.name, value, **labels)
        case "histogram":
            telemetry.observe(metric.name, value, **labels)


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=list(CATALOGUE))
def test_every_metric_of_the_catalogue_is_exposed_under_its_name(metric: Metric) -> None:
    telemetry = Prometheus()
    say(telemetry, metric, 3)
    suffix = "_sum" if metric.kind == "histogram" else ""
    assert telemetry.value(metric.name + suffix, **dict.fromkeys(metric.labels, "x")) == 3
    assert f"# HELP {metric.name} {metric.says}" in telemetry.text().decode()


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=list(CATALOGUE))
def test_names_follow_the_prometheus_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"caseworks_[a-z][a-z_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.says[0].isupper()
    assert metric.says.endswith(".")


@pytest.mark.parametrize("telemetry", [NULL, Prometheus()], ids=["null", "prometheus"])
def test_what_the_catalogue_does_not_name_is_refused(telemetry: Telemetry) -> None:
    with pytest.raises(UnknownMetricError, match="caseworks_surprise is not in"):
        telemetry.count("caseworks_surprise")
    with pytest.raises(UnknownMetricError, match="is a counter, not a gauge"):
        telemetry.set(RESULTS, 1, workflow="ticket", status="completed")
    with pytest.raises(UnknownMetricError, match="labels workflow, status; given: workflow"):
        telemetry.count(RESULTS, workflow="ticket")
    with pytest.raises(UnknownMetricError, match="labels none; given: type"):
        telemetry.count("caseworks_events_duplicate_total", type="ticket.created")


def test_another_kind_is_refused_after_the_right_one_was_used() -> None:
    telemetry = Prometheus()
    telemetry.set("caseworks_in_flight", 1, agent="triage")
    with pytest.raises(UnknownMetricError, match="is a gauge, not a counter"):
        telemetry.count("caseworks_in_flight", agent="triage")


def test_the_null_telemetry_takes_everything_the_catalogue_names() -> None:
    for metric in CATALOGUE.values():
        say(Null(), metric, 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=20))
def test_counts_add_up_by_label(said: list[tuple[str, int]]) -> None:
    telemetry = Prometheus()
    for status, value in said:
        telemetry.count(RESULTS, value, workflow="ticket", status=status)
    for status in {status for status, _ in said}:
        total = sum(value for each, value in said if each == status)
        assert telemetry.value(RESULTS, status=status, workflow="ticket") == total


def test_a_forgotten_gauge_is_no_longer_exposed_and_can_come_back() -> None:
    telemetry = Prometheus()
    telemetry.set("caseworks_cases_open", 7, partition=3)
    telemetry.forget("caseworks_cases_open", partition=3)
    assert telemetry.value("caseworks_cases_open", partition=3) is None
    telemetry.forget("caseworks_cases_open", partition=3)
    telemetry.set("caseworks_cases_open", 2, partition=3)
    assert telemetry.value("caseworks_cases_open", partition=3) == 2


def test_two_telemetries_of_one_process_keep_apart() -> None:
    one, other = Prometheus(), Prometheus()
    one.count("caseworks_events_duplicate_total")
    assert other.value("caseworks_events_duplicate_total") == 0


def test_the_process_itself_is_exposed() -> None:
    assert b"process_resident_memory_bytes" in Prometheus().text()


def test_the_catalogue_costs_no_import_of_prometheus() -> None:
    code = "import sys, events.metrics; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
