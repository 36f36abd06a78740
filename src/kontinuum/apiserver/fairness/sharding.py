"""Shuffle sharding: each flow is dealt a few of a level's queues, and takes the one where the fewest wait. Pure.

A flow that fills its queues harms only those who were dealt the same ones: with 128 queues and hands of 6, one in
5.4 billion is dealt exactly the same.
"""

from __future__ import annotations

import hashlib


def flow_hash(schema: str, distinguisher: str) -> int:
    """64 bits that are the same for all requests of a flow, on every server."""
    text = f"{schema}\0{distinguisher}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def deal(value: int, queues: int, size: int) -> list[int]:
    """``size`` different numbers below ``queues``; every hand is equally likely for a random ``value``."""
    hand: list[int] = []
    for dealt in range(min(size, queues)):
        value, card = divmod(value, queues - dealt)
        # The card counts among those that are left: step over the ones that are gone.
        for gone in sorted(hand):
            if card >= gone:
                card += 1
        hand.append(card)
    return hand
