"""The checker: an app in the simulator, many runs, and what must hold after each of them.

`evidence` is what a run leaves behind, `invariants` the rules over it, `runs` plays seeds and makes
a failing one short, `story` tells it in words. `trouble` and `clients` are what a run suffers.
"""

from __future__ import annotations
