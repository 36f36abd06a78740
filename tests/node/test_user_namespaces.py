"""Pods with users of their own never share one, whatever comes and goes and is started again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.node.world import World, container, play, pod, state

from kontinuum.api.cri.messages import CALLS
from kontinuum.node import user_namespaces
from kontinuum.node.port import Features
from kontinuum.node.user_namespaces import LENGTH, BadNote, BadRange, NoUsersLeft, UserNamespaces, Users, range_of

NOWHERE = (Path("/nonexistent/subuid"), Path("/nonexistent/subgid"))


@given(some.lists(some.tuples(some.sampled_from(["begin", "end", "begin again"]), some.integers(0, 6)), max_size=30))
def test_no_two_pods_have_a_user_in_common(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Each step is taken by a node agent that knows nothing but what is on the disk."""
    pods = tmp_path_factory.mktemp("pods")
    alive: dict[str, Users] = {}
    for step, number in steps:
        uid = f"pod{number}"
        agent = UserNamespaces(pods, most_pods=4, subordinates=NOWHERE)
        if step == "end":
            shutil.rmtree(pods / uid, ignore_errors=True)
            alive.pop(uid, None)
        elif uid in alive:
            assert agent.of(uid) == alive[uid]
        elif len(alive) == 4:
            with pytest.raises(NoUsersLeft):
                agent.of(uid)
        else:
            alive[uid] = agent.of(uid)
        firsts = [users.first for users in alive.values()]
        assert len(set(firsts)) == len(firsts)
        assert all(first % LENGTH == 0 and LENGTH <= first <= 4 * LENGTH for first in firsts)


@pytest.mark.parametrize(
    ("subuid", "subgid", "expected"),
    [
        ("", "", range(65536, 65536 * 3, 65536)),
        ("somebody:100000:65536\n", "", range(65536, 65536 * 3, 65536)),
        ("kubelet:131072:196608\n", "kubelet:131072:196608", range(131072, 327680, 65536)),
        ("kubelet:65536:131072\n", "", "other numbers"),
        ("kubelet:65537:131072\n", "kubelet:65537:131072", "multiples of 65536"),
        ("kubelet:0:131072\n", "kubelet:0:131072", "multiples of 65536"),
        ("kubelet:65536:65536\n", "kubelet:65536:65536", "not enough for 2 pods"),
        ("kubelet:65536:65536\nkubelet:131072:65536", "kubelet:65536:65536\nkubelet:131072:65536", "it may have one"),
        ("kubelet:many\n", "", "NAME:FIRST:COUNT"),
    ],
)
def test_pods_have_the_users_that_the_administrator_gave_them(subuid: str, subgid: str, expected: range | str) -> None:
    if isinstance(expected, range):
        assert range_of(subuid, subgid, most_pods=2) == expected
    else:
        with pytest.raises(BadRange, match=expected):
            range_of(subuid, subgid, most_pods=2)


@pytest.mark.parametrize(
    "said", ["[]", "{", '{"uidMappings": [], "gidMappings": []}', '{"uidMappings": [{"hostId": 1}]}']
)
def test_users_are_given_to_nobody_while_it_is_not_known_whose_they_are(tmp_path: Path, said: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "userns").write_text(said)
    with pytest.raises(BadNote):
        UserNamespaces(tmp_path, most_pods=4, subordinates=NOWHERE).of("mine")


def options(config: dict[str, Any]) -> Any:
    return config["linux"]["security_context"]["namespace_options"].get("userns_options")


def test_a_pod_and_its_containers_and_mounts_are_of_its_own_users(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        mounts = [{"name": "v", "mountPath": "/v"}]
        for name in ("p", "q"):
            volumes = [{"name": "v", "emptyDir": {}}]
            parts = [container("app", volumeMounts=mounts)]
            await world.create(pod(name, hostUsers=False, volumes=volumes, containers=parts))
            await world.wait(lambda status: "running" in state(status), name)

    world = play(tmp_path, story, Features(user_namespaces=frozenset({""})))
    by_user: dict[int, list[dict[str, Any]]] = {}
    for config in world.runtime.configs:
        by_user.setdefault(options(config)["uids"][0]["host_id"], []).append(config)
    assert sorted(by_user) == [LENGTH, 2 * LENGTH]
    for sandbox, part in by_user.values():
        (ids,) = options(sandbox)["uids"]
        assert options(sandbox) == options(part) == {"mode": 0, "uids": [ids], "gids": [ids]}
        assert (ids["container_id"], ids["length"]) == (0, LENGTH)
        assert len(part["mounts"]) == 3 and all(
            one["uidMappings"] == one["gidMappings"] == [ids] for one in part["mounts"]
        )
        # The wire knows every word of it.
        CALLS["RunPodSandbox"].request(config=sandbox)
        CALLS["CreateContainer"].request(config=part)


def test_who_wants_the_hosts_users_is_not_mapped(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(hostUsers=True))
        await world.wait(lambda status: "running" in state(status))

    configs = play(tmp_path, story).runtime.configs
    assert len(configs) == 2 and not any(map(options, configs))


def test_a_runtime_that_makes_no_user_namespaces_is_told_in_the_kubelets_words(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(hostUsers=False))
        await asyncio.sleep(5)

    world = play(tmp_path, story)
    said = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
    refused = f"hostUsers: false is not offered by the isolation class container: {said}"
    assert ("FailedCreatePodSandBox", f"Failed to create pod sandbox: {refused}") in world.events.told
    assert world.runtime.configs == []
    assert user_namespaces.unsupported("other").startswith(
        'can\'t set `spec.hostUsers: false`, RuntimeClass handler "other" does'
    )
