"""Closed cases, remembered for the dedupe window: 16 bytes each, in hourly buckets."""

from __future__ import annotations

from uuid import UUID

HOUR_S = 3600


def digest_of(case_id: str) -> bytes:
    """The 16 bytes of a case id. Raises `ValueError` when it is not a UUID."""
    return UUID(case_id).bytes


class ClosedCases:
    """A set of case ids that forgets by the hour. Not thread-safe."""

    def __init__(self) -> None:
        self._hours: dict[int, set[bytes]] = {}

    def add(self, case_id: str, closed: float) -> None:
        """Remember a case closed at this time (seconds since the epoch)."""
        self._hours.setdefault(int(closed // HOUR_S), set()).add(digest_of(case_id))

    def discard(self, case_id: str) -> None:
        """Forget one case (it was opened again)."""
        digest = digest_of(case_id)
        for bucket in self._hours.values():
            bucket.discard(digest)

    def __contains__(self, case_id: object) -> bool:
        """Whether a case was closed within the window."""
        try:
            digest = digest_of(str(case_id))
        except ValueError:
            return False
        return any(digest in bucket for bucket in self._hours.values())

    def expired(self, now: float, window_s: float, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` entries older than the window; they stay until `forget`."""
        found: list[tuple[int, bytes]] = []
        for hour in sorted(self._hours):
            if (hour + 1) * HOUR_S + window_s > now or len(found) >= limit:
                break
            found += [(hour, digest) for digest in sorted(self._hours[hour])][: limit - len(found)]
        return found

    def forget(self, entries: list[tuple[int, bytes]]) -> None:
        """Drop entries that `expired` named."""
        for hour, digest in entries:
            bucket = self._hours.get(hour)
            if bucket is not None:
                bucket.discard(digest)
                if not bucket:
                    del self._hours[hour]

    def __len__(self) -> int:
        """How many cases are remembered."""
        return sum(len(bucket) for bucket in self._hours.values())
