"""The metadata of a commit: what is finished behind it, and what may have killed its worker."""

from __future__ import annotations

import zlib
from base64 import b85encode
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.progress import CHARS_MAX, Again, Progress, decode, encode

BASES = st.integers(0, 2**40)


@st.composite
def made(draw: st.DrawFn, most: int = 60) -> Progress:
    base = draw(BASES)
    open_ = draw(st.lists(st.integers(0, 5000), unique=True, max_size=most).map(sorted))
    end = max(open_, default=-1) + 1 + draw(st.integers(0, 100))
    reach = draw(st.integers(0, 6000))
    several = draw(st.dictionaries(st.sampled_from(open_ or [0]), st.integers(2, 9), max_size=5))
    again = {base + at: Again(n, draw(st.booleans())) for at, n in several.items()}
    unfinished = tuple(base + each for each in open_)
    return Progress(base, base + end, unfinished, base + reach, again, draw(st.integers(0, 2**42)))


@given(made())
def test_what_was_written_is_read(progress: Progress) -> None:
    text = encode(progress)

    assert len(text) <= CHARS_MAX
    assert decode(text, progress.offset) == progress


@given(made())
def test_everything_observed_is_finished_or_listed(progress: Progress) -> None:
    unfinished = set(progress.unfinished)
    for offset in range(progress.offset - 3, progress.passed_at + 3):
        known = progress.offset <= offset < progress.end
        assert progress.finished(offset) == (known and offset not in unfinished)


def test_fifty_thousand_finished_behind_a_stuck_one_take_a_line() -> None:
    text = encode(Progress(7, 50_008, (7,), 50_020, head_ms=1_700_000_000_000))

    assert len(text) < 60
    assert decode(text, 7).finished(50_007)
    assert not decode(text, 7).finished(7)


@pytest.mark.parametrize("n", [2_000, 4_000, 12_000])
def test_what_does_not_fit_keeps_the_lowest_and_claims_nothing_that_is_not_so(n: int) -> None:
    dice = Random(n)
    unfinished = tuple(sorted(dice.sample(range(100_000), n)))
    whole = Progress(0, 100_000, unfinished, 100_000)
    text = encode(whole)

    assert len(text) <= CHARS_MAX
    kept = decode(text, 0)
    assert kept.reach == whole.reach
    assert kept.end <= whole.end
    assert len(kept.unfinished) > 300
    for offset in range(0, 100_000, 7):
        assert whole.finished(offset) or not kept.finished(offset)


@given(st.text(max_size=80))
def test_no_text_of_others_is_fatal(text: str) -> None:
    try:
        decode(text, 5)
    except ValueError:
        return
    raise AssertionError(text)


@given(made(), st.data())
def test_a_damaged_text_is_refused_or_says_the_same(
    progress: Progress, data: st.DataObject
) -> None:
    text = encode(progress)
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.sampled_from("!0Az~ 2")) + text[at + 1 :]
    with suppress(ValueError):
        assert decode(damaged, progress.offset) == progress


def test_what_belongs_to_another_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="written for the offset 7, not 8"):
        decode(encode(Progress(7, 9, (7,))), 8)


@pytest.mark.parametrize("numbers", [b"\xff" * 60_000, b"\0" * 70_000, b"", b"\1\1\1\1\x7f"])
def test_numbers_that_do_not_end_or_end_too_early_are_refused(numbers: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        decode("1" + b85encode(zlib.compress(numbers)).decode(), 1)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version '2'"):
        decode("2" + encode(Progress(7, 9))[1:], 7)


def test_what_may_have_been_started_was_started_once_unless_more_is_said() -> None:
    progress = Progress(5, 9, (5, 7), 12, {7: Again(2, alone=True)})

    assert progress.starts(5) == (1, False)
    assert progress.starts(7) == (2, True)
    assert progress.starts(11) == (1, False)
    assert progress.starts(12) == (0, False)
