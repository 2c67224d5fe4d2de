"""Playing many runs leaves the interpreter as it was."""

from __future__ import annotations

import gc

from caseworks.check.pool import GC_THRESHOLD, collecting_seldom


def test_the_garbage_collector_is_as_before_when_runs_have_been_played() -> None:
    gc.unfreeze()  # other tests ran processes' start-up, which freezes
    before = gc.get_threshold()

    with collecting_seldom():
        meanwhile = gc.get_threshold(), gc.get_freeze_count()

    assert meanwhile[0] == GC_THRESHOLD != before
    assert meanwhile[1] > 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
