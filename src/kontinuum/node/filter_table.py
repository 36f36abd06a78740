"""Our table in the kernel's packet filter: one writer, one transaction at a time, looked after.

Other programs may flush all tables (a firewall's reload does). So the table is looked at now and then, and made anew if
it has gone.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.nftables import Nftables, TransactionRefused
from kontinuum.node.ruleset import Ruleset

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0


class FilterTable:
    """Keeps the table called ``name`` as ``ruleset`` says."""

    def __init__(self, name: str, ruleset: Ruleset, clock: Clock) -> None:
        self.name = name
        self.ruleset = ruleset
        self._clock = clock
        self._nftables = Nftables()
        self._lock = asyncio.Lock()

    async def replace(self) -> None:
        """Write the whole table, whatever is there. Raises TransactionRefused."""
        async with self._lock:
            await self._run(self.ruleset.whole())

    async def apply(self) -> None:
        """Write what has changed. What the kernel refuses is answered by writing the whole table.

        Raises TransactionRefused if that is refused too.
        """
        async with self._lock:
            commands = self.ruleset.take_transaction()
            if not commands:
                return
            try:
                await self._run(commands)
            except TransactionRefused as error:
                log.warning("a change of the packet filter was refused; writing all of it", error=str(error)[:2000])
                await self._run(self.ruleset.whole())

    async def look_after(self) -> None:
        """Make the table anew whenever it has gone. Ends only by cancellation."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if not await self._is_there():
                log.warning("somebody has removed our table from the packet filter; writing it again", table=self.name)
                await self.replace()

    async def keep_only(self, name: str, values: set[str]) -> None:
        """Forget what packets have written into the map ``name`` under other values than ``values``."""
        async with self._lock:
            with contextlib.suppress(TransactionRefused):
                found = await asyncio.to_thread(self._nftables.list, f"map {self.name} {name}")
                gone = [key for key, value in _learned(found) if value not in values]
                if gone:
                    await self._run(f"delete element {self.name} {name} {{ {', '.join(gone)} }}\n")

    def close(self) -> None:
        self._nftables.close()

    async def _run(self, commands: str) -> None:
        # In a thread: thousands of elements take the kernel a tenth of a second, and names are asked for meanwhile.
        await asyncio.to_thread(self._nftables.apply, commands)

    async def _is_there(self) -> bool:
        async with self._lock:
            family, _, name = self.name.partition(" ")
            tables = await asyncio.to_thread(self._nftables.list, f"tables {family}")
            return any(one["table"]["name"] == name for one in tables if "table" in one)


def _learned(found: list[dict[str, object]]) -> list[tuple[str, str]]:
    """Keys and values (``address . port``, or an address) of a map with time-outs, from libnftables' JSON."""
    [one] = [one["map"] for one in found if "map" in one]
    assert isinstance(one, dict)
    pairs = []
    for key, value in one.get("elem") or ():
        written = key["elem"]["val"] if isinstance(key, dict) and "elem" in key else key
        parts = value["concat"] if isinstance(value, dict) else [value]
        pairs.append((str(written), " . ".join(map(str, parts))))
    return pairs
