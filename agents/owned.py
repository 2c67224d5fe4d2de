"""One partition that a worker owns, and what is told of it beside its committed offset. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from events.ledger import Ledger
from events.progress import Again, Progress

MARGIN_MIN = 4
MARGIN_MAX = 4096
"""How much may be started between two commits; more takes a commit in between."""


@dataclass(slots=True)
class Owned:
    """One partition in one epoch of its assignment."""

    epoch: int
    ledger: Ledger = field(default_factory=Ledger)
    running: int = 0
    too_far: bool = False
    past: Progress | None = None
    """What the former owner left behind, until it is passed."""
    opened: bool = False
    """Whether something was delivered."""
    top: int = 0
    """The position behind the highest offset that was started."""
    reach: int = -1
    """Nothing from here on starts before a commit has raised it."""
    margin: int = MARGIN_MIN
    """How far that is above the top."""
    told_top: int = 0
    told_finished: int = 0
    told: tuple[int, str] | None = None
    """As it was committed last."""

    def aim(self) -> int:
        """What the margin should be now: twice what was started since, and falling slowly."""
        since = self.told_top if self.told is not None else self.ledger.watermark or 0
        grown = 2 * (self.top - since)
        return min(max(MARGIN_MIN, grown, self.margin // 2), MARGIN_MAX)

    @property
    def stirred(self) -> bool:
        """Whether there is something to commit."""
        idle = self.margin > MARGIN_MIN and self.ledger.unfinished == 0 and self.told is not None
        return idle or self.ledger.finished != self.told_finished

    @property
    def suspects_unread(self) -> int:
        """How many more at the most may have been started by a former owner."""
        past = self.past
        return 0 if past is None else max(past.reach - (self.ledger.end or past.offset), 0)

    def progress(self, again: dict[int, Again], *, orderly: bool) -> Progress:
        """What to write; after an orderly end nothing that was started is suspected."""
        ledger, past = self.ledger, self.past
        offset, gaps = ledger.watermark or 0, ledger.gaps()
        started = self.top + self.aim() if self.top and not orderly else 0
        end, seen = max(ledger.done, offset), ledger.end or 0
        return Progress(
            offset,
            end,
            gaps,
            max(started, past.reach if past is not None else 0),
            again,
            ledger.head_ms if gaps else 0,
            seen if seen > end and not orderly else 0,
        )

    def committed(self, progress: Progress, text: str, finished: int) -> None:
        """It was written."""
        self.told, self.told_finished = (progress.offset, text), finished
        self.margin, self.reach = self.aim(), progress.reach
        self.told_top = self.top
