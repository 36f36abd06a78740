"""What was found out about a value holds for the next one that is equal."""

from __future__ import annotations

from typing import Any

import pytest

from kontinuum.foundation.familiar import EVERY, LONGEST, MOST, PATIENCE, Familiar


class Looked:
    """Counts how often somebody has looked at a value."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, value: Any) -> list[Any]:
        self.times += 1
        if value == "bad":
            raise ValueError(value)
        return [value]


def test_an_equal_value_is_not_looked_at_again() -> None:
    look = Looked()
    familiar = Familiar(look)
    assert familiar.of({"a": 1}) == familiar.of({"a": 1}) == [{"a": 1}]
    assert look.times == 1


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ("1", 1), ({"a": None}, {}), ([], {})])
def test_values_that_only_python_takes_for_equal_are_told_apart(one: Any, other: Any) -> None:
    look = Looked()
    familiar = Familiar(look)
    assert [familiar.of([one]), familiar.of([other])] == [[[one]], [[other]]]
    assert look.times == 2


def test_what_was_refused_is_looked_at_again() -> None:
    familiar = Familiar(look := Looked())
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            familiar.of("bad")
    assert look.times == 2


def test_only_so_many_and_no_long_values_are_kept() -> None:
    familiar = Familiar(look := Looked())
    for number in range(MOST + 1):
        familiar.of(number)
    familiar.of(MOST)
    assert look.times == MOST + 1
    familiar.of(0)  # The oldest had to go.
    assert look.times == MOST + 2
    for _ in range(2):
        familiar.of("x" * LONGEST)
    assert look.times == MOST + 4


def test_what_cannot_be_written_is_looked_at() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    assert Familiar(Looked()).of(deep) == [deep]


def test_after_many_strangers_a_familiar_value_is_soon_known_again() -> None:
    familiar = Familiar(look := Looked())
    for number in range(PATIENCE * 4):
        assert familiar.of(number) == [number]
    looked = look.times
    for _ in range(EVERY * 4):
        assert familiar.of("once more") == ["once more"]
    assert look.times <= looked + EVERY * 2
