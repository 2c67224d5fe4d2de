"""Insight: what the results say over time: rates, drift, alerts and what it all saves."""

from __future__ import annotations
