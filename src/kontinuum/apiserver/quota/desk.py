"""Where the writes of one namespace ask for room, all that are waiting at a time.

asked ──judge──▶ refused
          ├────▶ granted ──the ledger is stored──▶ the write may begin ──▶ settled: the reservation is dropped
          └────▶ waits ──a reservation was settled──▶ judge
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kontinuum.api.kubernetes.amounts import Amounts, subtract
from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.catalog import Served
from kontinuum.apiserver.quota import ledger as ledgers
from kontinuum.apiserver.quota.accounts import Account
from kontinuum.apiserver.quota.ledger import Ledger, LedgerChanged, Reservation
from kontinuum.apiserver.quota.room import Charges, Verdict, Wanted, judge, reserved_beyond
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Broken, Refused, Retryable
from kontinuum.store.port import Store

PATIENCE_SECONDS = 5.0
"""How long a write waits for others' reservations to become objects or nothing. A server that crashed may hold some."""
LOOK_SECONDS = 0.02
"""How soon others' reservations are looked at again; our own servers' tell us themselves."""
TIDY_SECONDS = 0.2
"""After this time settled reservations are dropped though nobody asks for room, so that other servers need not wait."""
AGAIN_SECONDS = 1.0
"""When the store is asked again that did not answer."""
MARGIN_SECONDS = 60.0
"""By this much a reservation outlives the longest request: servers' clocks differ, and a store may be slow."""


class NoRoom(Refused):
    """A quota would be exceeded. The message is Kubernetes'."""


