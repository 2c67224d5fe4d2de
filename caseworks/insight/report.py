"""One page of HTML from a snapshot: no script, no outside request, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from caseworks.insight.business import business, load_baseline
from caseworks.insight.charts import Line, bars, plot
from caseworks.insight.snapshot import Snapshot, cells_of
from caseworks.insight.windows import KINDS, TABLES, WindowTable

NONE = "-"
ROWS_MAX = 60
"""Rows of the table of subjects; the busiest come first within a kind."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --one: #2563a8; --two: #b45309; --three: #9d2b57 }
@media (prefers-color-scheme: dark) { :root { --one: #7cb0f0; --two: #f0a860; --three: #f090b8 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
td, th { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: right }
td:first-child, th:first-child { text-align: left; overflow-wrap: anywhere }
.cards { display: flex; flex-wrap: wrap; gap: 1rem }
.cards div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem }
.cards b { display: block; font-size: 1.4rem }
figure { margin: 1rem 0; overflow-x: auto } svg { width: 100%; max-width: 640px }
svg text { font-size: 11px; fill: currentColor } .grid { stroke: var(--line) }
polyline { fill: none; stroke-width: 2 }
polyline.one { stroke: var(--one) } polyline.two { stroke: var(--two) }
polyline.three { stroke: var(--three) }
rect.one, circle.one { fill: var(--one) } circle.two { fill: var(--two) }
circle.three { fill: var(--three) }
span.one { color: var(--one) } span.two { color: var(--two) } span.three { color: var(--three) }
.bad { color: var(--three); font-weight: bold } .none { opacity: .7 }
"""


def with_baseline(found: Snapshot, path: Path) -> Snapshot:
    """The snapshot with what it saves against another baseline. Raises `SetupError`."""
    baseline = load_baseline(path)
    cells = cells_of(found, "workflow")
    return {**found, "business": business(cells, baseline, found["days"])}


def page(found: Snapshot) -> str:
    """The report."""
    title = f"Caseworks: {found['namespace']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>As of {escape(found['at'])}, over the last 35 days at most.</p>",
        _cards(found),
        _alerts(found["alerts"]),
        _business(found["business"]),
        _plots(found["series"]),
        _table(found["subjects"]),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _cards(found: Snapshot) -> str:
    everything = next((s["month"] for s in found["subjects"] if s["kind"] == "all"), None)
    if everything is None:
        return "<p>No case has closed yet.</p>"
    cards = [
        (f"{everything['cases']:,}", "cases"),
        (_percent(everything["success"]), "with a good answer"),
        (_percent(everything["escalated"]), "escalated"),
        (_percent(everything["overridden"]), "of decisions overridden"),
        (_ms(everything["p50_ms"]), "median"),
        (_ms(everything["p99_ms"]), "99th percentile"),
        (f"{everything['usd_per_case'] or '0'} USD", "a case"),
        (NONE if everything["rating"] is None else f"{everything['rating']:.1f} of 5", "rating"),
    ]
    return _card_row(cards)


def _card_row(cards: Sequence[tuple[str, str]]) -> str:
    return (
        '<div class="cards">'
        + "".join(f"<div><b>{escape(value)}</b>{escape(name)}</div>" for value, name in cards)
        + "</div>"
    )


def _alerts(alerts: Sequence[dict[str, Any]]) -> str:
    if not alerts:
        return "<h2>Alerts</h2><p>Nothing is out of bounds.</p>"
    rows = "".join(
        f'<li><span class="bad">{escape(a["rule"])}</span> {escape(a["scope"])}: '
        f"{escape(a['says'])} (since {escape(a['since'])})</li>"
        for a in alerts
    )
    return f"<h2>Alerts</h2><ul>{rows}</ul>"


def _business(numbers: dict[str, Any] | None) -> str:
    if numbers is None:
        return "<h2>What it saves</h2><p>No baseline was stated.</p>"
    cards = [
        (f"{numbers['hours_saved']:,.1f} h", f"saved in {numbers['days']:.1f} days"),
        (_usd(numbers["net_benefit_usd"]), "net benefit"),
        (_usd(numbers["net_present_value_usd"]), "net present value"),
        (_or_never(numbers["payback_months"], " months"), "payback"),
        (_or_never(numbers["break_even_month"], ". month"), "break-even, discounted"),
        (_or_never(numbers["break_even_cases_per_month"], ""), "cases a month to break even"),
    ]
    costs = numbers["costs"]
    money = [
        ("labour saved", numbers["labour_usd"]),
        ("revenue attributed", numbers["revenue_usd"]),
        ("cost: model", costs["model_usd"]),
        ("cost: infrastructure", costs["infrastructure_usd"]),
        ("cost: people", costs["people_usd"]),
    ]
    sums = numbers["cumulated_usd"]
    marks = [f"month {at}" for at in range(len(sums))]
    return (
        f"<h2>What it saves</h2>{_card_row(cards)}"
        f"{bars('Money of these days', money, ' USD')}"
        f"{plot('Discounted sum over the horizon, USD', marks, [Line('sum', sums, 'one')])}"
        f"<p>Against the stated baseline: {escape(_stated(numbers['baseline']))}.</p>"
    )


def _stated(baseline: dict[str, Any]) -> str:
    default, hourly = baseline["default"], baseline["hourly_cost_usd"]
    return (
        f"{default['minutes_by_hand']:g} minutes by hand for a case at {hourly:g} USD an hour, "
        f"{baseline['review_minutes']:g} minutes for a decision, "
        f"{baseline['investment_usd']:,.0f} USD invested, {baseline['discount_rate']:.1%} a year, "
        f"{baseline['horizon_months']} months"
        + "".join(
            f"; {name}: {work['minutes_by_hand']:g} minutes"
            for name, work in sorted(baseline["workflows"].items())
        )
    )


def _plots(series: dict[str, Any]) -> str:
    drawn = []
    titles = ("Last two hours", "Last 72 hours", "Days")
    for table, title in zip(TABLES, titles, strict=True):
        name = table.name
        points = _without_gaps(series[name], table)
        marks = [_moment(each["start"], name) for each in points]
        shares = [
            Line("good", [each["success"] for each in points], "one"),
            Line("escalated", [each["escalated"] for each in points], "two"),
            Line("errors", [each["errors"] for each in points], "three"),
        ]
        cases = [Line("cases", [each["cases"] for each in points], "one")]
        times = [
            Line("median", [each["p50_ms"] for each in points], "one"),
            Line("99th percentile", [each["p99_ms"] for each in points], "two"),
        ]
        drawn += [
            f"<h2>{title}</h2>",
            plot(f"Cases by {name}", marks, cases),
            plot("Shares", marks, shares),
            plot("Milliseconds", marks, times),
        ]
    return "".join(drawn)


def _without_gaps(series: Sequence[dict[str, Any]], table: WindowTable) -> list[dict[str, Any]]:
    """Windows in which nothing closed too, so that the axis is time."""
    if not series:
        return []
    known = {each["start"]: each for each in series}
    first = max(series[0]["start"], series[-1]["start"] - table.keep_s)
    nothing = {**dict.fromkeys(series[0]), "cases": 0}
    return [
        known.get(start, {**nothing, "start": start})
        for start in range(first, series[-1]["start"] + 1, table.size_s)
    ]


def _table(subjects: Sequence[dict[str, Any]]) -> str:
    busiest = sorted(
        subjects, key=lambda each: (KINDS.index(each["kind"]), -each["month"]["cases"])
    )
    rows = "".join(_row(each) for each in busiest[:ROWS_MAX])
    heads = "".join(
        f"<th>{escape(name)}</th>"
        for name in (
            "",
            "cases",
            "good",
            "errors",
            "escalated",
            "overridden",
            "sure",
            "p99",
            "USD each",
            "drift",
        )
    )
    return f"<h2>Who</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row(subject: dict[str, Any]) -> str:
    rates, drift = subject["month"], subject["drift"]
    cells = (
        f"{subject['kind']} {subject['name']}".strip(),
        f"{rates['cases']:,}",
        _percent(rates["success"]),
        _percent(rates["errors"]),
        _percent(rates["escalated"]),
        _percent(rates["overridden"]),
        NONE if rates["confidence"] is None else f"{rates['confidence']:.2f}",
        _ms(rates["p99_ms"]),
        rates["usd_per_case"] or NONE,
        NONE if drift is None else f"{drift['psi']:.2f}",
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _moment(start: int, table: str) -> str:
    at = datetime.fromtimestamp(start, UTC)
    return f"{at:%Y-%m-%d}" if table == "day" else f"{at:%m-%d %H:%M}Z"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f} ms"


def _usd(value: float | None) -> str:
    return NONE if value is None else f"{value:,.2f} USD"


def _or_never(value: float | None, unit: str) -> str:
    return "never" if value is None else f"{value:,.4g}{unit}"
