"""Many seeds, on one core or on several."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from caseworks.check.runs import Check, Finding
from caseworks.check.samples import events_for
from caseworks.loading import load_app

GC_THRESHOLD = (20_000, 20, 20)
"""What a run makes lives as long as the run: to look through it every 700 objects is a seventh of
the time. Much rarer, and the memory of dead runs is no longer in the processor's caches."""
CHUNK = 10
"""Seeds that a process plays before it answers."""

Answer = tuple[int, tuple[Finding, ...]]
"""How many runs were played, and what they found."""

_checks: list[Check] = []
"""Of a process of the pool: made once."""


def check_of(target: str, file: Path | None, profile: str) -> Check:
    """The check of an app. Raises `DeclarationError` and `SettingsError`."""
    app = load_app(target)
    _ = app.plans
    return Check(app, events_for(app, target, file), profile)


def play(check: Check, seeds: Sequence[int]) -> Iterator[Answer]:
    """One after the other, here."""
    with collecting_seldom():
        for seed in seeds:
            finding = check.run(seed)
            yield 1, () if finding is None else (finding,)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the garbage collector leave alone what is loaded, and look seldom at the rest."""
    before = gc.get_threshold()
    _collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _collect_seldom() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


def play_on(
    jobs: int, target: str, file: Path | None, profile: str, seeds: Sequence[int]
) -> Iterator[Answer]:
    """In *jobs* processes of their own; answers come in any order."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(
        jobs,
        mp_context=get_context("spawn"),
        initializer=_prepare,
        initargs=(target, file, profile),
    ) as pool:
        played = [pool.submit(_chunk, chunk) for chunk in chunks]
        try:
            for done in as_completed(played):
                yield done.result()
        finally:
            for each in played:
                each.cancel()


def _prepare(target: str, file: Path | None, profile: str) -> None:
    logging.disable(logging.CRITICAL)
    _checks.append(check_of(target, file, profile))
    _collect_seldom()


def _chunk(seeds: Sequence[int]) -> Answer:
    found = (_checks[0].run(seed) for seed in seeds)
    return len(seeds), tuple(finding for finding in found if finding is not None)
