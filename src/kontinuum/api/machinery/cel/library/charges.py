"""What calls cost when they are made, from the sizes of their arguments (cel-go's and Kubernetes' cost tables)."""

from __future__ import annotations

import math
from typing import Any

from kontinuum.api.machinery.cel.values import size_of

TEXT = 0.1
PATTERN = 0.25


def of_first(first: Any, *_: Any) -> int:
    """Going through the first argument once."""
    return math.ceil(size_of(first) * TEXT)


def of_first_twice(first: Any, *_: Any) -> int:
    """Going through it, and making a result of its size."""
    return math.ceil(size_of(first) * 2 * TEXT)


def of_second(_first: Any, second: Any, *_: Any) -> int:
    return math.ceil(size_of(second) * TEXT)


def of_both(first: Any, second: Any) -> int:
    return math.ceil((size_of(first) + size_of(second)) * TEXT)


def of_smaller(first: Any, second: Any) -> int:
    return math.ceil(min(size_of(first), size_of(second)) * TEXT)


def of_product(first: Any, second: Any) -> int:
    return math.ceil(size_of(first) * TEXT) * math.ceil(size_of(second) * TEXT)


def of_elements(_first: Any, second: Any) -> int:
    return size_of(second)


def of_pairs(first: Any, second: Any) -> int:
    """Each element of one list against each of the other."""
    return size_of(first) * size_of(second) + 1


def of_pattern(text: Any, pattern: Any, *_: Any) -> int:
    return math.ceil((1 + size_of(text)) * TEXT) * math.ceil(size_of(pattern) * PATTERN)


def of_lists(first: list[Any], second: list[Any]) -> int:
    """Kubernetes charges 1; here a list is copied, so long ones cost more."""
    return 1 + (len(first) + len(second)) // 10


def of_traversal(value: Any, *_: Any) -> int:
    """Everything inside a value."""
    if isinstance(value, (str, bytes)):
        return int(len(value) * TEXT)
    if isinstance(value, list):
        return sum(map(of_traversal, value))
    if isinstance(value, dict):
        return sum(of_traversal(key) + of_traversal(one) for key, one in value.items())
    return 1


def of_joined(texts: list[Any], separator: str = "") -> int:
    length = sum(map(size_of, texts)) + size_of(separator) * max(len(texts) - 1, 0)
    return math.ceil(length * 2 * TEXT)


def of_first_tenfold(_first: Any, second: Any) -> int:
    """A format is checked with several regular expressions."""
    return math.ceil(size_of(second) * TEXT) * 10
