"""What pods may have of a node, and the cgroups that hold them to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.node.world import World, container, play, pod

from kontinuum.api.machinery.objects import Object
from kontinuum.node import cgroups, qos
from kontinuum.node.allocatable import Amounts, BadReservation, held_back, reserved
from kontinuum.node.container_config import oom_score
from kontinuum.node.eviction.thresholds import thresholds
from kontinuum.node.settings import NodeSettings

GIB = 1 << 30
SETTINGS = NodeSettings(data_dir="/d")


def asking(name: str = "p", *, limits: Object | None = None, **requests: str) -> Object:
    resources = {"requests": requests, "limits": limits or {}}
    made = pod(name, containers=[container("app", resources=resources)])
    made["metadata"]["uid"] = name
    return made


def test_allocatable_is_what_nobody_keeps() -> None:
    kept = reserved(
        kube_reserved={"cpu": "250m", "memory": "1Gi", "pid": "1k"},
        system_reserved={"ephemeral-storage": "2Gi", "pid": "500"},
    )
    held = held_back(thresholds({"memory.available": "10%", "nodefs.available": "1Gi"}), Amounts(0, 10 * GIB, 50 * GIB))
    assert (kept, held) == (Amounts(250, GIB, 2 * GIB, 1500), Amounts(0, GIB, GIB))
    whole = Amounts(2000, 10 * GIB, 50 * GIB, 4000)
    assert whole.less(kept).less(held) == Amounts(1750, 8 * GIB, 47 * GIB, 2500)
    assert Amounts(100, 1, 1).less(kept) == Amounts(0, 0, 0)


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"gpu": "1"}, 'system_reserved: "gpu" cannot be reserved; cpu, memory, ephemeral-storage, pid can'),
        ({"memory": "much"}, 'system_reserved: "much" of memory is no quantity'),
        ({"cpu": "-1"}, "system_reserved: cpu must not be negative"),
    ],
)
def test_bad_reservations_are_refused_by_name(amounts: dict[str, str], message: str) -> None:
    with pytest.raises(BadReservation, match=message):
        NodeSettings(system_reserved=amounts)


def test_each_quality_of_service_has_its_branch() -> None:
    same = {"cpu": "1", "memory": "1Gi"}
    for made, below in (
        (asking(limits=same, **same), "/pod"),
        (asking(cpu="1"), "/burstable/pod"),
        (asking(), "/besteffort/pod"),
    ):
        assert qos.cgroup_of(SETTINGS, made) == f"{SETTINGS.cgroup}/kubepods{below}p"
        assert qos.cgroup_of(SETTINGS, made) in qos.possible(SETTINGS, "p")


@pytest.mark.parametrize("version", [1, 2])
def test_the_branches_hold_all_pods_and_share_the_processors(tmp_path: Path, version: int) -> None:
    def there(hierarchy: str, cgroup: str, file: str) -> str:
        base = tmp_path if version == 2 else tmp_path / hierarchy
        return (base / cgroup.lstrip("/") / file).read_text()

    if version == 2:
        # The kernel makes this file in every cgroup.
        for level in reversed(Path(qos.of_all(SETTINGS).lstrip("/"), "burstable").parents):
            (tmp_path / level).mkdir(exist_ok=True, parents=True)
            (tmp_path / level / "cgroup.controllers").write_text("cpu memory pids io")
    if version == 1:
        for hierarchy in ("cpu", "memory", "pids"):
            (tmp_path / hierarchy).mkdir()
    qos.prepare(SETTINGS, Amounts(1500, 3 * GIB, 0, 30_000), tmp_path)
    everything, burstable = qos.of_all(SETTINGS), f"{qos.of_all(SETTINGS)}/burstable"
    names = ("memory.limit_in_bytes", "cpu.shares") if version == 1 else ("memory.max", "cpu.weight")
    weigh = str if version == 1 else lambda shares: str(cgroups.weight(shares))
    assert there("memory", everything, names[0]) == str(3 * GIB)
    assert there("cpu", everything, names[1]) == weigh(1536)
    assert there("pids", everything, "pids.max") == "30000"
    assert there("cpu", burstable, names[1]) == weigh(2)
    ended = {**asking("d", cpu="1"), "status": {"phase": "Succeeded"}}
    qos.share_out(SETTINGS, [asking("a", cpu="500m"), asking("b", cpu="1500m"), asking("c"), ended], tmp_path)
    assert there("cpu", burstable, names[1]) == weigh(2048)


def test_pods_are_found_and_removed_on_every_branch(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        guaranteed, burstable = {"limits": {"cpu": "1", "memory": "1Mi"}}, {"requests": {"cpu": "200m"}}
        kinds: dict[str, Any] = {"g": guaranteed, "b": burstable, "e": {}}
        for name, resources in kinds.items():
            await world.create(pod(name, containers=[container("app", resources=resources)]))
            await world.wait(lambda one: one["phase"] == "Running", name)
        memory = world.tools.cgroup_root / "memory"
        made = {one.parent.name for one in memory.glob("**/pod*")}
        assert made == {"kubepods", "burstable", "besteffort"}
        shares = world.tools.cgroup_root / "cpu" / qos.of_all(world.tools.settings).lstrip("/") / "burstable/cpu.shares"
        assert shares.read_text() == "204"
        for file in [*world.tools.cgroup_root.glob("**/pod*/*")]:
            file.unlink()  # the kernel's files go with their cgroup
        for name in kinds:
            await world.delete(name, grace=0)
        await asyncio.sleep(5)
        assert not list(memory.glob("**/pod*"))
        assert shares.read_text() == "2"

    play(tmp_path, story)


def test_a_pods_own_amounts_count_instead_of_its_containers() -> None:
    made = asking(cpu="1", memory="1Gi")
    made["spec"]["resources"] = {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}
    limits = cgroups.pod_limits(made, 0)
    assert (limits.cpu_request, limits.cpu_limit, limits.memory_limit) == (2000, 3000, 0)


def test_the_node_and_sidecars_are_not_killed_before_whom_they_serve() -> None:
    made = asking(memory="512Mi")
    made["spec"]["initContainers"] = [container("side", restartPolicy="Always")]
    side, app = made["spec"]["initContainers"][0], made["spec"]["containers"][0]
    assert oom_score(made, app, GIB) == oom_score(made, side, GIB) == 500
    made["spec"]["priorityClassName"] = "system-node-critical"
    assert oom_score(made, side, GIB) == -997
