"""``kill -9`` at any moment: what was acknowledged is there, and no revision is given out twice."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

from kontinuum.store.conformance import take
from kontinuum.store.port import Record
from kontinuum.store.sqlite import SqliteStore

VICTIM = Path(__file__).with_name("killed_writer.py")
Acknowledged = tuple[str, int, str]
"""What happened, the revision, the key."""


def write_until_killed(path: Path, seconds: float) -> list[Acknowledged]:
    """What a writer acknowledged before it was killed, in the order in which it did."""
    with subprocess.Popen([sys.executable, VICTIM, path], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline().startswith("opened ")
        killer = threading.Timer(seconds, victim.kill)
        killer.start()
        lines = victim.stdout.readlines()
        killer.join()
    return [(what, int(revision), key) for what, revision, key in map(str.split, lines)]


def must_hold(found: Record | None, what: str, revision: int) -> None:
    """A key is as its last acknowledged write left it, or one write further: the one under way when the kill came."""
    match what, found:
        case "created", Record(value=b"1", revision=kept):
            assert kept == revision
        case "created", Record(value=value, created=created):
            assert (value, created) == (b"2" * 200, revision)
        case "updated", Record(revision=kept):
            assert kept == revision
        case "created", None:
            raise AssertionError("an acknowledged creation is lost")
        case "deleted", Record():
            raise AssertionError("an acknowledged deletion is undone")


async def test_what_was_acknowledged_survives_and_no_revision_is_used_twice(tmp_path: Path) -> None:
    chance = random.Random(5)
    path = tmp_path / "store.db"
    highest, total = 0, 0
    for _ in range(6):
        acknowledged = write_until_killed(path, chance.uniform(0.02, 0.4))
        revisions = [revision for _, revision, _ in acknowledged]
        assert len(set(revisions)) == len(revisions)
        assert min(revisions, default=highest + 1) > highest

        store = await SqliteStore.open(path)
        highest = await store.revision()
        assert highest >= max(revisions, default=0)
        for key, (what, revision) in {key: (what, revision) for what, revision, key in acknowledged}.items():
            must_hold(await store.get(key), what, revision)
        kept = min(100, highest)
        history = await take(store.watch("", after=highest - kept), kept)
        assert [change.revision for change in history] == list(range(highest - kept + 1, highest + 1))
        await store.close()
        total += len(acknowledged)
    assert total > 500
