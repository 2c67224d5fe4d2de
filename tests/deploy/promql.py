"""What an expression of PromQL names, read without a parser: enough for ours."""

from __future__ import annotations

import re

from events.metrics import CATALOGUE

OF_TARGETS = {"job", "instance"}
# From Prometheus itself and from its client library, not from our catalogue.
BORROWED = {"up": OF_TARGETS, "process_start_time_seconds": OF_TARGETS}
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")
FUNCTIONS = {"sum", "max", "count", "by", "on", "or", "and", "unless", "offset", "time"} | {
    "increase",
    "rate",
    "changes",
    "max_over_time",
    "histogram_quantile",
}


def labels_of() -> dict[str, set[str]]:
    """Every sample that we may ask for, with its labels."""
    known = dict(BORROWED)
    for metric in CATALOGUE.values():
        labels = {*metric.labels, *OF_TARGETS}
        if metric.kind == "histogram":
            for suffix in OF_HISTOGRAMS:
                known[metric.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
        else:
            known[metric.name] = labels
    return known


def metrics_in(expression: str) -> set[str]:
    """Every name of an expression that is neither a label, a value, a duration nor a function."""
    bare = re.sub(r"\{.*?\}|\b(?:by|on) \(.*?\)|\[\w+\]|\boffset \w+", "", expression)
    return set(re.findall(r"[a-z_][a-z0-9_:]*", bare)) - FUNCTIONS


def labels_in(expression: str) -> set[str]:
    """Every label that it matches or groups by."""
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = re.findall(r"\b(?:by|on) \((.*?)\)", expression)
    return {*matched, *(label.strip() for group in grouped for label in group.split(","))}
