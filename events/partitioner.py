"""Which partition a key belongs to: Java's default, so that every language agrees.

Source of the algorithm: MurmurHash2 (Austin Appleby, 32 bits) with the seed and the signed result
of the Java client's `Utils.murmur2`, and its `toPositive` mask before the modulus.
"""

from __future__ import annotations

from functools import lru_cache
from struct import iter_unpack

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The hash of a key as Java computes it: a signed 32-bit integer.

    Example: `murmur2(b"21")` is `-973932308`.
    """
    length = len(key)
    hashed = _SEED ^ length
    whole = length & ~3
    for (word,) in iter_unpack("<I", key[:whole]):
        mixed = (word * _MIX) & _MASK
        mixed ^= mixed >> 24
        hashed = (hashed * _MIX ^ mixed * _MIX) & _MASK
    if whole < length:
        hashed ^= int.from_bytes(key[whole:], "little")
        hashed = (hashed * _MIX) & _MASK
    hashed ^= hashed >> 13
    hashed = (hashed * _MIX) & _MASK
    hashed ^= hashed >> 15
    return hashed - (1 << 32) if hashed >> 31 else hashed


@lru_cache(maxsize=65_536)  # a case's id is the key of all that belongs to it
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key among `partitions`; records without a key have none of their own."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
