"""How it travels: envelope, topics, broker ports and their adapters, loops and their drivers."""

from __future__ import annotations
