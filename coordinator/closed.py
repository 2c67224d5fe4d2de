"""Closed cases, remembered for the dedupe window by their 16-byte digest and the hour they closed.

Digests lie packed in pages, found by their last bytes, as in a hash table with buckets of bytes:
some 25 bytes a case where a set takes a hundred, and one look-up for the whole window. Pages split
when they are full (extendible hashing, Fagin and others, 1979, with all pages of one depth).
"""

from __future__ import annotations

from collections.abc import Iterator

HOUR_S = 3600
DIGEST = 16
ENTRY = 20
"""A digest and its hour since the epoch, four bytes, the highest first."""
PAGE_ENTRIES = 32


def digest_of(case_id: str) -> bytes:
    """The 16 bytes of a case id. Raises `ValueError` when it is not a UUID."""
    digest = bytes.fromhex(case_id.replace("-", ""))
    if len(digest) != DIGEST:
        raise ValueError(f"{case_id!r} is not a UUID")
    return digest


def case_id_of(digest: bytes) -> str:
    """The case id that has this digest."""
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def entry_of(case_id: str, closed: float) -> bytes:
    """What is kept of a case closed at this time (seconds since the epoch)."""
    return digest_of(case_id) + max(0, int(closed // HOUR_S)).to_bytes(4)


class ClosedCases:
    """A set of case ids that forgets by the hour. Not thread-safe."""

    def __init__(self) -> None:
        self._pages = [bytearray()]
        self._count = 0
        self.oldest = 0
        """No entry is of an earlier hour."""
        self._sweep = 0
        """The page at which looking for what is expired goes on."""

    def add(self, case_id: str, closed: float) -> None:
        """Remember a case closed at this time (seconds since the epoch)."""
        self.add_entry(entry_of(case_id, closed))

    def add_entry(self, entry: bytes) -> None:
        """The same with an `entry_of`."""
        digest, hour = entry[:DIGEST], int.from_bytes(entry[DIGEST:])
        self.oldest = hour if self._count == 0 else min(self.oldest, hour)
        page, at = self._find(digest)
        if at >= 0:
            page[at + DIGEST : at + ENTRY] = entry[DIGEST:]
            return
        page += entry
        self._count += 1
        if self._count > PAGE_ENTRIES * len(self._pages):
            self._split()

    def discard(self, case_id: str) -> None:
        """Forget one case (it was opened again)."""
        page, at = self._find(digest_of(case_id))
        if at >= 0:
            self._drop(page, at)

    def __contains__(self, case_id: object) -> bool:
        """Whether a case was closed within the window."""
        try:
            digest = digest_of(str(case_id))
        except ValueError:
            return False
        return self._find(digest)[1] >= 0

    def expired(self, now: float, window_s: float, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` entries older than the window, hour and digest; they stay until `forget`.

        An entry that lies behind a younger one of its page is found once that one has expired.
        """
        last = int((now - window_s) // HOUR_S) - 1
        if self._count == 0 or self.oldest > last:
            return []
        found: list[tuple[int, bytes]] = []
        oldest = last + 1
        for number in range(len(self._pages)):
            index = (self._sweep + number) % len(self._pages)
            for hour, digest in _entries(self._pages[index]):
                if hour > last:
                    oldest = min(oldest, hour)
                    break
                found.append((hour, digest))
            if len(found) >= limit:
                self._sweep = index
                return found[:limit]
        if not found:
            self.oldest = oldest
        return found

    def forget(self, entries: list[tuple[int, bytes]]) -> None:
        """Drop entries that `expired` named."""
        for hour, digest in entries:
            page, at = self._find(digest)
            if at >= 0 and int.from_bytes(page[at + DIGEST : at + ENTRY]) == hour:
                self._drop(page, at)

    def __len__(self) -> int:
        """How many cases are remembered."""
        return self._count

    def _find(self, digest: bytes) -> tuple[bytearray, int]:
        page = self._pages[int.from_bytes(digest[12:]) & (len(self._pages) - 1)]
        at = page.find(digest)
        while at > 0 and at % ENTRY:
            at = page.find(digest, at + 1)
        return page, at

    def _drop(self, page: bytearray, at: int) -> None:
        del page[at : at + ENTRY]
        self._count -= 1

    def _split(self) -> None:
        """Twice as many pages; entries keep their order within a page."""
        bit, old = len(self._pages), self._pages
        self._pages = [bytearray() for _ in range(2 * bit)]
        self._sweep = 0
        for index, page in enumerate(old):
            for at in range(0, len(page), ENTRY):
                to = index + (bit if int.from_bytes(page[at + 12 : at + DIGEST]) & bit else 0)
                self._pages[to] += page[at : at + ENTRY]


def _entries(page: bytearray) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(page), ENTRY):
        hour = int.from_bytes(page[at + DIGEST : at + ENTRY])
        yield hour, bytes(page[at : at + DIGEST])
