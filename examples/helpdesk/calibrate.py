"""Measure floor, curve and threshold of the triage by leave-one-out on the labelled examples.

Each example is triaged by all the others. No published ticket takes part, so what the demo shows
is a measurement, not a fit. `prepare.py` writes the outcome to `data/calibration.json`, and a test
measures it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from examples.helpdesk.search import words
from examples.helpdesk.triage import Calibration, Examples, vote

# One point above the 95 % that is promised: on other tickets a threshold does a little worse.
TARGET = 0.96
# Of the examples that were recognised, the share that the floor may cost.
FLOOR_QUANTILE = 0.02
_NEWTON_STEPS = 20


class Trial(NamedTuple):
    """One example, triaged by the others."""

    best: float
    evidence: float
    right: bool


def calibrate(examples: Examples) -> Calibration:
    """All that the triage needs to know of itself."""
    trials = leave_one_out(examples)
    floor = lower_quantile([trial.best for trial in trials if trial.right], FLOOR_QUANTILE)
    slope, intercept = logistic([trial for trial in trials if trial.best >= floor])
    draft = Calibration(
        floor=round(floor, 2),
        slope=round(slope, 3),
        intercept=round(intercept, 3),
        threshold=1.0,
        target=TARGET,
        examples=len(trials),
        answered=0,
        right=0,
    )
    graded = [
        (draft.confidence(trial.evidence) if trial.best >= draft.floor else 0.0, trial.right)
        for trial in trials
    ]
    threshold = lowest_threshold(graded, TARGET)
    answered = [right for confidence, right in graded if confidence >= threshold]
    return draft.model_copy(
        update={"threshold": threshold, "answered": len(answered), "right": sum(answered)}
    )


def leave_one_out(examples: Examples) -> list[Trial]:
    """Every example's trial, in order."""
    return [_trial(examples, position) for position in range(len(examples.rows))]


def _trial(examples: Examples, position: int) -> Trial:
    example = examples.rows[position]
    neighbours = examples.nearest(example.text, leave_out=position)
    if not neighbours:
        return Trial(0.0, 0.0, right=False)
    first = vote(neighbours)[0]
    # A word that stands in this example alone would be unknown to the others.
    known = examples.index.known(words(example.text), besides=1)
    return Trial(neighbours[0].score, first.share * known, first.intent == example.intent)


def lower_quantile(values: Sequence[float], share: float) -> float:
    """The value that *share* of the values lie below."""
    return sorted(values)[int(share * len(values))]


def logistic(trials: Sequence[Trial]) -> tuple[float, float]:
    """Slope and intercept of P(right) over the log odds of the evidence, by Newton's method.

    This is Platt's scaling (1999) with two parameters and no regularisation: there are hundreds
    of trials a parameter.
    """
    points = [(_log_odds(trial.evidence), float(trial.right)) for trial in trials]
    slope = intercept = 0.0
    for _ in range(_NEWTON_STEPS):
        g0 = g1 = h00 = h01 = h11 = 0.0
        for x, right in points:
            p = 1 / (1 + math.exp(-(slope * x + intercept)))
            miss, weight = right - p, p * (1 - p)
            g0, g1 = g0 + miss, g1 + miss * x
            h00, h01, h11 = h00 + weight, h01 + weight * x, h11 + weight * x * x
        determinant = h00 * h11 - h01 * h01
        intercept += (h11 * g0 - h01 * g1) / determinant
        slope += (h00 * g1 - h01 * g0) / determinant
    return slope, intercept


def _log_odds(evidence: float) -> float:
    bounded = min(max(evidence, 0.001), 0.999)
    return math.log(bounded / (1 - bounded))


def lowest_threshold(graded: Sequence[tuple[float, bool]], target: float) -> float:
    """The lowest confidence from which on at least *target* are right; above 1 if there is none."""
    ranked = sorted(graded, reverse=True)
    right, threshold = 0, 1.01
    for rank, (confidence, is_right) in enumerate(ranked, 1):
        right += is_right
        last_of_its_kind = rank == len(ranked) or ranked[rank][0] < confidence
        if last_of_its_kind and right >= target * rank:
            threshold = confidence
    return threshold
