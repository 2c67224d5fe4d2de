"""Dashboard and page of metrics say what the catalogue says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from events.metrics import CATALOGUE
from tests.architecture.tree import ROOT
from tests.deploy.promql import labels_in, labels_of, metrics_in
from tests.deploy.test_alerts import KNOWN
from tools.metrics_page import PAGE, page

BOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy" / "grafana" / "caseworks.json").read_text(encoding="utf-8")
)
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in PANELS
    for target in panel["targets"]
]


@pytest.mark.parametrize(("title", "expression", "legend"), EXPRESSIONS)
def test_a_panel_names_metrics_and_labels_of_the_catalogue(
    title: str, expression: str, legend: str
) -> None:
    metrics = metrics_in(expression)
    known = set().union(*(KNOWN.get(metric, set()) for metric in metrics))
    told = {part.partition("}}")[0] for part in legend.split("{{")[1:]}

    assert metrics
    assert metrics <= KNOWN.keys()
    assert labels_in(expression) | told <= known


def test_panels_have_titles_and_places_of_their_own() -> None:
    titles = [panel["title"] for panel in PANELS]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]

    assert len(set(titles)) == len(titles)
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(places)


def test_the_page_of_metrics_is_that_of_the_catalogue() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.metrics_page"


def test_every_metric_is_on_the_page_with_its_labels() -> None:
    for metric in CATALOGUE.values():
        [line] = [line for line in page().splitlines() if f"| `{metric.name}` |" in line]
        assert all(f"`{label}`" in line for label in metric.labels)
        assert metric.says in line


def test_a_histogram_is_asked_for_by_its_samples() -> None:
    assert "caseworks_case_seconds" not in labels_of()
    assert "le" in labels_of()["caseworks_case_seconds_bucket"]
