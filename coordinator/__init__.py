"""Who decides: workflows, the case machine, and the transactional loops that run it."""

from __future__ import annotations