class Server(Protocol):
    """What a desk needs of its server (``Context``)."""

    @property
    def store(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def settings(self) -> ServerSettings: ...

    async def catch_up(self) -> int: ...
    async def wait_revision(self, revision: int) -> int: ...


class Knowledge(Protocol):
    """What the caches show (``Books``)."""

    def account(self, namespace: str) -> Account | None: ...
    def counted(self, namespace: str, served: Iterable[Served], hard: Amounts) -> Amounts: ...
    def is_there(self, key: str, uid: str) -> bool: ...


@dataclass(eq=False, slots=True)
class Asked:
    """One write that wants room for ``obj``."""

    id: str
    served: Served
    key: str
    obj: Object
    until: float
    """Monotonic seconds: patience ends."""
    answer: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Desk:
    """See the module. A task works while there is something to do."""

    def __init__(self, server: Server, books: Knowledge, namespace: str) -> None:
        self._server = server
        self._books = books
        self._namespace = namespace
        self._numbers = itertools.count(1)
        self._asked: list[Asked] = []
        self._settled: dict[str, int] = {}
        """Reservations that are to be dropped once the caches have reached a revision."""
        self._changed = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    async def reserve(self, served: Served, key: str, obj: Object) -> str:
        """The id of a reservation for ``obj``, to be settled. Raises NoRoom, StoreFull, StoreUnavailable."""
        until = self._server.clock.monotonic() + PATIENCE_SECONDS
        asked = Asked(f"{uid_of(obj)}/{next(self._numbers)}", served, key, obj, until)
        self._asked.append(asked)
        self._wake()
        try:
            await asyncio.shield(asked.answer)
        except asyncio.CancelledError:
            # It may have been granted in this moment, and is not going to be used.
            if asked in self._asked:
                self._asked.remove(asked)
            self.settle(asked.id, 0)
            asked.answer.cancel()
            raise
        return asked.id

    def settle(self, reservation: str, revision: int) -> None:
        """The write is over: it was stored at ``revision``, or (0) not at all."""
        self._settled[reservation] = revision
        # Dropping it is not urgent, unless somebody waits for that.
        self._wake(is_urgent=bool(self._asked))

    async def excess(self, served: Served, key: str, obj: Object) -> str:
        """What would be objected to a write now, for a dry run; "" if nothing."""
        ledger = await ledgers.read(self._server.store, self._namespace)
        await self._server.catch_up()
        account = self._books.account(self._namespace)
        if account is None:
            return ""
        asked = Asked("", served, key, obj, 0.0)
        verdict = self._judge([asked], account, ledger)
        return next(iter((verdict.refused | verdict.waiting).values()), "")

    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})

    def _wake(self, *, is_urgent: bool = True) -> None:
        if is_urgent:
            self._changed.set()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run(), name=f"quota of {self._namespace}")

    async def _run(self) -> None:
        while self._asked or self._settled:
            if not self._asked:
                self._changed.clear()
                await self._pause(TIDY_SECONDS)
            self._changed.clear()
            try:
                is_done = await self._turn()
            except (ApiError, Retryable, Broken) as error:
                # The store does not answer, or is full: whoever waits is told, and what is settled is dropped later.
                self._fail(error)
                await self._pause(AGAIN_SECONDS)
                continue
            except BaseException as error:
                self._fail(error)
                raise
            if not is_done and self._asked:
                await self._pause(LOOK_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Until something changes at this server, or for that long."""
        pausing = asyncio.ensure_future(self._server.clock.sleep(seconds))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({pausing, changing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pausing.cancel()
            changing.cancel()

    async def _turn(self) -> bool:
        """Judge all who wait, once. False if somebody still does."""
        server = self._server
        ledger = await ledgers.read(server.store, self._namespace)
        known = set(ledger.reservations)
        # An object that has no reservation any more was stored before the ledger was read, so its revision is lower.
        # What is settled while we wait for that may be stored later still, and keeps its reservation for now.
        settled = dict(self._settled)
        await server.wait_revision(max([ledger.revision, *settled.values()]))
        account = self._books.account(self._namespace)
        if account is None:
            self._answer_all()
            return True
        self._drop_settled(ledger, settled)
        verdict = self._judge(self._asked, account, ledger)
        if verdict.refused or verdict.waiting:
            # Something may have been deleted that the caches had not heard of.
            await server.catch_up()
            account = self._books.account(self._namespace) or account
            verdict = self._judge(self._asked, account, ledger)
        granted = [one for one in self._asked if one.id in set(verdict.granted)]
        for one in granted:
            ledger.reservations[one.id] = self._reservation(one, account)
        if ledger.reservations.keys() != known:
            try:
                await ledgers.write(server.store, ledger)
            except LedgerChanged:
                return True  # Nothing has been decided: at once again.
        self._forget(ledger)
        self._answer(verdict)
        return not self._asked

    def _judge(self, asked: list[Asked], account: Account, ledger: Ledger) -> Verdict:
        wanted = [self._wanted(one, account) for one in asked]
        held = reserved_beyond(ledger.reservations.values(), lambda one: self._charged_now(one, account))
        used = {
            name: {**self._counted(asked, quota.hard), **account.used[name]} for name, quota in account.quotas.items()
        }
        return judge(wanted, account.quotas, used, held)

    def _wanted(self, asked: Asked, account: Account) -> Wanted:
        charges = self._charges(asked, account)
        now = account.charged(asked.key)
        before: Charges = now.charges if now.uid == uid_of(asked.obj) else {}
        more = {name: subtract(amounts, before.get(name) or {}) for name, amounts in charges.items()}
        return Wanted(asked.id, charges, more)

    def _charges(self, asked: Asked, account: Account) -> Mapping[str, Amounts]:
        now = self._server.clock.time()
        found = {name: one.charge(asked.served.resource, asked.obj, now) for name, one in account.quotas.items()}
        return {name: amounts for name, amounts in found.items() if amounts}

    def _counted(self, asked: list[Asked], hard: Amounts) -> Amounts:
        """How many there are of the kinds that need not be read."""
        return self._books.counted(self._namespace, {one.served for one in asked}, hard)

    def _charged_now(self, reservation: Reservation, account: Account) -> Charges:
        shown = account.charged(reservation.key)
        if shown.uid == reservation.uid:
            return shown.charges
        # Objects that are only counted use what they use as soon as they are there.
        return reservation.charges if self._books.is_there(reservation.key, reservation.uid) else {}

    def _reservation(self, asked: Asked, account: Account) -> Reservation:
        longest = self._server.settings.request_timeout_seconds + MARGIN_SECONDS
        until = self._server.clock.time() + longest
        return Reservation(asked.key, uid_of(asked.obj), until, dict(self._charges(asked, account)))

    def _drop_settled(self, ledger: Ledger, settled: Mapping[str, int]) -> None:
        """``settled`` are shown by the caches."""
        now = self._server.clock.time()
        for name, one in list(ledger.reservations.items()):
            if name in settled or one.until < now:
                del ledger.reservations[name]

    def _forget(self, ledger: Ledger) -> None:
        """Those that the stored ledger does not have need not be remembered."""
        for name in [one for one in self._settled if one not in ledger.reservations]:
            del self._settled[name]

    def _answer(self, verdict: Verdict) -> None:
        """Whoever came meanwhile goes on waiting."""
        now = self._server.clock.monotonic()
        granted, waiting = set(verdict.granted), []
        for one in self._asked:
            problem = verdict.refused.get(one.id) or (verdict.waiting.get(one.id) if one.until <= now else None)
            if one.id in granted:
                one.answer.set_result(None)
            elif problem:
                one.answer.set_exception(NoRoom(problem))
            else:
                waiting.append(one)
        self._asked = waiting

    def _fail(self, error: BaseException) -> None:
        asked, self._asked = self._asked, []
        for one in asked:
            one.answer.set_exception(error)

    def _answer_all(self) -> None:
        """There are no quotas any more."""
        asked, self._asked = self._asked, []
        self._settled.clear()
        for one in asked:
            one.answer.set_result(None)
