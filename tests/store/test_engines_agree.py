"""Whatever is done to them, SQLite (closed and opened at any time) and memory give the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kontinuum.foundation.errors import KontinuumError
from kontinuum.store.conformance import take
from kontinuum.store.memory import MemoryStore
from kontinuum.store.port import Compacted, StaleRevision, Store
from kontinuum.store.sqlite import SqliteStore

KEYS = st.sampled_from(["a/", "a/x", "a/y", "a/é", "ab/x", "b/\U0001f600", "b/x/y"])
PREFIXES = st.sampled_from(["", "a/", "ab/", "b/", "c/"])
VALUES = st.binary(max_size=8)
Operation = Callable[[Store], Awaitable[Any]]


async def outcome(operation: Awaitable[Any]) -> Any:
    """The answer, or what the caller can tell of the error."""
    try:
        return await operation
    except StaleRevision as error:
        return StaleRevision, error.current
    except Compacted as error:
        return Compacted, error.oldest
    except KontinuumError as error:
        return type(error)


class EnginesAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "store.db"
        self.memory = MemoryStore()
        self.sqlite = self.runner.run(SqliteStore.open(self.path))

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        self.directory.cleanup()

    def agree(self, *operations: Operation) -> None:
        """Both engines, given the operations at once, answer alike."""

        async def ask(store: Store) -> list[Any]:
            return await asyncio.gather(*(outcome(operation(store)) for operation in operations))

        assert self.runner.run(ask(self.sqlite)) == self.runner.run(ask(self.memory))

    def revision(self, back: int) -> int:
        return max(0, self.runner.run(self.memory.revision()) - back)

    async def expected(self, key: str, back: int) -> int:
        record = await self.memory.get(key)
        return (record.revision if record else 1) - back

    @rule(key=KEYS, value=VALUES)
    def create(self, key: str, value: bytes) -> None:
        self.agree(lambda store: store.create(key, value))

    @rule(key=KEYS, value=VALUES, back=st.integers(0, 1))
    def update(self, key: str, value: bytes, back: int) -> None:
        expected = self.runner.run(self.expected(key, back))
        self.agree(lambda store: store.update(key, value, expected=expected))

    @rule(key=KEYS, back=st.integers(0, 1))
    def delete(self, key: str, back: int) -> None:
        expected = self.runner.run(self.expected(key, back))
        self.agree(lambda store: store.delete(key, expected=expected))

    @rule(key=KEYS, other=KEYS, value=VALUES)
    def many_at_once(self, key: str, other: str, value: bytes) -> None:
        """Writes of one batch see each other."""
        following = self.revision(0) + 1
        expected = self.runner.run(self.expected(key, 0))
        self.agree(
            lambda store: store.update(key, value, expected=expected),
            lambda store: store.create(other, value),
            lambda store: store.update(other, b"again", expected=following),
            lambda store: store.delete(other, expected=following + 1),
            lambda store: store.create(other, b"anew"),
        )

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        self.agree(lambda store: store.get(key))

    @rule(prefix=PREFIXES, limit=st.integers(0, 3), after=st.one_of(st.just(""), KEYS), back=st.integers(-1, 12))
    def list_then(self, prefix: str, limit: int, after: str, back: int) -> None:
        revision = self.revision(back) if back else 0
        self.agree(lambda store: store.list(prefix, limit=limit, after=after, revision=revision))

    @rule(prefix=PREFIXES, back=st.integers(0, 12))
    def watch(self, prefix: str, back: int) -> None:
        async def history(store: Store) -> Any:
            after = await self.memory.revision() - back
            return await take(store.watch(prefix, after=max(0, after)), await self.count(prefix, after))

        self.agree(history)

    async def count(self, prefix: str, after: int) -> int:
        """How many changes there are to see; 1 if the answer is to be Compacted."""
        try:
            found, _ = self.memory.changes(prefix, max(0, after))
        except Compacted:
            return 1
        return len(found)

    @rule(back=st.integers(-1, 6))
    def compact(self, back: int) -> None:
        revision = self.revision(back)
        self.agree(lambda store: store.compact(revision))

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.sqlite.close())
        self.sqlite = self.runner.run(SqliteStore.open(self.path))

    @invariant()
    def hold_the_same(self) -> None:
        self.agree(lambda store: store.list(""), lambda store: store.revision())


TestEnginesAgree = EnginesAgree.TestCase
TestEnginesAgree.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
