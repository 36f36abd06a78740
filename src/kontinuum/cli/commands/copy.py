"""``kontinuum copy``: from one store to another, to change the engine. The source stays as it is."""

from __future__ import annotations

from kontinuum.cli.progress import Progress
from kontinuum.cli.settings import Settings
from kontinuum.cli.stores import source_of, target_of
from kontinuum.foundation.clock import Clock
from kontinuum.store.transfer import carry


async def copy(settings: Settings, *, source: str, target: str, force: bool, clock: Clock) -> None:
    """Fill the store at ``target``. Raises Occupied, and what the stores raise; then the target is as it was.

    A server that still writes to the source would write what is left behind, so SQLite's file must not be open.
    """
    async with (
        source_of(settings, address=source, alone=True) as origin,
        target_of(settings, address=target, force=force) as filled,
    ):
        with Progress("copying", origin.count, clock) as progress:
            await carry(origin, filled, progress)
    print(f"Copied {origin.count:,} objects at revision {origin.revision} to {target}.")
    if filled.kept is not None:
        print(f"What was stored there before is kept in {filled.kept}; remove it when nobody needs it.")
