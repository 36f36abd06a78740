"""``kontinuum host``: what becomes of the hosts that ``kontinuum up --nodes N`` has made on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kontinuum.cli import hosts
from kontinuum.cli.installation import Installation
from kontinuum.foundation.clock import RealClock


async def described(paths: Installation) -> list[dict[str, Any]]:
    """Name, state, address and data directory of each."""
    return [
        {"name": host.name, "state": str(await hosts.state_of(host)), "address": host.address, "dataDir": host.data_dir}
        for host in hosts.known(paths)
    ]


async def print_list(data_dir: Path, *, as_json: bool) -> None:
    found = await described(Installation.at(data_dir))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print_table(found)


def print_table(found: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in ("host", "state", "address", "data"):
        table.add_column(heading)
    for one in found:
        table.add_row(one["name"], one["state"], one["address"], one["dataDir"])
    Console().print(table)


async def stop(data_dir: Path, name: str) -> None:
    """Raises NoSuchHost, HostFailed."""
    await hosts.power_off(hosts.find(Installation.at(data_dir), name), RealClock())


async def pause(data_dir: Path, name: str) -> None:
    """Raises NoSuchHost, HostFailed."""
    await hosts.pause(hosts.find(Installation.at(data_dir), name), RealClock())


async def cut(data_dir: Path, name: str) -> None:
    """Raises NoSuchHost, HostFailed."""
    await hosts.cut(hosts.find(Installation.at(data_dir), name))


async def heal(data_dir: Path, name: str) -> None:
    """Raises NoSuchHost, HostFailed."""
    await hosts.heal(hosts.find(Installation.at(data_dir), name), RealClock())
