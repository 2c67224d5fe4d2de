"""What we measure and how: ratios taken side by side in one run."""

from __future__ import annotations
