"""The trials, as a table."""

from __future__ import annotations

import time

from tests.chaos.audit import HiddenEndError
from tests.chaos.crew import LateError
from tests.chaos.isolation import isolation
from tests.chaos.letters import letters
from tests.chaos.outage import outage
from tests.chaos.steady import steady
from tests.chaos.trial import Ask, Showing, Trial
from tests.chaos.worker_kills import worker_kills

TRIALS: tuple[Trial, ...] = (
    Trial(
        "isolation",
        "one of four agents hangs, raises, leaks and dies: the others keep on",
        isolation,
    ),
    Trial("outage", "a dependency is away for a minute: one probe at a time", outage),
    Trial("letters", "10,000 dead letters are listed, and replayed though it is killed", letters),
    Trial("worker-kills", "16 kill -9 of eight workers over 100,000 tasks in order", worker_kills),
    Trial("steady", "2,000 tasks in flight in one process, a second each", steady),
)
GUARDS = ("bulkhead",)
"""What `--without` may leave out."""


def run_trial(trial: Trial, ask: Ask) -> Showing:
    """Run it; nothing is left behind, but for the folder that is kept."""
    showing, begun = Showing(trial.name, trial.about), time.monotonic()
    try:
        trial.run(ask, showing)
        showing.ended = True
    except (LateError, HiddenEndError) as error:
        showing.complaints.append(str(error))
    showing.duration_s = round(time.monotonic() - begun, 1)
    return showing
