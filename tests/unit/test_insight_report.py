"""The snapshot, the page and the commands that show them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from caseworks.insight.alerts import AlertLimits, Episodes, measures
from caseworks.insight.business import Baseline, business
from caseworks.insight.charts import Line, bars, plot
from caseworks.insight.metrics import Gauges
from caseworks.insight.rates import standings
from caseworks.insight.report import page, with_baseline
from caseworks.insight.snapshot import Snapshot, cells_of, path_of, read, snapshot, write
from caseworks.insight.tables import Tables
from caseworks.loading import load_app
from caseworks.stage import Cast, Stage
from events.errors import SetupError
from events.metrics import Prometheus
from events.settings import Settings
from tests.unit.command_line import CommandLine
from tests.unit.insight_world import NOW, closed, step, tables
from tests.unit.insight_world import read as read_fact

DATA = Path(__file__).parents[3] / "shared" / "data"
EVIL = "</td><script>alert(1)</script>\"'&"
TAGS = {
    *("body", "h1", "h2", "p", "div", "b", "ul", "li", "span", "small", "figure", "figcaption"),
    *("svg", "line", "text", "polyline", "circle", "rect"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
BASELINE = """
default: {minutes_by_hand: 12}
hourly_cost_usd: 40
investment_usd: 1000
"""


def filled(name: str = "acme", n: int = 100) -> Tables:
    found = tables()
    found.feed(
        [
            read_fact(
                closed(
                    NOW - at,
                    tenant=name,
                    status="failed" if at % 4 == 0 else "completed",
                    ms=at,
                    confidence=0.5,
                    usage={"usd": "0.01"},
                    steps=(step(version=name[:200]),),
                ),
                at,
            )
            for at in range(n)
        ]
    )
    return found


def taken(found: Tables, *, baseline: str = "") -> Snapshot:
    told = standings(found, NOW, 900)
    episodes = Episodes()
    episodes.judge(measures(told, AlertLimits()), frozenset(), NOW, 900)
    numbers: dict[str, Any] | None = None
    if baseline:
        cells = {s.subject.name: s.month for s in told if s.subject.kind == "workflow"}
        numbers = business(cells, Baseline.model_validate_json(baseline), found.days(NOW))
    return snapshot(found, told, episodes.open.values(), namespace="cw", now=NOW, business=numbers)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CASEWORKS_DATA_DIR", str(tmp_path))
    return tmp_path


def test_a_snapshot_is_plain_json_with_the_numbers_of_each_subject(tmp_path: Path) -> None:
    path = path_of(tmp_path, "cw")
    write(path, taken(filled()))
    found = read(path)
    ticket = next(s for s in found["subjects"] if s["name"] == "ticket")
    assert ticket["hour"]["cases"] == 100
    assert ticket["hour"]["errors"] == 0.25
    assert ticket["hour"]["usd_per_case"] == "0.010000"
    assert found["positions"] == {"0": 100}
    assert [alert["rule"] for alert in found["alerts"]] == [
        "confidence",
        "errors",
        "confidence",
    ] or (sorted({alert["rule"] for alert in found["alerts"]}) == ["confidence", "errors"])
    assert list(tmp_path.rglob("*.tmp")) == []


def test_the_cells_of_a_snapshot_are_those_of_the_tables(tmp_path: Path) -> None:
    path = path_of(tmp_path, "cw")
    write(path, taken(filled()))
    cell = cells_of(read(path), "workflow")["ticket"]
    assert (cell.n, cell.status, cell.micro_usd) == (100, {"failed": 25, "completed": 75}, 10**6)


def test_the_snapshot_of_nothing_is_whole_too() -> None:
    found = taken(tables())
    assert found["subjects"] == []
    assert "No case has closed yet" in page(found)


@pytest.mark.parametrize("text", ["{", "[]", '{"v": 2}'])
def test_a_snapshot_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cw.json"
    path.write_text(text)
    with pytest.raises(SetupError) as caught:
        read(path)
    assert "caseworks insight" in (caught.value.hint or "")


def test_the_page_is_well_formed_and_asks_nobody(tmp_path: Path) -> None:
    stated = tmp_path / "baseline.yaml"
    stated.write_text(BASELINE)
    text = page(with_baseline(taken(filled()), stated))
    body = text.partition("<body>")[2].partition("</body>")[0]
    root = ET.fromstring(f"<body>{body}</body>")  # noqa: S314 - our own text
    assert len(list(root.iter("svg"))) >= 8
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    assert "Content-Security-Policy" in text


def test_text_from_outside_is_text_on_the_page() -> None:
    text = page(taken(filled(EVIL)))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.skipif(not DATA.exists(), reason="the collection of payloads is not here")
def test_hostile_payloads_stay_text() -> None:
    rows = (DATA / "bad_web_payloads.jsonl").read_text("utf-8").splitlines()
    payloads = [json.loads(row)["text"] for row in rows]
    assert len(payloads) > 200
    for payload in payloads:
        body = page(taken(filled(payload[:256], 2))).partition("<body>")[2].partition("</body>")[0]
        root = ET.fromstring(f"<body>{body}</body>")  # noqa: S314 - our own text
        assert {each.tag for each in root.iter()} <= TAGS


def test_a_plot_of_gaps_and_single_points_draws_what_there_is() -> None:
    svg = plot("a < b", ["1", "2", "3"], [Line("x", [None, 1.0, None], "one")])
    assert "circle" in svg
    assert "polyline" not in svg
    assert "a &lt; b" in svg
    assert "nothing yet" in plot("a", [], [Line("x", [None], "one")])


@pytest.mark.parametrize(
    ("value", "label"), [(13_065_228, "13.1M"), (20_000, "20k"), (999, "999"), (0.5, "0.5")]
)
def test_the_scale_of_a_plot_stays_short(value: float, label: str) -> None:
    assert f">{label}</text>" in plot("a", ["1"], [Line("x", [value], "one")])


def test_a_minute_without_cases_takes_its_place_on_the_axis() -> None:
    found = tables()
    found.feed([read_fact(closed(NOW - 600), 0), read_fact(closed(NOW), 1)])
    body = page(taken(found))
    cases = body.partition("Cases by minute")[2].partition("</figure>")[0]
    points = cases.partition('points="')[2].partition('"')[0].split()
    assert len(points) == 11


def test_bars_of_nothing_and_less_have_no_width() -> None:
    assert 'width="-' not in bars("money", [("a", -5.0), ("b", 0.0)])


def test_what_is_found_is_told_as_metrics_of_the_catalogue() -> None:
    telemetry, found = Prometheus(), filled()
    gauges = Gauges(telemetry)
    gauges.tell(standings(found, NOW, 900), Episodes(), None, 7)
    ratio = telemetry.value("caseworks_insight_ratio", kind="workflow", name="ticket", of="errors")
    assert ratio == 0.25
    assert telemetry.value("caseworks_insight_alerts", rule="errors") == 0
    assert telemetry.value("caseworks_insight_other_names") == 7


def test_a_gauge_whose_cases_are_long_ago_is_dropped() -> None:
    telemetry, found = Prometheus(), filled()
    gauges, who = Gauges(telemetry), {"kind": "workflow", "name": "ticket"}
    gauges.tell(standings(found, NOW, 900), Episodes(), None, 0)
    assert telemetry.value("caseworks_insight_confidence", **who) == 0.5
    gauges.tell(standings(found, NOW + 7200, 900), Episodes(), None, 0)
    assert telemetry.value("caseworks_insight_confidence", **who) is None
    assert telemetry.value("caseworks_insight_cases", **who) == 0


def test_insight_show_prints_a_row_for_each_subject(data_dir: Path) -> None:
    write(path_of(data_dir, "cw"), taken(filled()))
    ran = CommandLine()("insight", "show", "--window", "day")
    assert ran.code == 0
    assert "workflow ticket" in ran.out
    assert "alert errors workflow:ticket" in ran.out
    [found] = CommandLine()("insight", "show", "--json").lines
    assert found["v"] == 1


def test_insight_report_writes_a_page_against_a_baseline(data_dir: Path) -> None:
    write(path_of(data_dir, "cw"), taken(filled()))
    stated, to = data_dir / "baseline.yaml", data_dir / "page.html"
    stated.write_text(BASELINE)
    ran = CommandLine()("insight", "report", "--to", str(to), "--baseline", str(stated))
    assert (ran.code, ran.out) == (0, f"wrote {to}\n")
    assert "net present value" in to.read_text()
    [found] = CommandLine()("insight", "report", "--json", "--baseline", str(stated)).lines
    assert found["business"]["hours_saved"] == 15.0


def test_insight_show_without_a_snapshot_says_how_to_get_one(data_dir: Path) -> None:
    ran = CommandLine()("insight", "show")
    assert ran.code == 3
    assert "caseworks up --insight" in ran.err


def test_the_role_is_one_more_process_only_where_it_is_asked_for(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, bootstrap_servers="localhost:1")
    target = "tests.unit.shop_app:app"
    app = load_app(target)
    plain, counted = (
        [p.role for p in Stage(app, settings, Cast(target, insight=wanted))._programs()]
        for wanted in (False, True)
    )
    assert "insight" not in plain
    assert counted.count("insight") == 1
