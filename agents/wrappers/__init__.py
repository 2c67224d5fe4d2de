"""Everything cross-cutting around an agent's function, one small file each; see `agents.stack`."""

from __future__ import annotations
