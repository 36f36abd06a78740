"""What can be said of QEMU's machines without QEMU: a plain process stands in its place."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest
from qemu.qmp import QMPClient

from kontinuum.foundation import process
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.vmm.port import MachineRefused
from kontinuum.runtime.vmm.qemu.machine import QemuMachine


class Monitor:
    async def disconnect(self) -> None:
        pass


async def test_a_machine_ends_once_however_often_it_is_killed(tmp_path: Path) -> None:
    child = process.spawn("sleep", "100")
    signals, ends = list[int](), list[str]()
    signal = child.signal

    def counted(number: int, *, group: bool = False) -> None:
        signals.append(number)
        signal(number, group=group)

    child.signal = counted  # type: ignore[method-assign]
    machine = QemuMachine(
        child,
        cast(QMPClient, Monitor()),
        directory=tmp_path,
        origin="cold",
        born=os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC),
        layers=Layers(tmp_path),
        on_end=lambda: ends.append("released"),
    )
    await asyncio.gather(machine.kill(), machine.kill())
    before = len(signals)
    await machine.kill()
    # Nobody is signalled whose number is no longer ours, and what the machine had is given back once.
    assert len(signals) == before
    assert ends == ["released"]


class Refusing(QemuMachine):
    """Takes no disk."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def execute(self, command: str, **arguments: object) -> None:
        self.asked.append(command)
        if command == "qom-set":
            raise MachineRefused("QEMU refused qom-set")


async def test_a_machine_that_takes_no_disk_goes_on() -> None:
    machine = Refusing()
    with pytest.raises(MachineRefused):
        await machine._put("slot0", "image")
    assert machine.asked == ["stop", "qom-set", "cont"]
