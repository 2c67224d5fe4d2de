"""A bulkhead: at most so many calls to one dependency at once, and a short wait for a place."""

from __future__ import annotations

import asyncio

from events.errors import DependencyOpenError


class Bulkhead:
    """Used on one event loop. A full bulkhead defers work instead of piling it up."""

    def __init__(self, dependency: str, *, calls_max: int = 32, wait_s_max: float = 1.0) -> None:
        self.dependency = dependency
        self.wait_s_max = wait_s_max
        self._places = asyncio.Semaphore(calls_max)

    async def enter(self) -> None:
        """Take a place. Raises `DependencyOpenError` when none came free in time."""
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self.wait_s_max):
                await self._places.acquire()
        except TimeoutError:
            raise DependencyOpenError(
                f"{self.dependency!r} is busy: no place came free in {self.wait_s_max} s",
                retry_after_s=max(self.wait_s_max, 1.0),
            ) from None

    def leave(self) -> None:
        """Give the place back."""
        self._places.release()
