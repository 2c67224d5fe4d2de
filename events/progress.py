"""What stands beside a committed offset: how far the work behind it has come.

A partition is read on from its committed offset, which one unfinished task holds back whatever was
done behind it. So a commit says more in its metadata, and whoever reads on knows:

- *what is finished*: everything below `end` that is not listed as unfinished. Offsets that were
  never delivered (logs have gaps) count as finished: nothing will be delivered at them;
- *what may have been started*: everything below `reach` that is not finished. Whoever writes this
  starts nothing at or above `reach` before another commit has raised it. After an orderly end
  `reach` is the committed offset: nothing is suspected;
- *what was started more than once* without ever ending, and how often.

The text is a version, and in base 85 the compressed numbers, each 7 bits a byte and mostly as
differences: a stuck task with 50,000 done behind it takes some 30 characters.
Source: the offset map of confluentinc/parallel-consumer, turned round: what is unfinished is
bounded by what may be in flight, what is finished is not.
"""

from __future__ import annotations

import zlib
from base64 import b85decode, b85encode
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

CHARS_MAX = 3072
"""Of the text; brokers refuse more than 4096 bytes (`offset.metadata.max.bytes`)."""
VERSION = "1"
_BYTES_MAX = 65_536
"""Of the numbers, when they are read: what says more is not ours."""
_BITS_MAX = 70


class Again(NamedTuple):
    """A task was started more than once and never ended."""

    starts: int
    alone: bool
    """At its last start nothing else was running that was suspected."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far work has come behind `offset`, the committed one."""

    offset: int
    end: int
    """The position behind the highest offset that was seen."""
    unfinished: tuple[int, ...] = ()
    """Rising; below `end`. What stands at the committed offset is always among them, if seen."""
    reach: int = 0
    again: Mapping[int, Again] = field(default_factory=dict)
    head_ms: int = 0
    """The timestamp of the record at the committed offset: tells another topic of this name."""
    seen: int = 0
    """The position behind what was delivered, where that is above `end`; for whoever measures."""

    def finished(self, offset: int) -> bool:
        """Whether the task at this offset was answered, and the answer acknowledged."""
        if not self.offset <= offset < self.end:
            return False
        at = bisect_left(self.unfinished, offset)
        return at == len(self.unfinished) or self.unfinished[at] != offset

    def gap_before(self, offset: int, timestamp_ms: int) -> bool:
        """Whether the first record that is read is another than the one that was unfinished."""
        return bool(self.unfinished) and (offset, timestamp_ms) != (self.offset, self.head_ms)

    def starts(self, offset: int) -> Again:
        """How often an unfinished task may have been started; at most one is not written."""
        return self.again.get(offset, Again(int(offset < self.reach), alone=False))

    @property
    def passed_at(self) -> int:
        """From here on this says nothing."""
        return max(self.end, self.reach)


def encode(progress: Progress) -> str:
    """The text of it. What does not fit is left out from above: that is done again."""
    text = _text(progress)
    kept = len(progress.unfinished)
    while len(text) > CHARS_MAX and kept:
        kept = kept * 3 // 4
        end, lowest = progress.unfinished[kept], progress.unfinished[:kept]
        text = _text(replace(progress, end=end, unfinished=lowest))
    if len(text) <= CHARS_MAX:
        return text
    return _text(Progress(progress.offset, progress.offset, reach=progress.reach))


def decode(text: str, offset: int) -> Progress:
    """What `encode` wrote beside this committed offset.

    Raises `ValueError` for what it did not write, and what it wrote beside another offset.
    """
    if text[:1] != VERSION:
        raise ValueError(f"version {text[:1]!r} is not {VERSION!r}")
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(b85decode(text[1:]), _BYTES_MAX)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from None
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("damaged: it does not end where it should")
    found = _progress(_numbers(data))
    if found.offset != offset:
        raise ValueError(f"it was written for the offset {found.offset}, not {offset}")
    return found


def _text(progress: Progress) -> str:
    offset, unfinished, again = progress.offset, progress.unfinished, progress.again
    numbers = [offset, progress.head_ms, progress.end - offset, max(progress.reach - offset, 0)]
    numbers += [len(unfinished), *_steps(offset, unfinished)]
    several = sorted(again)
    numbers += [len(several), *_steps(offset, several)]
    numbers += [2 * again[each].starts + again[each].alone for each in several]
    if progress.seen:
        numbers.append(progress.seen - offset)
    return VERSION + b85encode(zlib.compress(_bytes(numbers), 6)).decode()


def _progress(numbers: Iterator[int]) -> Progress:
    try:
        offset, head_ms, end, reach = (next(numbers) for _ in range(4))
        unfinished = tuple(_sums(offset, numbers))
        several = tuple(_sums(offset, numbers))
        said = [next(numbers) for _ in several]
        seen = next(numbers, 0)
    except (StopIteration, RuntimeError):
        raise ValueError("damaged: it ends too early") from None
    again = {at: Again(n >> 1, bool(n & 1)) for at, n in zip(several, said, strict=True)}
    seen = offset + seen if seen else 0
    return Progress(offset, offset + end, unfinished, offset + reach, again, head_ms, seen)


def _steps(base: int, offsets: Iterable[int]) -> Iterator[int]:
    for offset in offsets:
        yield offset - base
        base = offset


def _sums(base: int, numbers: Iterator[int]) -> Iterator[int]:
    for _ in range(next(numbers)):
        base += next(numbers)
        yield base


def _bytes(numbers: Iterable[int]) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow (LEB128)."""
    data = bytearray()
    for number in numbers:
        while number > 0x7F:
            data.append(number & 0x7F | 0x80)
            number >>= 7  # noqa: PLW2901 - what is left of it
        data.append(number)
    return bytes(data)


def _numbers(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > _BITS_MAX:
            raise ValueError("damaged: a number without an end")
        if byte < 0x80:
            yield number
            number = shift = 0
