"""What processes may do and what they are kept from: profiles, mounts, devices of the host, other users, ends."""

from __future__ import annotations

import json

from tests.machines.pods.cases import Cases, World, mounted, phase_of, statuses

from kontinuum.api.machinery.objects import Object

CASES = Cases("Rights: profiles, mounts, the host's files, groups, ends")
EVERY = ("container", "sandbox", "microvm")


@CASES.add()
async def a_profile_keeps_processes_from_calls(world: World) -> None:
    """One of the node's own (``Localhost``), the runtime's, and none; each for one container of the same pod."""
    profiles = world.kubeconfig.parent / "seccomp" / world.namespace
    profiles.mkdir(parents=True)
    calls = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]
    (profiles / "no-directories.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}))
    script = "mkdir /tmp/made 2>/dev/null && echo made || echo refused; unshare -m true 2>/dev/null && echo apart"
    pod = world.pod(f"{script}; true", restartPolicy="Never")
    main = pod["spec"]["containers"][0]
    wanted = {
        "own": {"type": "Localhost", "localhostProfile": f"{world.namespace}/no-directories.json"},
        "default": {"type": "RuntimeDefault"},
        "none": {"type": "Unconfined"},
    }
    pod["spec"]["containers"] = [
        {**main, "name": name, "securityContext": {"seccompProfile": profile}} for name, profile in wanted.items()
    ]
    name = (await world.ended(pod))["metadata"]["name"]
    assert (await world.logs(name, "own")).split()[0] == "refused"
    assert (await world.logs(name, "default")).split() == ["made"]
    assert (await world.logs(name, "none")).split()[0] == "made"


@CASES.add(refused=("sandbox", "microvm"))
async def mounts_reach_other_pods_where_that_is_asked_for(world: World) -> None:
    volumes = [
        {
            "name": "shared",
            "hostPath": {"path": f"{world.kubeconfig.parent}/{world.namespace}", "type": "DirectoryOrCreate"},
        }
    ]
    there = world.pod(
        "until [ -f /shared/inside/word ]; do sleep 0.2; done; cat /shared/inside/word",
        name="reader", volumes=volumes, restartPolicy="Never",
        container={"volumeMounts": [mounted("shared", "/shared", mountPropagation="HostToContainer")]},
    )  # fmt: skip
    name = (await world.start(there))["metadata"]["name"]
    giver = world.pod(
        "mkdir -p /shared/inside && mount -t tmpfs none /shared/inside && echo passed on > /shared/inside/word; "
        "trap 'umount /shared/inside; exit' TERM; while :; do sleep 0.2; done",
        name="giver", volumes=volumes, terminationGracePeriodSeconds=20,
        container={"securityContext": {"privileged": True},
                   "volumeMounts": [mounted("shared", "/shared", mountPropagation="Bidirectional")]},
    )  # fmt: skip
    await world.start(giver)
    await world.pod_that(name, lambda one: phase_of(one) == "Succeeded", "to see the mount")
    assert (await world.logs(name)).strip() == "passed on"
    await world.delete("Pod", giver["metadata"]["name"])
    await world.gone("Pod", giver["metadata"]["name"])


def makes_users(node: Object, isolation_class: str) -> bool:
    told = {one["name"]: one["features"] for one in node["status"]["runtimeHandlers"]}
    return bool(told[isolation_class]["userNamespaces"])


@CASES.add(classes=EVERY, refused=EVERY, unless=makes_users)
async def users_of_a_pod_are_not_those_of_the_host(world: World) -> None:
    script = (
        "cat /proc/self/uid_map; echo mine > /v/file; stat -c %u /v/file /etc/hosts; chown 33 /v/file && echo given"
    )
    mounts = {"volumeMounts": [mounted("v", "/v")]}
    pod = world.pod(script, hostUsers=False, volumes=[{"name": "v", "emptyDir": {}}], container=mounts)
    users, *rest = await world.printed(pod)
    inside, outside, count = map(int, users.split())
    assert (inside, count) == (0, 65536) and outside % 65536 == 0 < outside
    assert rest == ["0", "0", "given"]


@CASES.add(classes=EVERY, refused=EVERY)
async def a_profile_of_apparmor_is_held(world: World) -> None:
    await world.printed(world.pod("true", securityContext={"appArmorProfile": {"type": "RuntimeDefault"}}))


def knows_policies_of_groups(node: Object, isolation_class: str) -> bool:
    return bool(node["status"]["features"]["supplementalGroupsPolicy"])


@CASES.add(classes=EVERY, refused=EVERY, unless=knows_policies_of_groups)
async def groups_of_the_image_are_left_out(world: World) -> None:
    context = {"supplementalGroupsPolicy": "Strict", "runAsUser": 33, "runAsGroup": 7, "supplementalGroups": [9]}
    pod = world.pod("id -G", securityContext=context)
    assert await world.printed(pod) == ["7 9"]
    [shown] = (await world.get("Pod", pod["metadata"]["name"]))["status"]["containerStatuses"]
    assert shown["user"] == {"linux": {"uid": 33, "gid": 7, "supplementalGroups": [7, 9]}}


@CASES.add(classes=EVERY, refused=EVERY)
async def kernel_parameters_that_may_harm_others_are_set(world: World) -> None:
    context = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
    await world.printed(world.pod("true", securityContext=context))


@CASES.add(refused=("sandbox", "microvm"))
async def processes_of_the_host_are_seen(world: World) -> None:
    printed = await world.printed(world.pod("ps | grep -c '[c]ontainerd --config'", hostPID=True))
    assert int(printed[0]) >= 1


@CASES.add()
async def paths_of_the_host_are_what_they_are_said_to_be(world: World) -> None:
    """Each type once; one that is not what is said keeps its pod waiting and says why."""
    top = f"{world.kubeconfig.parent}/{world.namespace}"
    paths = {
        "made": {"path": f"{top}/made", "type": "DirectoryOrCreate"},
        "there": {"path": top, "type": "Directory"},
        "file": {"path": f"{top}/file", "type": "FileOrCreate"},
    }
    volumes: list[Object] = [{"name": name, "hostPath": source} for name, source in paths.items()]
    mounts = [mounted(name, f"/{name}") for name in paths]
    script = "[ -d /made ] && [ -d /there/made ] && [ -f /file ] && echo right"
    assert await world.printed(world.pod(script, volumes=volumes, container={"volumeMounts": mounts})) == ["right"]
    no_directory: Object = {"name": "v", "hostPath": {"path": f"{top}/file", "type": "Directory"}}
    wrong = world.pod(name="wrong", volumes=[no_directory], container={"volumeMounts": [mounted("v", "/v")]})
    await world.running(world.pod(name="unused", volumes=[no_directory]))
    await world.delete("Pod", world.name("unused"), grace_seconds=0)
    await world.start(wrong)
    await world.event_that(wrong["metadata"]["name"], "FailedMount", "is not a directory")
    await world.delete("Pod", wrong["metadata"]["name"], grace_seconds=0)


@CASES.add()
async def a_container_s_own_rules_say_after_which_end_it_runs_again(world: World) -> None:
    """One that ends with 42 is started again, another is not, and the pod ends when both have."""
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    again = "echo x >> /v/starts; [ $(wc -l < /v/starts) -ge 2 ] && exit 0; exit 42"
    pod = world.pod(again, restartPolicy="Never", volumes=[{"name": "v", "emptyDir": {}}],
                    container={"restartPolicy": "Never", "restartPolicyRules": rules,
                               "volumeMounts": [mounted("v", "/v")]})  # fmt: skip
    main = pod["spec"]["containers"][0]
    pod["spec"]["containers"].append({**main, "name": "other", "command": ["/bin/sh", "-c", "exit 3"]})
    ended = await world.ended(pod, "Failed")
    assert {name: one["restartCount"] for name, one in statuses(ended).items()} == {"main": 1, "other": 0}
    assert statuses(ended)["other"]["state"]["terminated"]["exitCode"] == 3


@CASES.add()
async def a_volume_s_files_are_given_to_the_pod_s_group(world: World) -> None:
    script = "touch /v/mine && stat -c %g /v/mine && id -G | tr ' ' '\\n' | grep -c '^2000$'"
    context = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000, "fsGroupChangePolicy": "OnRootMismatch"}
    pod = world.pod(script, securityContext=context, volumes=[{"name": "v", "emptyDir": {}}],
                    container={"volumeMounts": [mounted("v", "/v")]})  # fmt: skip
    assert await world.printed(pod) == ["2000", "1"]


test_rights = CASES.test()
