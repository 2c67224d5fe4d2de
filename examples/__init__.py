"""Applications made with Caseworks, written as a user writes them."""

from __future__ import annotations
