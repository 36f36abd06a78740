"""Writes whose outcome is always told truly, also when the answer was lost.

etcd may carry a write out and die before it answers, or carry it out later. Three things make such a write certain:

    receipt   each write also puts its number into a slot of its session's, so whether it happened can be read
    session   each write holds only while its session's key is unchanged
    fence     changing that key: what was sent before and has not happened by then never will

    sent ──▶ answered                                  told
     └─ no answer ──▶ fence ──▶ receipt is there ──▶   told, as if it had been answered
                        │   └─▶ it is not        ──▶   sent again
                        └─ no answer in time     ──▶   StoreUnavailable: the outcome is unknown
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kontinuum.store.etcd import requests
from kontinuum.store.etcd.era import Era, enter
from kontinuum.store.etcd.errors import Unanswered, Unsent
from kontinuum.store.etcd.members import Members
from kontinuum.store.port import StoreUnavailable

ABANDONED = 50_000
"""Revisions (some minutes of a busy cluster) after which a session that wrote nothing is taken for a dead server's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write: where it happened (etcd's revision), or what is under its key instead."""

    revision: int
    """0: the condition did not hold."""
    found: Any = None
    """The key's present state (``KeyValue``) if the condition did not hold; None: there is no such key."""
    responses: Sequence[Any] = ()
    """The answers to the write's requests; empty if the answer was lost."""


class Session:
    """This server's session. Used from one event loop."""

    def __init__(self, members: Members, prefix: bytes) -> None:
        self._members = members
        self._prefix = prefix
        self._name = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)
        self._free: deque[int] = deque()
        self._slots = 0
        self._changing = asyncio.Lock()
        self._era: Era | None = None
        self._modified = 0

    @property
    def era(self) -> Era:
        assert self._era is not None, "the session is begun before anybody can ask"
        return self._era

    async def begin(self) -> None:
        """Enter the era in force."""
        self._era, self._modified = await enter(self._members, self._prefix, self._name)
        await self._sweep(self._era)

    async def renew(self, era: Era) -> None:
        """``era`` seems to be over: enter the present one, unless that was done already."""
        async with self._changing:
            if self._era is era:
                self._era, self._modified = await enter(self._members, self._prefix, self._name)

    async def end(self) -> None:
        """Remove what the session has left in etcd. Best effort: what stays is swept by another server."""
        if self._era is None:
            return
        sweep = _removal(self._era.sessions + self._name)
        try:
            async with asyncio.timeout(1.0):
                await self._members.ask_once("Txn", sweep, end=asyncio.get_running_loop().time() + 1.0)
        except (StoreUnavailable, TimeoutError):
            return

    async def write(self, era: Era, key: bytes, expected: int, then: Sequence[Any]) -> Outcome | None:
        """Carry out ``then`` if ``key`` was last changed at ``expected`` (etcd's revision; 0: does not exist).

        None: ``era`` is over, and nothing was changed. Raises StoreUnavailable if the outcome cannot be found out.
        """
        slot = self._free.popleft() if self._free else self._new_slot()
        try:
            return await self._write(era, key, expected, then, slot=slot)
        finally:
            self._free.append(slot)

    async def _write(self, era: Era, key: bytes, expected: int, then: Sequence[Any], *, slot: int) -> Outcome | None:
        mine = era.sessions + self._name
        receipt, number = mine + b"/%d" % slot, b"%d" % next(self._numbers)
        end = asyncio.get_running_loop().time() + self._members.patience_seconds
        failures = 0
        while True:
            if self._era is not era:
                return None
            modified = self._modified
            request = requests.transaction(
                [requests.unchanged(mine, modified), requests.unchanged(key, expected)],
                [*then, requests.put(era.head, b""), requests.put(receipt, number)],
                [requests.read(requests.ranged(mine, keys_only=True)), requests.read(requests.ranged(key))],
            )
            try:
                answer = await self._members.ask_once("Txn", request, end=end)
            except Unsent as error:
                await self._members.pause(failures, end=end, error=error)
            except Unanswered as error:
                happened = await self._find_out(era, receipt, number, modified=modified, error=error)
                if happened:
                    return Outcome(happened)
                await self._members.pause(failures, end=end, error=error)
            else:
                if answer.succeeded:
                    return Outcome(answer.header.revision, responses=answer.responses)
                session, found = (one.response_range.kvs for one in answer.responses)
                if not session:
                    await self.renew(era)
                    # The same era if only our session was swept away; then what we have sent is void, and sent again.
                    return None
                if session[0].mod_revision == modified:
                    return Outcome(0, found[0] if found else None)
                self._modified = max(self._modified, session[0].mod_revision)
            failures += 1

    async def _find_out(self, era: Era, receipt: bytes, number: bytes, *, modified: int, error: Unanswered) -> int:
        """etcd's revision of a write in doubt, or 0: it has not happened and never will."""
        try:
            await self._fence(era, modified)
            found = (await self._members.ask("Range", requests.ranged(receipt))).kvs
        except StoreUnavailable as again:
            raise StoreUnavailable(
                f"{error}; the write may or may not have happened, which could not be found out ({again}):"
                " read before you write again"
            ) from error
        return found[0].mod_revision if found and found[0].value == number else 0

    async def _fence(self, era: Era, modified: int) -> None:
        """Make sure that nothing happens any more that was sent while the session's key was at ``modified``."""
        async with self._changing:
            if self._era is not era or self._modified != modified:
                return  # done for another write already
            fence = [requests.put(era.sessions + self._name, b"")]
            answer = await self._members.ask("Txn", requests.transaction([requests.same(era.head, era.created)], fence))
            if answer.succeeded:
                self._modified = answer.header.revision
            # else the era is over, and with it our session: nothing of it can happen either.

    def _new_slot(self) -> int:
        self._slots += 1
        return self._slots

    async def _sweep(self, era: Era) -> None:
        """Remove the sessions of servers that have died: all that have written nothing for long."""
        found = await self._members.ask(
            "Range", requests.ranged(era.sessions, requests.end_of(era.sessions), keys_only=True)
        )
        latest: dict[bytes, int] = {}
        for one in found.kvs:
            name = one.key[len(era.sessions) :].partition(b"/")[0]
            latest[name] = max(latest.get(name, 0), one.mod_revision)
        for name, modified in latest.items():
            if modified < found.header.revision - ABANDONED:
                await self._members.ask("Txn", _removal(era.sessions + name, older_than=modified + 1))


def _removal(session: bytes, *, older_than: int = 0) -> Any:
    """Remove a session and its receipts; with ``older_than`` (etcd's revision) only if all of it is."""
    end = requests.end_of(session + b"/")
    conditions = [requests.older(session, end, older_than)] if older_than else []
    return requests.transaction(conditions, [requests.delete(session), requests.delete(session + b"/", end)])
