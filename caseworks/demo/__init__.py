"""The demo: real events through a real system, then kill -9, and a count that trusts nobody."""

from __future__ import annotations
