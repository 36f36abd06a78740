"""Deployments, DaemonSets, StatefulSets and Jobs with pods that really run.

What their controllers decide is held in virtual time; here it is held that the whole chain, from the object to the
processes and back, does what a user expects. Isolation changes nothing of it: containers stand for all classes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.machines.pods.cases import Cases, World, is_ready, phase_of, statuses, until

from kontinuum.api.machinery.objects import Object

CASES = Cases("Workloads of controllers")
CONTAINERS = ("container",)


def template(world: World, name: str, script: str = "sleep 100000", **spec: Any) -> Object:
    """A pod template whose pods carry the label ``app=name``."""
    pod = world.pod(script, **spec)
    return {"metadata": {"labels": {"app": name}, **pod["metadata"].get("extra", {})}, "spec": pod["spec"]}


def ready_when(path: str) -> Object:
    """A container that is ready while the file exists."""
    return {"readinessProbe": {"exec": {"command": ["test", "-f", path]}, "periodSeconds": 1}}


async def pods_of(world: World, name: str) -> list[Object]:
    found = await world.client.list(world.resource("Pod"), namespace=world.namespace, labels=f"app={name}")
    return sorted(found.items, key=lambda one: str(one["metadata"]["name"]))


async def that(world: World, kind: str, name: str, is_so: Any, what: str) -> Object:
    """The object once ``is_so(object)``."""

    async def look() -> Object | None:
        found = await world.get(kind, name)
        return found if is_so(found) else None

    found: Object = await until(f"{kind} {name} {what}", look)
    return found


def rolled_out(deployment: Object) -> bool:
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    return (
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas") == status.get("replicas") == status.get("availableReplicas") == wanted
    )


async def finished(world: World, job: str, kind: str = "Complete") -> Object:
    def is_so(one: Object) -> bool:
        return any(
            c["type"] == kind and c["status"] == "True" for c in (one.get("status") or {}).get("conditions") or ()
        )

    return await that(world, "Job", job, is_so, f"to be {kind}")


# -- replicas


@CASES.add(
    pytest.mark.behaviour(
        "ReplicaSet should serve a basic image on each replica with a public image",
        "ReplicationController should serve a basic image on each replica with a public image",
    ),
    classes=CONTAINERS,
)
async def each_replica_serves(world: World) -> None:
    serve = "mkdir /w; hostname > /w/index.html; httpd -f -p 9376 -h /w"
    for kind, selector in (("ReplicaSet", {"matchLabels": {"app": "rs"}}), ("ReplicationController", {"app": "rc"})):
        name = "rs" if kind == "ReplicaSet" else "rc"
        spec = {"replicas": 2, "selector": selector, "template": template(world, name, serve)}
        await world.create(kind, world.name(name), spec=spec)
        await that(world, kind, world.name(name), lambda one: (one.get("status") or {}).get("readyReplicas") == 2,
                   "to be ready")  # fmt: skip
        for pod in await pods_of(world, name):
            ip, own = pod["status"]["podIP"], pod["metadata"]["name"]

            async def asked(own: str = own, ip: str = ip) -> str:
                # A container runs before its program listens.
                return (await world.run(own, "wget", "-qO-", f"http://{ip}:9376/"))[1].strip()

            assert await until(f"{own} to serve", asked) == own
        await world.delete(kind, world.name(name))


# -- Deployments


@CASES.add(
    pytest.mark.behaviour(
        "Deployment RollingUpdateDeployment should delete old pods and create new ones",
        "Deployment deployment should delete old replica sets",
        "Deployment deployment should support rollover",
    ),
    classes=CONTAINERS,
)
async def a_deployment_rolls_and_rolls_over(world: World) -> None:
    name = world.name()
    spec = {
        "replicas": 2,
        "revisionHistoryLimit": 0,
        "selector": {"matchLabels": {"app": "roll"}},
        "template": template(world, "roll"),
    }
    await world.create("Deployment", name, spec=spec)
    await that(world, "Deployment", name, rolled_out, "to be rolled out")
    first = {pod["metadata"]["name"] for pod in await pods_of(world, "roll")}

    # One that never comes up, and over it, before it has failed, one that does.
    broken = template(world, "roll", container={"image": "localhost/none:1", "imagePullPolicy": "Never"})
    await world.patch("Deployment", name, {"spec": {"template": broken}})
    await that(world, "Deployment", name, lambda one: one["status"].get("updatedReplicas"), "to have begun")
    good = template(world, "roll", "sleep 200000")
    good["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    await world.patch("Deployment", name, {"spec": {"template": good}})
    await that(world, "Deployment", name, rolled_out, "to have rolled over")

    async def only_new() -> bool:
        pods = await pods_of(world, "roll")
        return len(pods) == 2 and first.isdisjoint(pod["metadata"]["name"] for pod in pods)

    await until("only new pods", only_new)

    async def only_one_set() -> bool:
        found = await world.client.list(world.resource("ReplicaSet"), namespace=world.namespace, labels="app=roll")
        return len(found.items) == 1

    await until("old replica sets to be gone", only_one_set)
    await world.delete("Deployment", name)


@CASES.add(
    pytest.mark.behaviour("Deployment RecreateDeployment should delete old pods and create new ones"),
    classes=CONTAINERS,
)
async def a_deployment_is_recreated(world: World) -> None:
    """No old pod runs beside a new one: both would take the same port of the host."""
    name = world.name()
    ports = {"ports": [{"containerPort": 80, "hostPort": 17654}]}
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": "again"}},
        "template": template(world, "again", container=ports),
    }
    await world.create("Deployment", name, spec=spec)
    await that(world, "Deployment", name, rolled_out, "to be rolled out")
    await world.patch(
        "Deployment", name, {"spec": {"template": template(world, "again", "sleep 200000", container=ports)}}
    )
    await that(world, "Deployment", name, rolled_out, "to be rolled out again")
    (pod,) = [one for one in await pods_of(world, "again") if not one["metadata"].get("deletionTimestamp")]
    assert pod["spec"]["containers"][0]["command"][-1] == "sleep 200000"
    await world.delete("Deployment", name)


@CASES.add(pytest.mark.behaviour("Deployment deployment should support proportional scaling"), classes=CONTAINERS)
async def a_deployment_in_the_middle_of_a_rollout_scales_both_sides(world: World) -> None:
    name = world.name()
    spec = {
        "replicas": 5,
        "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
        "selector": {"matchLabels": {"app": "proportion"}},
        "template": template(world, "proportion"),
    }
    await world.create("Deployment", name, spec=spec)
    await that(world, "Deployment", name, rolled_out, "to be rolled out")
    broken = template(world, "proportion", container={"image": "localhost/none:1", "imagePullPolicy": "Never"})
    await world.patch("Deployment", name, {"spec": {"template": broken}})

    async def sizes() -> list[int]:
        found = await world.client.list(
            world.resource("ReplicaSet"), namespace=world.namespace, labels="app=proportion"
        )
        return sorted(one["spec"]["replicas"] for one in found.items)

    async def are(wanted: list[int]) -> bool:
        return await sizes() == wanted

    await until("3 old and 5 new replicas", lambda: are([3, 5]))
    await world.patch("Deployment", name, {"spec": {"replicas": 10}})
    # 13 may exist: the 5 that came on top are shared in proportion of 3 to 5.
    await until("both to have grown", lambda: are([5, 8]))
    await world.delete("Deployment", name)


# -- DaemonSets


@CASES.add(
    pytest.mark.behaviour(
        "Daemon set should run and stop simple daemon",
        "Daemon set should retry creating failed daemon pods",
        "Daemon set should update pod when spec was updated and update strategy is RollingUpdate",
    ),
    classes=CONTAINERS,
)
async def a_daemon_runs_and_comes_back_and_changes(world: World) -> None:
    name = world.name()
    spec = {"selector": {"matchLabels": {"app": "daemon"}}, "template": template(world, "daemon")}
    await world.create("DaemonSet", name, spec=spec)

    async def one_ready(script: str, unlike: str = "") -> Object | None:
        pods = [one for one in await pods_of(world, "daemon") if not one["metadata"].get("deletionTimestamp")]
        fits = len(pods) == 1 and is_ready(pods[0]) and pods[0]["metadata"]["uid"] != unlike
        return pods[0] if fits and pods[0]["spec"]["containers"][0]["command"][-1] == script else None

    pod = await until("a daemon pod", lambda: one_ready("sleep 100000"))
    await world.delete("Pod", pod["metadata"]["name"])
    pod = await until("another daemon pod", lambda: one_ready("sleep 100000", pod["metadata"]["uid"]))

    failed = {"status": {"phase": "Failed", "reason": "ByATest"}}
    await world.patch("Pod", pod["metadata"]["name"], failed, subresource="status")
    await until("a daemon pod after the failed one", lambda: one_ready("sleep 100000", pod["metadata"]["uid"]))

    await world.patch("DaemonSet", name, {"spec": {"template": template(world, "daemon", "sleep 200000")}})
    await until("a daemon pod of the new template", lambda: one_ready("sleep 200000"))
    await world.delete("DaemonSet", name)

    async def none() -> bool:
        return not await pods_of(world, "daemon")

    await until("no daemon pod", none)


@CASES.add(pytest.mark.behaviour("Daemon set should run and stop complex daemon"), classes=CONTAINERS)
async def a_daemon_follows_the_node_s_labels(world: World) -> None:
    name, label = world.name(), f"{world.namespace}.test/color"
    selector = {"nodeSelector": {label: "blue"}}
    spec = {"selector": {"matchLabels": {"app": "colour"}}, "template": template(world, "colour", **selector)}
    await world.create("DaemonSet", name, spec=spec)
    (node,) = (await world.client.list(world.resource("Node"))).items

    async def has(count: int) -> bool:
        return len([one for one in await pods_of(world, "colour") if is_ready(one)]) == count

    async def paint(colour: str | None) -> None:
        patch = {"metadata": {"labels": {label: colour}}}
        await world.client.patch(world.resource("Node"), node["metadata"]["name"], patch)

    await that(
        world, "DaemonSet", name, lambda one: (one.get("status") or {}).get("observedGeneration") == 1, "to be seen"
    )
    assert not await pods_of(world, "colour")
    await paint("blue")
    await until("a pod on the blue node", lambda: has(1))
    await paint("green")
    await until("no pod on the green node", lambda: has(0))
    green = template(world, "colour", nodeSelector={label: "green"})
    await world.patch("DaemonSet", name, {"spec": {"template": green, "updateStrategy": {"type": "RollingUpdate"}}})
    await until("a pod on the green node", lambda: has(1))
    await paint(None)
    await world.delete("DaemonSet", name)


@CASES.add(pytest.mark.behaviour("Daemon set should rollback without unnecessary restarts"), classes=CONTAINERS)
async def a_daemon_goes_back_without_a_restart(world: World) -> None:
    """On one node the only pod is either of the broken template, and replaced, or untouched."""
    name = world.name()
    broken = template(world, "back", container={"image": "localhost/none:1", "imagePullPolicy": "Never"})
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    spec = {
        "selector": {"matchLabels": {"app": "back"}},
        "template": template(world, "back"),
        "updateStrategy": strategy,
    }
    await world.create("DaemonSet", name, spec=spec)
    await that(world, "DaemonSet", name, lambda one: (one.get("status") or {}).get("numberReady") == 1, "to be ready")
    (before,) = await pods_of(world, "back")
    await world.patch("DaemonSet", name, {"spec": {"template": broken}})

    async def both() -> bool:
        return len(await pods_of(world, "back")) == 2

    await until("a broken pod beside the good one", both)
    good = template(world, "back")
    good["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    await world.patch("DaemonSet", name, {"spec": {"template": good}})

    async def one() -> bool:
        return [pod["metadata"]["uid"] for pod in await pods_of(world, "back")] == [before["metadata"]["uid"]]

    await until("only the good pod, which was never touched", one)
    (after,) = await pods_of(world, "back")
    assert statuses(after)["main"]["restartCount"] == 0
    await world.delete("DaemonSet", name)


# -- StatefulSets


async def stateful(world: World, app: str, replicas: int, **spec: Any) -> str:
    """A StatefulSet whose pods are ready while /ready exists in them, which it does from the start."""
    name = world.name()
    script = "touch /ready; trap 'exit 0' TERM; while :; do sleep 0.2; done"
    await world.create(
        "StatefulSet",
        name,
        spec={
            "replicas": replicas,
            "serviceName": "test",
            "selector": {"matchLabels": {"app": app}},
            "template": template(world, app, script, container=ready_when("/ready")),
            **spec,
        },
    )
    return name


async def ordinals_ready(world: World, app: str) -> list[bool]:
    return [is_ready(one) for one in await pods_of(world, app)]


@CASES.add(
    pytest.mark.behaviour(
        "StatefulSet Basic StatefulSet functionality Scaling should happen in predictable order and halt if any "
        "stateful pod is unhealthy",
    ),
    classes=CONTAINERS,
)
async def a_stateful_set_scales_in_order_and_waits_for_the_unwell(world: World) -> None:
    name = await stateful(world, "ordered", 1)
    await that(
        world, "StatefulSet", name, lambda one: (one.get("status") or {}).get("readyReplicas") == 1, "to be ready"
    )
    await world.execute(f"{name}-0", "rm /ready")
    await world.pod_that(f"{name}-0", lambda one: not is_ready(one), "to be unwell")
    await world.patch("StatefulSet", name, {"spec": {"replicas": 3}})
    await asyncio.sleep(3)
    assert len(await pods_of(world, "ordered")) == 1
    await world.execute(f"{name}-0", "touch /ready")
    await that(world, "StatefulSet", name, lambda one: one["status"].get("readyReplicas") == 3, "to be ready again")
    born = [one["metadata"]["creationTimestamp"] for one in await pods_of(world, "ordered")]
    assert born == sorted(born)

    # The last goes first; being unwell, it stays as long as one before it is unwell too.
    for ordinal in range(3):
        await world.execute(f"{name}-{ordinal}", "rm /ready")
    await that(world, "StatefulSet", name, lambda one: not one["status"].get("readyReplicas"), "to be unwell")
    await world.patch("StatefulSet", name, {"spec": {"replicas": 0}})
    await asyncio.sleep(3)
    assert len(await pods_of(world, "ordered")) == 3
    # With these two well again it is the only one that is not, and goes.
    for ordinal in range(2):
        await world.execute(f"{name}-{ordinal}", "touch /ready")

    async def none() -> bool:
        return not await pods_of(world, "ordered")

    await until("no pod to be left", none)
    await world.delete("StatefulSet", name)


@CASES.add(
    pytest.mark.behaviour(
        "StatefulSet Basic StatefulSet functionality Burst scaling should run to completion even with unhealthy pods"
    ),
    classes=CONTAINERS,
)
async def a_stateful_set_that_need_not_wait_does_not(world: World) -> None:
    name = await stateful(world, "burst", 1, podManagementPolicy="Parallel")
    await that(
        world, "StatefulSet", name, lambda one: (one.get("status") or {}).get("readyReplicas") == 1, "to be ready"
    )
    await world.execute(f"{name}-0", "rm /ready")
    await world.pod_that(f"{name}-0", lambda one: not is_ready(one), "to be unwell")
    await world.patch("StatefulSet", name, {"spec": {"replicas": 3}})
    await that(world, "StatefulSet", name, lambda one: one["status"].get("readyReplicas") == 2, "to be ready but one")
    await world.patch("StatefulSet", name, {"spec": {"replicas": 0}})

    async def none() -> bool:
        return not await pods_of(world, "burst")

    await until("no pod to be left", none)
    await world.delete("StatefulSet", name)


@CASES.add(
    pytest.mark.behaviour(
        "StatefulSet Basic StatefulSet functionality should perform rolling updates and roll backs of template "
        "modifications",
        "StatefulSet Basic StatefulSet functionality should perform canary updates and phased rolling updates of "
        "template modifications",
    ),
    classes=CONTAINERS,
)
async def a_stateful_set_rolls_from_the_end_and_in_phases(world: World) -> None:
    name = await stateful(world, "roll-sts", 3)
    await that(
        world, "StatefulSet", name, lambda one: (one.get("status") or {}).get("readyReplicas") == 3, "to be ready"
    )
    first = (await world.get("StatefulSet", name))["status"]["currentRevision"]

    async def to(word: str, partition: int) -> str:
        """Change the template, from ``partition`` on; the new revision, once all that should have it do."""
        annotated = {"metadata": {"annotations": {"word": word}}}
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
        changed = await world.patch("StatefulSet", name, {"spec": {"template": annotated, "updateStrategy": strategy}})

        async def done() -> bool:
            found = await world.get("StatefulSet", name)
            if found["status"].get("observedGeneration") != changed["metadata"]["generation"]:
                return False
            words = [one["metadata"].get("annotations", {}).get("word") for one in await pods_of(world, "roll-sts")]
            return len(words) == 3 and words[partition:] == [word] * (3 - partition) and all(
                await ordinals_ready(world, "roll-sts"))  # fmt: skip

        await until(f"the pods from {partition} on to say {word}", done)
        return str((await world.get("StatefulSet", name))["status"]["updateRevision"])

    second = await to("canary", 2)
    assert second != first
    revisions = [one["metadata"]["labels"]["controller-revision-hash"] for one in await pods_of(world, "roll-sts")]
    assert revisions == [first, first, second]
    # One that is deleted comes back as what it was.
    await world.delete("Pod", f"{name}-0")
    await world.pod_that_is_new(f"{name}-0")
    assert (await world.get("Pod", f"{name}-0"))["metadata"]["labels"]["controller-revision-hash"] == first
    assert await to("canary", 0) == second
    assert await to("back", 0) != second
    await world.delete("StatefulSet", name)


@CASES.add(
    pytest.mark.behaviour("StatefulSet Basic StatefulSet functionality Should recreate evicted statefulset"),
    classes=CONTAINERS,
)
async def a_stateful_pod_that_cannot_stay_comes_back(world: World) -> None:
    """A pod of ours holds the port of the host that the set's pod wants, and lets it go."""
    port = {"ports": [{"containerPort": 21017, "hostPort": 21017}]}
    (node,) = (await world.client.list(world.resource("Node"))).items
    on_node = {"nodeName": node["metadata"]["name"]}
    await world.running(world.pod(name="holder", container=port, **on_node))
    name = world.name()
    await world.create(
        "StatefulSet", name,
        spec={"replicas": 1, "serviceName": "test", "selector": {"matchLabels": {"app": "evicted"}},
              "template": template(world, "evicted", container=port, **on_node)},
    )  # fmt: skip
    seen: set[str] = set()

    async def tried() -> bool:
        for one in await pods_of(world, "evicted"):
            if phase_of(one) == "Failed":
                seen.add(one["metadata"]["uid"])
        return bool(seen)

    await until("the set's pod to be refused by the node", tried)
    await world.delete("Pod", world.name("holder"))
    found = await world.pod_that_is_new(f"{name}-0")
    assert found["metadata"]["uid"] not in seen
    await world.delete("StatefulSet", name)


