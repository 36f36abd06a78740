"""The scheduler that a user starts, beside the API server and the controllers: each a process, on hollow nodes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from tests.cli.scheduling_cases import CASES, Case, Ground, make_classes

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.objects import name_of
from kontinuum.cli.simulation.parts import started
from kontinuum.client.connect import connect
from kontinuum.client.rest import Client
from kontinuum.foundation import process
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.hollow.nodes import HollowNodes

KONTINUUM = Path(sys.executable).with_name("kontinuum")


@pytest.mark.behaviour("SchedulerPredicates validates resource limits of pods that are allowed to run")
@pytest.mark.behaviour("SchedulerPredicates validates that NodeSelector is respected if matching")
@pytest.mark.behaviour("SchedulerPredicates validates that NodeSelector is respected if not matching")
@pytest.mark.behaviour(
    "SchedulerPredicates validates that there exists conflict between pods with same hostPort and protocol"
    " but one using 0.0.0.0 hostIP"
)
@pytest.mark.behaviour("SchedulerPreemption validates basic preemption works")
@pytest.mark.behaviour("SchedulerPreemption validates lower priority pod preemption by critical pod")
@pytest.mark.behaviour("SchedulerPreemption validates pod disruption condition is added to the preempted pod")
@pytest.mark.behaviour(
    "SchedulerPreemption PreemptionExecutionPath runs ReplicaSets to verify preemption running path"
)  # fmt: skip
async def test_pods_are_scheduled_as_kubernetes_does_it(tmp_path: Path) -> None:
    """All cases side by side: each waits for others' processes most of the time."""
    clock = RealClock()
    async with started(clock, store="", keep=tmp_path) as parts:
        client = connect(parts.connection)
        hollow = HollowNodes(client, clock, (), ready_seconds=0, stop_seconds=0)
        working = asyncio.create_task(hollow.run())
        try:
            await hollow.wait_registered()
            await make_classes(client)
            outcomes = await asyncio.gather(
                *(take(client, hollow, name, one) for name, one in CASES.items()), return_exceptions=True
            )
            await drive_it(client, tmp_path / "data" / "kubeconfig")
            parts.check()
        finally:
            await cancel(working)
            await client.close()
    if failed := [one for one in outcomes if isinstance(one, Exception)]:
        raise ExceptionGroup(f"{len(failed)} of {len(CASES)} cases", failed)


async def drive_it(client: Client, config: Path) -> None:
    """Somebody's running cluster is driven by a simulation, in real time, and nothing of that is left."""
    words = ("--nodes", "3", "--pods", "12", "--replicas", "6", "--steps", "2", "--output", "json")
    ran = await process.run(KONTINUUM, "simulate", "--kubeconfig", config, *words, timeout=240, check=False)
    assert ran.code == 0, ran.stderr
    points = json.loads(ran.stdout)["points"]
    assert [(one["pods"], one["new"], one["memory"]) for one in points] == [(6, 6, {}), (12, 6, {})]
    names = {name_of(one) for one in (await client.list(NODES)).items}
    assert not any(name.startswith("hollow-") for name in names)


async def take(client: Client, hollow: HollowNodes, name: str, one: Case) -> None:
    ground = Ground(client, hollow, name)
    await ground.prepare()
    try:
        await one(ground)
    except Exception as error:
        error.add_note(f"the case {name}")
        raise
