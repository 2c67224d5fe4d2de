"""The last good outputs of a step, by what it had read: the link `cache` of a chain. Pure.

A step's outputs lie on `SHELVES` shelves, chosen by the digest of what the step read, so that no
record grows with their number. The digest is taken over workflow and version, step, the agent's
version, tenant, data and results: no output crosses from one tenant to another, and a deployment
that changes the workflow begins with empty shelves. Everything on a shelf is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic_core import to_json

from schemas.approval import action_hash_of
from schemas.case import KeptOutput, Shelf

SHELVES = 256
"""Of one step."""


@dataclass(frozen=True, slots=True)
class ShelfLimits:
    """The bounds of one step's cache, over all its shelves."""

    keep_s: float = 86_400.0
    """Older outputs are not given any more."""
    entries_max: int = 2_048
    bytes_max: int = 16 * 1024 * 1024
    """As JSON; an output larger than a shelf's part of it is not kept."""


DEFAULT_LIMITS = ShelfLimits()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an output lies."""

    shelf_id: str
    digest: str


def place_of(*what: Any) -> Place:
    """The place of what a step read; the first two name the workflow and the step."""
    digest = action_hash_of(what)
    workflow, step, *_ = what
    shelf = uuid5(NAMESPACE_URL, f"shelf\n{workflow}\n{step}\n{int(digest[:8], 16) % SHELVES}")
    return Place(str(shelf), digest)


def retain(
    shelf: Shelf | None, digest: str, kept: KeptOutput, limits: ShelfLimits
) -> tuple[Shelf | None, bool]:
    """The shelf with this output instead of an older one, and whether there was room for it."""
    size, room = len(to_json(kept.output)), max(1, limits.bytes_max // SHELVES)
    left = dict(shelf.outputs) if shelf is not None else {}
    left.pop(digest, None)
    left = {key: old for key, old in left.items() if old.at + limits.keep_s > kept.at}
    if size <= room:
        left[digest] = kept.evolve(bytes=size)
    while len(left) > max(1, limits.entries_max // SHELVES) or _bytes(left) > room:
        del left[next(iter(left))]
    return (Shelf(outputs=left) if left else None), size <= room


def recall(shelf: Shelf | None, digest: str, now: float, limits: ShelfLimits) -> KeptOutput | None:
    """The last good output for this input, if it is not too old."""
    found = shelf.outputs.get(digest) if shelf is not None else None
    return found if found is not None and found.at + limits.keep_s > now else None


def tick(shelf: Shelf, now: float, limits: ShelfLimits) -> Shelf | None:
    """Without what is too old; the very same object when nothing is."""
    left = {key: kept for key, kept in shelf.outputs.items() if kept.at + limits.keep_s > now}
    if len(left) == len(shelf.outputs):
        return shelf
    return Shelf(outputs=left) if left else None


def next_due(shelf: Shelf, limits: ShelfLimits) -> float:
    """When the first output is too old, in seconds since the epoch."""
    return min((kept.at for kept in shelf.outputs.values()), default=0.0) + limits.keep_s


def _bytes(outputs: dict[str, KeptOutput]) -> int:
    return sum(kept.bytes for kept in outputs.values())