# -- Jobs


async def job(world: World, name: str, script: str, **spec: Any) -> str:
    pod = template(world, name, script, restartPolicy=spec.pop("restartPolicy", "Never"))
    await world.create("Job", world.name(name), spec={"template": pod, **spec})
    return world.name(name)


@CASES.add(
    pytest.mark.behaviour(
        "Job should create pods for an Indexed job with completion indexes and specified hostname",
        "Job should run a job to completion when tasks sometimes fail and are locally restarted",
        "Job should delete a job",
    ),
    classes=CONTAINERS,
)
async def jobs_run_to_their_end(world: World) -> None:
    indexed = await job(world, "indexed", 'echo "$JOB_COMPLETION_INDEX $(hostname)"', completions=2, parallelism=2,
                        completionMode="Indexed")  # fmt: skip
    script = "[ -f /data/$(hostname) ] && exit 0; touch /data/$(hostname); exit 1"
    volume = {"volumes": [{"name": "data", "emptyDir": {}}]}
    pod = template(world, "local", script, restartPolicy="OnFailure", **volume,
                   container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]})  # fmt: skip
    await world.create("Job", world.name("local"), spec={"template": pod, "completions": 3, "parallelism": 2})
    assert (await finished(world, indexed))["status"]["completedIndexes"] == "0,1"
    said = {(await world.logs(one["metadata"]["name"])).strip() for one in await pods_of(world, "indexed")}
    assert said == {f"0 {indexed}-0", f"1 {indexed}-1"}
    assert (await finished(world, world.name("local")))["status"]["succeeded"] == 3

    forever = await job(world, "forever", "sleep 100000", parallelism=2, completions=2)
    await that(world, "Job", forever, lambda one: (one.get("status") or {}).get("ready") == 2, "to run")
    await world.client.delete(world.resource("Job"), forever, namespace=world.namespace, propagation="Foreground")
    await world.gone("Job", forever)
    assert not await pods_of(world, "forever")


