"""Bounds: breaker and bulkhead per dependency, budget, iterations."""

from __future__ import annotations
