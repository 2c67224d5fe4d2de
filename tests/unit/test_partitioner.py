"""Keys go where Java sends them."""

from __future__ import annotations

import pytest

from events.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed


def test_a_negative_hash_is_masked_before_the_modulus() -> None:
    assert partition_of(b"21", 32) == (-973932308 & 0x7FFFFFFF) % 32
