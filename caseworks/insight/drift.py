"""Whether two sets of confidences come from the same distribution. Pure, over fixed bins.

Two measures, and both must agree: a test that says whether the difference is more than chance, and
a distance that says whether it matters (with many samples everything is more than chance).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt

from caseworks.insight.cells import BINS

P_MAX = 0.001
"""Chance that equal distributions look so different: above it nothing is said."""
PSI_MIN = 0.2
"""The distance from which a shift counts as large by convention (Siddiqi, Credit Risk Scorecards,
2006); below 0.1 it is small."""
FLOOR = 0.5
"""Samples that an empty bin is taken to have, so that the logarithm is finite."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How a recent sample differs from the baseline."""

    ks: float
    """Largest distance of the two cumulative distributions, 0 to 1."""
    p: float
    """Chance of such a distance between samples of one distribution."""
    psi: float
    """Population stability index."""
    recent: int
    baseline: int

    @property
    def drifted(self) -> bool:
        """Whether the two differ by more than chance, and by enough to matter."""
        return self.p < P_MAX and self.psi >= PSI_MIN


def drift(recent: Mapping[int, int], baseline: Mapping[int, int], samples_min: int) -> Drift | None:
    """Compare two histograms of confidence; `None`: too few samples in one of them.

    The two-sample Kolmogorov-Smirnov test with the asymptotic distribution in Stephens' form (Press
    et al., Numerical Recipes, 14.3). On bins the distance is at most that of the raw values, so the
    test errs towards silence.
    """
    n, m = sum(recent.values()), sum(baseline.values())
    if n < samples_min or m < samples_min:
        return None
    distance = ks_distance(recent, baseline)
    root = sqrt(n * m / (n + m))
    return Drift(
        ks=distance,
        p=kolmogorov((root + 0.12 + 0.11 / root) * distance),
        psi=psi(recent, baseline),
        recent=n,
        baseline=m,
    )


def ks_distance(one: Mapping[int, int], other: Mapping[int, int]) -> float:
    """The largest distance of the cumulative distributions at the edges of the bins."""
    n, m = sum(one.values()), sum(other.values())
    seen_one = seen_other = 0
    distance = 0.0
    for edge in range(BINS):
        seen_one += one.get(edge, 0)
        seen_other += other.get(edge, 0)
        distance = max(distance, abs(seen_one / n - seen_other / m))
    return distance


def kolmogorov(value: float) -> float:
    """The chance that the Kolmogorov distribution exceeds *value*."""
    if value < 0.2:
        return 1.0  # the series converges too slowly there, and differs from 1 by less than 1e-12
    terms = ((2 if k % 2 else -2) * exp(-2 * (k * value) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms)))


def psi(recent: Mapping[int, int], baseline: Mapping[int, int]) -> float:
    """The population stability index: the sum over bins of (p - q) ln(p / q)."""
    n = sum(max(recent.get(each, 0), FLOOR) for each in range(BINS))
    m = sum(max(baseline.get(each, 0), FLOOR) for each in range(BINS))
    total = 0.0
    for each in range(BINS):
        p, q = max(recent.get(each, 0), FLOOR) / n, max(baseline.get(each, 0), FLOOR) / m
        total += (p - q) * log(p / q)
    return total
