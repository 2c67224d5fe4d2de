"""Writes deploy/METRICS.md, the page of all metrics, from the catalogue in events/metrics.py.

`python -m tools.metrics_page`; a test compares the page with the catalogue.
"""

from __future__ import annotations

from pathlib import Path

from events.metrics import CATALOGUE

PAGE = Path(__file__).parent.parent / "deploy" / "METRICS.md"
HEAD = """\
# Metrics

Every process tells these at `/metrics`. Made by `python -m tools.metrics_page` from
`events/metrics.py`; not for editing. Histograms have `_bucket`, `_sum` and `_count`. Where several
processes speak of one thing (lag, breakers), the largest value holds.

| metric | kind | labels | says |
|---|---|---|---|
"""


def page() -> str:
    """The page as it must be."""
    rows = (
        f"| `{each.name}` | {each.kind} | {' '.join(f'`{name}`' for name in each.labels)}"
        f" | {each.says} |\n"
        for each in CATALOGUE.values()
    )
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
