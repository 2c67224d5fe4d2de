"""Who works: agents made from typed functions, and the workers that run them."""

from __future__ import annotations
