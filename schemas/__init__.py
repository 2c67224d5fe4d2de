"""What travels: every message of Caseworks as a frozen pydantic model, one file per family."""

from __future__ import annotations
