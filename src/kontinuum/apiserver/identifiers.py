"""Random identifiers that are unique but no secrets: uids, audit ids, endings of generated names.

They come from a generator that the system seeds once; asking the system each time costs 12 microseconds a piece.
"""

from __future__ import annotations

import random

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, so that a random name is never a word (apimachinery ``util/rand``)."""
SUFFIX_LENGTH = 5

VERSION_BITS = 0x4 << 76 | 0b10 << 62
"""Of a UUID's 128 bits those that say its version, 4, and its variant."""
RANDOM_BITS = (1 << 128) - 1 & ~(0xF << 76 | 0b11 << 62)

_chance = random.Random()


def seed(number: int) -> None:
    """Give the same identifiers once more: for who plays a life again, never for a server in earnest."""
    _chance.seed(number)


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4) as text."""
    text = f"{_chance.getrandbits(128) & RANDOM_BITS | VERSION_BITS:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_suffix() -> str:
    """What completes a ``generateName``."""
    return "".join(_chance.choices(SUFFIX_LETTERS, k=SUFFIX_LENGTH))
