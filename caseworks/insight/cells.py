"""What a table keeps for one key and window: sums and buckets that add up in any order. Pure.

Cells of windows, and of partitions, merge into cells of longer times by `merged`. Money is whole
micro-dollars and confidences whole millionths, so that sums are exact however they are grouped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import ceil, log

import msgspec

from schemas.fact import CaseFact, DecisionFact, FeedbackFact, StepFact

MICRO = 1_000_000
GAMMA = 1.1
"""Width of the buckets of time: a quantile read from them is off by less than 5 % (DDSketch: Masson
et al., VLDB 2019, equation 3 with alpha = (GAMMA - 1) / (GAMMA + 1))."""
BINS = 20
"""Of confidence, of equal width: fixed, so that any two cells can be compared."""
_LOG_GAMMA = log(GAMMA)


class Cell(msgspec.Struct, omit_defaults=True):
    """One key in one window.

    `position` is the offset of the last fact that was counted, of the one partition of `facts`
    whose facts come here (the key names it): what is at or below it was counted before.
    """

    position: int = -1
    n: int = 0
    """Closed cases, or, for an agent, steps; an amendment is none."""
    status: dict[str, int] = {}
    degraded: int = 0
    amended: int = 0
    attempts: int = 0
    micro_usd: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    ms: dict[int, int] = {}
    """Milliseconds by bucket: bucket b holds those above GAMMA^(b-1), up to GAMMA^b."""
    ms_sum: int = 0
    confidence: dict[int, int] = {}
    """By bin; the sum is in millionths."""
    confidence_sum: int = 0
    guarded: int = 0
    """Those in which a guard hit."""
    guards: int = 0
    """Hits."""
    decisions: int = 0
    """Questions that a person answered."""
    overridden: int = 0
    undecided: int = 0
    """Questions that nobody answered in time."""
    ratings: int = 0
    rating_sum: int = 0
    corrected: int = 0
    skewed: int = 0
    """Facts from the future: counted at the time that they were recorded."""

    # --- adding facts

    def add(self, fact: CaseFact | DecisionFact | FeedbackFact) -> None:
        """Count a fact."""
        match fact:
            case CaseFact():
                self._closed(fact)
            case DecisionFact():
                self._decided(fact)
            case FeedbackFact():
                self.ratings += fact.rating is not None
                self.rating_sum += fact.rating or 0
                self.corrected += fact.corrected

    def add_step(self, step: StepFact) -> None:
        """Count what an agent did in one step."""
        self.n += 1
        _up(self.status, step.status)
        self.degraded += step.degraded
        self.attempts += step.attempts
        self.micro_usd += micro(step.usd)
        self._took(step.ms)
        self._sure(step.confidence)
        self._guarded(step.guards)

    def _closed(self, fact: CaseFact) -> None:
        if fact.amends is not None:  # its case was counted, with what it cost
            self.amended += 1
            return
        self.n += 1
        _up(self.status, fact.status)
        self.degraded += fact.degraded
        self.attempts += sum(step.attempts for step in fact.steps)
        self.micro_usd += micro(fact.usage.usd)
        self.tokens_in += fact.usage.tokens_in
        self.tokens_out += fact.usage.tokens_out
        self.calls += fact.usage.calls
        self._took(fact.ms)
        self._sure(fact.confidence)
        self._guarded(fact.guards, *(step.guards for step in fact.steps))

    def _decided(self, fact: DecisionFact) -> None:
        if fact.ending in ("approve", "reject", "correct"):
            self.decisions += 1
            self.overridden += fact.overridden
        elif fact.ending == "expired":
            self.undecided += 1

    def _took(self, ms: int) -> None:
        _up(self.ms, bucket_of(ms))
        self.ms_sum += ms

    def _sure(self, confidence: float | None) -> None:
        if confidence is not None:
            _up(self.confidence, min(int(confidence * BINS), BINS - 1))
            self.confidence_sum += round(confidence * MICRO)

    def _guarded(self, *guards: Mapping[str, int]) -> None:
        hits = sum(count for each in guards for count in each.values())
        self.guards += hits
        self.guarded += hits > 0

    # --- reading

    def share(self, *statuses: str) -> float | None:
        """The part of all that ended in one of these; `None`: there are none."""
        return _ratio(sum(self.status.get(each, 0) for each in statuses), self.n)

    @property
    def success(self) -> float | None:
        """The part that has a good answer, degraded ones included."""
        return self.share("completed", "degraded", "done")

    @property
    def errors(self) -> float | None:
        """The part that failed or ran out of time."""
        return self.share("failed", "expired", "parked")

    @property
    def mean_confidence(self) -> float | None:
        """Of those that have one."""
        return _ratio(self.confidence_sum / MICRO, sum(self.confidence.values()))

    @property
    def override_rate(self) -> float | None:
        """Of the questions that people answered, those that they decided otherwise."""
        return _ratio(self.overridden, self.decisions)

    @property
    def usd(self) -> Decimal:
        """What it cost."""
        return Decimal(self.micro_usd) / MICRO

    def quantile(self, q: float) -> float | None:
        """Milliseconds that the part *q* did not exceed, off by less than 5 %."""
        total = sum(self.ms.values())
        if not total:
            return None
        rank, seen = max(1, ceil(q * total)), 0
        for bucket in sorted(self.ms):
            seen += self.ms[bucket]
            if seen >= rank:
                return middle_of(bucket)
        raise AssertionError("a rank beyond all")


def merged(cells: Iterable[Cell]) -> Cell:
    """The cell of all of them together; its position means nothing unless they share a key."""
    total = Cell()
    for cell in cells:
        for name in _NUMBERS:
            setattr(total, name, getattr(total, name) + getattr(cell, name))
        for name in _COUNTS:
            into = getattr(total, name)
            for key, count in getattr(cell, name).items():
                _up(into, key, count)
        total.position = max(total.position, cell.position)
    return total


_COUNTS = ("status", "ms", "confidence")
_NUMBERS = tuple(
    name for name in Cell.__struct_fields__ if name not in _COUNTS and name != "position"
)
_decoder = msgspec.json.Decoder(Cell)
_encoder = msgspec.json.Encoder()


def encode(cell: Cell) -> bytes:
    """A cell as JSON, without what is zero."""
    return _encoder.encode(cell)


def decode(value: bytes) -> Cell:
    """Raises `msgspec.DecodeError`."""
    return _decoder.decode(value)


def micro(usd: Decimal) -> int:
    """Dollars in whole millionths."""
    return int((usd * MICRO).to_integral_value())


def bucket_of(ms: int) -> int:
    """The bucket of a time."""
    return ceil(log(ms) / _LOG_GAMMA) if ms > 1 else 0


def middle_of(bucket: int) -> float:
    """The value of a bucket that is nearest to all in it, relatively."""
    return 2 * GAMMA**bucket / (GAMMA + 1) if bucket > 0 else float(bucket == 0)


def _up(counts: dict[str, int] | dict[int, int], key: str | int, by: int = 1) -> None:
    counts[key] = counts.get(key, 0) + by  # type: ignore[index,arg-type]


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