@CASES.add(
    pytest.mark.behaviour(
        "Job should allow to use the pod failure policy on exit code to fail the job early",
        "Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition",
        "Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy",
    ),
    classes=CONTAINERS,
)
async def jobs_judge_failures(world: World) -> None:
    def rule(action: str, **matches: Any) -> Object:
        return {"rules": [{"action": action, **matches}]}

    code = {"onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}}
    early = await job(world, "early", "exit 42", backoffLimit=3, podFailurePolicy=rule("FailJob", **code))
    failed = await finished(world, early, "Failed")
    assert failed["status"]["failed"] == 1
    (condition,) = [one for one in failed["status"]["conditions"] if one["type"] == "Failed"]
    assert condition["reason"] == "PodFailurePolicy"

    index = await job(world, "index", "[ $JOB_COMPLETION_INDEX = 0 ] && exit 42; exit 0", completions=2, parallelism=2,
                      completionMode="Indexed", backoffLimitPerIndex=3,
                      podFailurePolicy=rule("FailIndex", **code))  # fmt: skip
    assert (await finished(world, index, "Failed"))["status"]["failedIndexes"] == "0"

    disrupted = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    script = "trap 'exit 1' TERM; echo ready; while :; do sleep 0.1; done"
    ignoring = await job(world, "ignoring", script, backoffLimit=0, podFailurePolicy=rule("Ignore", **disrupted))
    await that(world, "Job", ignoring, lambda one: (one.get("status") or {}).get("ready") == 1, "to run")
    (pod,) = await pods_of(world, "ignoring")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": pod["metadata"]["name"], "namespace": world.namespace}}  # fmt: skip
    await world.client.create(world.resource("Pod"), eviction, name=pod["metadata"]["name"], subresource="eviction")

    async def another() -> bool:
        return any(one["metadata"]["uid"] != pod["metadata"]["uid"] and is_ready(one)
                   for one in await pods_of(world, "ignoring"))  # fmt: skip

    await until("another pod of the job", another)
    assert not ((await world.get("Job", ignoring))["status"].get("conditions") or [])
    await world.delete("Job", ignoring)


@CASES.add(
    pytest.mark.behaviour(
        "Job should execute all indexes despite some failing when using backoffLimitPerIndex",
        "Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes",
        "Job with successPolicy should succeeded when all indexes succeeded",
        "Job with successPolicy succeededCount rule should succeeded even when some indexes remain pending",
        "Job with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending",
    ),
    classes=CONTAINERS,
)
async def jobs_count_indexes(world: World) -> None:
    indexed = {"completionMode": "Indexed", "parallelism": 2}
    some = await job(
        world, "some", "exit $(( JOB_COMPLETION_INDEX % 2 ))", completions=4, backoffLimitPerIndex=1, **indexed
    )
    many = await job(world, "many", "exit 1", completions=10, backoffLimitPerIndex=0, maxFailedIndexes=1, **indexed)
    everything = await job(world, "all", "exit 0", completions=2, **indexed,
                           successPolicy={"rules": [{"succeededIndexes": "0-1"}]})  # fmt: skip
    first = "[ $JOB_COMPLETION_INDEX = 0 ] || sleep 100000"
    named = await job(world, "named", first, completions=5, **{**indexed, "parallelism": 5},
                      successPolicy={"rules": [{"succeededIndexes": "0"}]})  # fmt: skip
    counted = await job(world, "counted", first, completions=5, **{**indexed, "parallelism": 5},
                        successPolicy={"rules": [{"succeededCount": 1}]})  # fmt: skip
    status = (await finished(world, some, "Failed"))["status"]
    assert (status["completedIndexes"], status["failedIndexes"], status["succeeded"], status["failed"]) == (
        "0,2",
        "1,3",
        2,
        4,
    )
    assert (await finished(world, many, "Failed"))["status"]["failed"] >= 2
    assert (await finished(world, everything))["status"]["completedIndexes"] == "0,1"
    for name in (named, counted):
        done = await finished(world, name)
        assert done["status"]["succeeded"] == 1
        (met,) = [one for one in done["status"]["conditions"] if one["type"] == "SuccessCriteriaMet"]
        assert met["reason"] == "SuccessPolicy"


# -- evictions


@CASES.add(
    pytest.mark.behaviour("DisruptionController should block an eviction until the PDB is updated to allow it"),
    classes=CONTAINERS,
)
async def an_eviction_waits_for_its_budget(world: World) -> None:
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "budget"}}, "template": template(world, "budget")}
    await world.create("ReplicaSet", world.name(), spec=spec)
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"app": "budget"}}}
    await world.create("PodDisruptionBudget", world.name(), spec=budget)
    await that(world, "PodDisruptionBudget", world.name(),
               lambda one: (one.get("status") or {}).get("currentHealthy") == 2, "to count two")  # fmt: skip
    pod = (await pods_of(world, "budget"))[0]["metadata"]["name"]
    # kubectl drain would say the same; evicting one pod leaves the node alone.
    eviction = f'{{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {{"name": "{pod}"}}}}'
    path = f"/api/v1/namespaces/{world.namespace}/pods/{pod}/eviction"
    code, _, said = await world.kubectl("create", "--raw", path, "-f", "-", stdin=eviction, check=False)
    assert code != 0 and "disruption budget" in said
    await world.patch("PodDisruptionBudget", world.name(), {"spec": {"minAvailable": 1}})
    await that(world, "PodDisruptionBudget", world.name(), lambda one: one["status"].get("disruptionsAllowed") == 1,
               "to allow one")  # fmt: skip
    await world.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
    await world.gone("Pod", pod)
    await world.delete("ReplicaSet", world.name())


test_workloads = CASES.test()
