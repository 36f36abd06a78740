"""What happens to pods while they run: probes, hooks, visitors, other limits, other labels, their end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from tests.machines.pods.cases import IMAGE, Cases, World, is_ready, mounted, phase_of, statuses, until

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

CASES = Cases("Lives: init, sidecars, visitors, probes, hooks, resizing")
SERVE = "mkdir -p /w; echo ok > /w/healthz; httpd -p 8080 -h /w; "
"""Serves /healthz until the file is removed."""


# -- probes


def probed(world: World, *, name: str = "", **containers: tuple[str, Object]) -> Object:
    """A pod with a container for each keyword: what it runs in a shell, and its probes or hooks."""
    pod = world.pod(name=name, restartPolicy="Always")
    (template,) = pod["spec"]["containers"]
    pod["spec"]["containers"] = [
        {**template, "name": one, "command": ["/bin/sh", "-c", script], **probes}
        for one, (script, probes) in containers.items()
    ]
    return pod


EXEC = {"exec": {"command": ["cat", "/tmp/health"]}, "failureThreshold": 1, "periodSeconds": 1}
HTTP = {"httpGet": {"path": "/healthz", "port": 8080}, "failureThreshold": 1, "periodSeconds": 1}
TCP = {"tcpSocket": {"port": 8081}, "failureThreshold": 1, "periodSeconds": 1}


@CASES.add(
    pytest.mark.behaviour(
        'Probing container should be restarted with a exec "cat /tmp/health" liveness probe',
        "Probing container should be restarted with a /healthz http liveness probe",
        "Probing container should have monotonically increasing restart count",
    )
)
async def what_is_not_alive_is_started_again(world: World) -> None:
    patient = {"initialDelaySeconds": 2}
    file = "echo ok > /tmp/health; sleep 4; rm /tmp/health; sleep 600", {"livenessProbe": {**EXEC, **patient}}
    page = SERVE + "sleep 4; rm /w/healthz; sleep 600", {"livenessProbe": {**HTTP, **patient}}
    name = (await world.start(probed(world, file=file, page=page)))["metadata"]["name"]
    seen = []

    def again(one: Object) -> bool:
        seen.append([statuses(one).get(container, {}).get("restartCount", 0) for container in ("file", "page")])
        return bool(seen[-1][0] >= 2 and seen[-1][1] >= 1)

    await world.pod_that(name, again, "to have been restarted")
    assert all(sorted(counts) == list(counts) for counts in zip(*seen, strict=True))

    async def both_are_told_of() -> bool:
        told = [one["involvedObject"]["fieldPath"] for one in await world.events(name) if one["reason"] == "Unhealthy"]
        return {"spec.containers{file}", "spec.containers{page}"} <= set(told)

    await until("both to be said to be unhealthy", both_are_told_of)
    await world.delete("Pod", name)


@CASES.add(
    pytest.mark.behaviour(
        'Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe',
        "Probing container should *not* be restarted with a /healthz http liveness probe",
        "Probing container should *not* be restarted with a tcp:8080 liveness probe",
    )
)
async def what_is_alive_is_left_alone(world: World) -> None:
    patient = {"initialDelaySeconds": 2, "failureThreshold": 3, "timeoutSeconds": 20}
    scripts = {"exec": "echo ok > /tmp/health; ", "http": SERVE, "tcp": "httpd -p 8081 -h /tmp; "}
    probes = {"exec": EXEC, "http": HTTP, "tcp": TCP}
    containers = {one: (scripts[one] + "sleep 600", {"livenessProbe": probes[one] | patient}) for one in scripts}
    name = (await world.running(probed(world, **containers)))["metadata"]["name"]
    # Longer than what would have been needed to find one dead.
    await asyncio.sleep(8)
    found = statuses(await world.get("Pod", name))
    assert {one: found[one]["restartCount"] for one in scripts} == dict.fromkeys(scripts, 0)
    await world.delete("Pod", name)


@CASES.add(
    pytest.mark.behaviour(
        "Probing container with readiness probe should not be ready before initial delay and never restart",
        "Probing container with readiness probe that fails should never be ready and never restart",
    )
)
async def readiness_waits_and_restarts_nothing(world: World) -> None:
    slow = {"readinessProbe": {**HTTP, "initialDelaySeconds": 4}}
    failing = {"readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1}}
    late = probed(world, name="late", main=(SERVE + "sleep 600", slow))
    never = probed(world, name="never", main=("sleep 600", failing))
    await world.start(never)
    ready = await world.running(late)
    (condition,) = [one for one in ready["status"]["conditions"] if one["type"] == "Ready"]
    began = statuses(ready)["main"]["state"]["running"]["startedAt"]
    assert world.seconds(began, condition["lastTransitionTime"]) >= 3
    found = await world.pod_that(never["metadata"]["name"], lambda one: phase_of(one) == "Running", "to run")
    await asyncio.sleep(4)
    found = await world.get("Pod", never["metadata"]["name"])
    assert not is_ready(found)
    assert statuses(found)["main"]["restartCount"] == statuses(ready)["main"]["restartCount"] == 0
    for pod in (late, never):
        await world.delete("Pod", pod["metadata"]["name"])


ANSWER = r"""
printf '\0\0\0\4\0\0\0\0\0'; sleep 0.3
[ -f /tmp/health ] && state='\1' || state='\2'
printf '\0\0\0\4\1\0\0\0\0'
printf '\0\0\24\1\4\0\0\0\1\210\17\20\20application/grpc'
printf '\0\0\7\0\0\0\0\0\1\0\0\0\0\2\10'"$state"
printf '\0\0\17\1\5\0\0\0\1\0\13grpc-status\0010'; cat >/dev/null
"""
"""Says on one connection what a gRPC server says to its first health check: settings, headers, the status, trailers.

Every check comes on a connection of its own, so that its stream is always the first. The connection is the client's to
close: what it has not read by then would be lost.
"""


@CASES.add(
    pytest.mark.behaviour(
        "Probing container should be restarted with a GRPC liveness probe",
        "Probing container should *not* be restarted with a GRPC liveness probe",
    )
)
async def a_grpc_server_says_how_it_is(world: World) -> None:
    probe = {"grpc": {"port": 5000}, "initialDelaySeconds": 2, "periodSeconds": 2, "timeoutSeconds": 20}
    serve = "touch /tmp/health; cat > /answer <<'END'\n" + ANSWER + "END\n"
    failing = serve + "(sleep 6; rm /tmp/health) & nc -ll -p 5000 -e sh /answer"
    # Two pods: where a container of a sandbox ends, gVisor interrupts what its others wait for, and nc gives up.
    alive = probed(world, name="alive", main=(serve + "nc -ll -p 5000 -e sh /answer", {"livenessProbe": probe}))
    dead = probed(world, name="dead", main=(failing, {"livenessProbe": {**probe, "failureThreshold": 1}}))
    await asyncio.gather(world.running(alive), world.running(dead))
    name = dead["metadata"]["name"]
    await world.pod_that(name, lambda one: statuses(one)["main"]["restartCount"] > 0, "to have been restarted")
    told = [one["message"] for one in await world.events(name) if one["reason"] == "Unhealthy"]
    assert 'Liveness probe failed: service unhealthy (responded with "NOT_SERVING")' in told
    assert statuses(await world.get("Pod", alive["metadata"]["name"]))["main"]["restartCount"] == 0
    for pod in (alive, dead):
        await world.delete("Pod", pod["metadata"]["name"])


# -- hooks


@CASES.add(
    pytest.mark.behaviour(
        "Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly",
        "Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook properly",
        "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly",
        "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly",
        "PreStop should call prestop when killing a pod",
    )
)
async def hooks_are_called(world: World) -> None:
    """A server writes down who called; a hook is a call to it, by the container or by the node."""
    script = (
        "mkdir -p /w/cgi-bin; printf '#!/bin/sh\\necho \"$QUERY_STRING\" >> /calls\\necho; echo\\n' > /w/cgi-bin/call; "
        "chmod +x /w/cgi-bin/call; touch /calls; httpd -p 8080 -h /w; tail -f /calls"
    )
    server = await world.running(world.pod(script, name="server"))
    ip, name = server["status"]["podIP"], server["metadata"]["name"]

    def http(who: str) -> Object:
        return {"httpGet": {"host": ip, "port": 8080, "path": f"/cgi-bin/call?{who}"}}

    def command(who: str) -> Object:
        return {"exec": {"command": ["wget", "-qO-", f"http://{ip}:8080/cgi-bin/call?{who}"]}}

    hooks = {
        kind: {"lifecycle": {"postStart": call(f"start-{kind}"), "preStop": call(f"stop-{kind}")}}
        for kind, call in (("exec", command), ("http", http))
    }
    pod = probed(world, name="hooks", **{kind: ("sleep 100000", hook) for kind, hook in hooks.items()})
    pod["spec"]["terminationGracePeriodSeconds"] = 20
    called = (await world.running(pod))["metadata"]["name"]
    for word in ("start-exec", "start-http"):
        await world.log_that(name, lambda text, word=word: word in text, f"to tell of {word}")
    await world.delete("Pod", called)
    for word in ("stop-exec", "stop-http"):
        await world.log_that(name, lambda text, word=word: word in text, f"to tell of {word}")
    await world.gone("Pod", called)
    await world.delete("Pod", name)


@CASES.add()
async def sidecars_end_after_those_whom_they_serve(world: World) -> None:
    """Each says when it was asked to end: by the clock of their common kernel."""

    def serving(seconds: int) -> str:
        last_words = f"sleep {seconds}; cat /proc/uptime > /dev/termination-log; exit 0"
        return f"trap '{last_words}' TERM; echo on; sleep 100000 & wait"

    def sidecar(name: str) -> Object:
        command = ["/bin/sh", "-c", serving(0)]
        return {"name": name, "image": IMAGE, "command": command, "restartPolicy": "Always"}

    pod = world.pod(
        serving(1),
        initContainers=[sidecar("first"), sidecar("second")],
        metadata={"finalizers": ["example.org/looking-at-its-end"]},
        terminationGracePeriodSeconds=30,
    )
    name = (await world.running(pod))["metadata"]["name"]
    for container in ("main", "first", "second"):
        await world.log_that(name, lambda text: "on" in text, "to say that it listens", container)
    await world.delete("Pod", name)

    def has_ended(one: Object) -> bool:
        return all("terminated" in status["state"] for status in statuses(one).values())

    found = await world.pod_that(name, has_ended, "to have ended")
    ends = {one: float(status["state"]["terminated"]["message"].split()[0]) for one, status in statuses(found).items()}
    assert ends["main"] <= ends["second"] <= ends["first"]
    assert {status["state"]["terminated"]["exitCode"] for status in statuses(found).values()} == {0}
    await world.patch("Pod", name, {"metadata": {"finalizers": None}})


# -- visitors


@CASES.add(
    pytest.mark.behaviour(
        "Ephemeral Containers will start an ephemeral container in an existing pod",
        "Ephemeral Containers should update the ephemeral containers in an existing pod",
    )
)
async def a_visitor_looks_around(world: World) -> None:
    pod = await world.running(world.pod("echo of the pod > /tmp/word; sleep 100000"))
    name = pod["metadata"]["name"]
    image = pod["spec"]["containers"][0]["image"]
    visitor = {"name": "debugger", "image": image, "stdin": True, "tty": True,
               "command": ["/bin/sh", "-c", "echo polo; sleep 100000"]}  # fmt: skip
    await world.patch("Pod", name, {"spec": {"ephemeralContainers": [visitor]}}, subresource="ephemeralcontainers")
    await world.pod_that(
        name, lambda one: "running" in statuses(one).get("debugger", {}).get("state", {}), "to be visited"
    )
    await world.log_that(name, lambda text: "polo" in text, "to tell of the visitor", "debugger")
    second = {**visitor, "name": "second", "targetContainerName": "main",
              "command": ["/bin/sh", "-c", "ps | grep -v grep | grep -c 'sleep 100000'; sleep 100000"]}  # fmt: skip
    await world.patch("Pod", name, {"spec": {"ephemeralContainers": [visitor, second]}},
                      subresource="ephemeralcontainers")  # fmt: skip
    found = await world.pod_that(name, lambda one: "running" in statuses(one).get("second", {}).get("state", {}),
                                 "to be visited twice")  # fmt: skip
    assert [one["name"] for one in found["spec"]["ephemeralContainers"]] == ["debugger", "second"]
    assert statuses(found)["main"]["restartCount"] == 0 and is_ready(found)
    if world.isolation_class != "microvm":
        await world.log_that(
            name, lambda text: text.strip().isdigit() and int(text) >= 1, "to count processes", "second"
        )
    await world.delete("Pod", name)


# -- other limits


def limits(requests: str, limits: str) -> Object:
    """``"100m/64Mi"`` each; an empty part is not set."""

    def amounts(text: str) -> dict[str, str]:
        return {kind: value for kind, value in zip(("cpu", "memory"), text.split("/"), strict=False) if value}

    return {key: value for key, value in (("requests", amounts(requests)), ("limits", amounts(limits))) if value}


async def resized(
    world: World, before: Mapping[str, Object], after: Mapping[str, Object], *, replace: bool = False
) -> None:
    """A pod of containers with the resources ``before`` gets those of ``after``: in its status and in the cgroups."""
    pod = world.pod()
    (template,) = pod["spec"]["containers"]
    pod["spec"]["containers"] = [{**template, "name": name, "resources": one} for name, one in before.items()]
    name = (await world.running(pod))["metadata"]["name"]
    for container, resources in before.items():
        await holds(world, name, container, resources)
    wish = {"spec": {"containers": [{"name": one, "resources": resources} for one, resources in after.items()]}}
    if replace:
        found = await world.get("Pod", name)
        for one in found["spec"]["containers"]:
            one["resources"] = after[one["name"]]
        await world.client.update(world.resource("Pod"), found, subresource="resize")
    else:
        await world.client.patch(world.resource("Pod"), name, wish, namespace=world.namespace, subresource="resize",
                                 kind="strategic")  # fmt: skip

    def is_done(one: Object) -> bool:
        told = {container: statuses(one)[container].get("resources", {}) for container in after}
        resizing = any(condition["type"].startswith("PodResize") for condition in one["status"]["conditions"])
        return told == dict(after) and not resizing

    found = await world.pod_that(name, is_done, "to have its new limits")
    assert all(one["restartCount"] == 0 for one in statuses(found).values())
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    for container, resources in after.items():
        await holds(world, name, container, resources)
    subresource = await world.client.get(world.resource("Pod"), name, namespace=world.namespace, subresource="resize")
    assert subresource["spec"] == found["spec"]
    await world.delete("Pod", name)


READ = {
    "cpu": "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max",
    "memory": "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
}


async def holds(world: World, pod: str, container: str, resources: Object) -> None:
    """The container's own view of its cgroup; in a machine there is none to see, and the status has to do."""
    if world.isolation_class != "container":
        return
    wanted = resources.get("limits", {})
    if "cpu" in wanted:
        quota = max(1000, quantity.milli(wanted["cpu"]) * 100)
        assert (await world.execute(pod, READ["cpu"], container)).strip() == str(quota)
    if "memory" in wanted:
        assert (await world.execute(pod, READ["memory"], container)).strip() == str(quantity.value(wanted["memory"]))


@CASES.add()
async def limits_of_the_pod_as_a_whole_hold_for_its_containers(world: World) -> None:
    of_pod, own = limits("", "500m/96Mi"), limits("", "200m/32Mi")
    told = {"name": "MOST", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}
    pod = world.pod("echo $MOST; sleep 100000", container={"env": [told]}, resources=of_pod)
    pod["spec"]["containers"].append({**pod["spec"]["containers"][0], "name": "other", "resources": own})
    found = await world.running(pod)
    name = found["metadata"]["name"]
    assert found["status"]["qosClass"] == "Burstable"
    # Of what a container limits, the pod requests as much; of all else its own limit.
    assert found["spec"]["resources"]["requests"] == {"cpu": "200m", "memory": "32Mi"}
    for container, amounts, most in (("main", of_pod, "96"), ("other", own, "32")):
        await holds(world, name, container, amounts)
        assert (await world.log_that(name, str.strip, "to tell", container)).strip() == most
    await world.delete("Pod", name)


@CASES.add(
    pytest.mark.behaviour(
        "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on "
        "c1, c2, decrease cpu & mem on c3 - net increase",
        "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), "
        "memory (c2, c3) ; decrease: CPU (c2)",
    ),
    classes=("container",),
)
async def guaranteed_containers_grow_together(world: World) -> None:
    same = {name: limits("20m/50Mi", "20m/50Mi") for name in ("c1", "c2", "c3")}
    more, less = limits("30m/60Mi", "30m/60Mi"), limits("15m/40Mi", "15m/40Mi")
    await resized(world, same, {"c1": more, "c2": more, "c3": less})


@CASES.add(
    pytest.mark.behaviour(
        "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on "
        "c1, decrease cpu & mem on c2, c3 - net decrease"
    )
)
async def guaranteed_containers_shrink_together(world: World) -> None:
    same = {name: limits("20m/50Mi", "20m/50Mi") for name in ("c1", "c2", "c3")}
    more, less = limits("25m/55Mi", "25m/55Mi"), limits("12m/40Mi", "12m/40Mi")
    await resized(world, same, {"c1": more, "c2": less, "c3": less})


@CASES.add(
    pytest.mark.behaviour(
        "Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed (including "
        "adding limits and requests)"
    ),
    classes=("container",),
)
async def six_containers_change_each_in_its_own_way(world: World) -> None:
    before = {
        "c1": limits("20m/40Mi", "30m/50Mi"),
        "c2": limits("20m", "30m"),
        "c3": limits("/40Mi", "/50Mi"),
        "c4": limits("20m/40Mi", ""),
        "c5": limits("20m/40Mi", "30m/50Mi"),
        "c6": limits("", ""),
    }
    after = {
        "c1": limits("15m/45Mi", "35m/45Mi"),
        "c2": limits("20m", "40m/50Mi") | {"requests": {"cpu": "20m", "memory": "50Mi"}},
        "c3": limits("20m/40Mi", "/60Mi"),
        "c4": limits("20m/40Mi", "30m/60Mi"),
        "c5": limits("25m/45Mi", "30m/50Mi"),
        "c6": limits("15m/30Mi", "20m/40Mi"),
    }
    await resized(world, before, after)


@CASES.add(pytest.mark.behaviour("Pod InPlace Resize Container burstable pods - extended resize with equivalents"))
async def amounts_that_the_kernel_cannot_tell_apart_are_shown_as_asked(world: World) -> None:
    await resized(world, {"c1": limits("2m", "10m")}, {"c1": limits("1m", "5m")})


@CASES.add(pytest.mark.behaviour("Pod InPlace Resize Container resize pod via the replace endpoint"))
async def a_pod_is_resized_by_replacing_it(world: World) -> None:
    await resized(world, {"c1": limits("10m/50Mi", "20m/60Mi")}, {"c1": limits("15m/40Mi", "25m/50Mi")}, replace=True)


# -- lives


@CASES.add(
    pytest.mark.behaviour(
        "Pods should be submitted and removed",
        "Pods should be updated",
        "Pods should get a host IP",
        "Pods should run through the lifecycle of Pods and PodStatus",
        "Pods should patch a pod status",
        "Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete",
    )
)
async def a_pod_lives_and_ends(world: World) -> None:
    pod = world.pod(metadata={"labels": {"time": "a"}, "generation": 100}, terminationGracePeriodSeconds=5)
    created = await world.start(pod)
    name = created["metadata"]["name"]
    assert created["metadata"]["generation"] == 1
    found = await world.pod_that(name, is_ready, "to be ready")
    (node,) = (await world.client.list(world.resource("Node"))).items
    assert found["status"]["hostIP"] in [one["address"] for one in node["status"]["addresses"]]
    assert found["status"]["hostIPs"][0]["ip"] == found["status"]["hostIP"]
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]

    await world.patch("Pod", name, {"metadata": {"labels": {"time": "b"}}})
    listed = await world.client.list(world.resource("Pod"), namespace=world.namespace, labels="time=b")
    assert name in [one["metadata"]["name"] for one in listed.items]
    said = {"type": "Said", "status": "True", "reason": "ByATest"}
    patched = await world.client.patch(
        world.resource("Pod"), name, {"status": {"conditions": [said]}}, namespace=world.namespace,
        subresource="status", kind="strategic",
    )  # fmt: skip
    assert "Said" in [one["type"] for one in patched["status"]["conditions"]]
    before = (await world.get("Pod", name))["metadata"]["generation"]
    await world.delete("Pod", name)
    deleting = await world.get("Pod", name)
    assert deleting["metadata"]["deletionGracePeriodSeconds"] == 5
    assert deleting["metadata"]["generation"] == before + 1
    assert "Said" in [one["type"] for one in deleting["status"]["conditions"]]
    await world.gone("Pod", name)


@CASES.add(pytest.mark.behaviour("Pods should allow activeDeadlineSeconds to be updated"))
async def a_pod_s_time_can_be_cut(world: World) -> None:
    pod = await world.running(world.pod())
    name = pod["metadata"]["name"]
    await world.patch("Pod", name, {"spec": {"activeDeadlineSeconds": 3}})
    ended = await world.pod_that(name, lambda one: phase_of(one) == "Failed", "to be over")
    assert ended["status"]["reason"] == "DeadlineExceeded"


@CASES.add(pytest.mark.behaviour("Pods should delete a collection of pods"))
async def pods_are_deleted_together(world: World) -> None:
    labels = {"type": "collected"}
    pods = [await world.start(world.pod(name=str(number), metadata={"labels": labels})) for number in range(3)]
    await asyncio.gather(*(world.pod_that(pod["metadata"]["name"], is_ready, "to be ready") for pod in pods))
    await world.kubectl("delete", "pods", "-l", "type=collected", "--wait=false")

    async def are_gone() -> bool:
        found = await world.client.list(world.resource("Pod"), namespace=world.namespace, labels="type=collected")
        return not found.items

    await until("the pods to be gone", are_gone)


# -- what the node keeps of it


@CASES.add()
async def a_log_that_has_grown_too_large_is_begun_anew(world: World) -> None:
    script = f"echo first; yes {'x' * 99} | head -n 120000; while true; do echo tick; sleep 1; done"
    name = (await world.running(world.pod(script)))["metadata"]["name"]

    async def has_begun() -> bool:
        found = await world.logs(name, limitBytes="20")
        return bool(found) and not found.startswith("first")

    await until("the log to begin anew", has_begun)
    await world.delete("Pod", name, grace_seconds=0)


@CASES.add()
async def a_pod_that_writes_more_than_it_may_is_evicted(world: World) -> None:
    """Into its log, into a volume, or over its image; each is told in the kubelet's words."""
    limits = {"resources": {"limits": {"ephemeral-storage": "1Mi"}}}
    over = "dd if=/dev/zero of=/var/file bs=1M count=12; sleep 100000"
    script = f"yes {'x' * 99} | head -n 30000; sleep 100000"
    logging = world.pod(script, name="logging", container=limits)
    filling = world.pod(
        "dd if=/dev/zero of=/v/file bs=1M count=12; sleep 100000", name="filling",
        volumes=[{"name": "v", "emptyDir": {"sizeLimit": "2Mi"}}], container={"volumeMounts": [mounted("v", "/v")]},
    )  # fmt: skip
    # Two write the same: one of them more than it may, and the pod less.
    writing = world.pod(over, name="writing", container={"resources": {"limits": {"ephemeral-storage": "4Mi"}}})
    more = {**writing["spec"]["containers"][0], "name": "more", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}
    writing["spec"]["containers"].append(more)
    expected = {
        "logging": "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        "filling": 'Usage of EmptyDir volume "v" exceeds the limit "2Mi". ',
        "writing": 'Container main exceeded its local ephemeral storage limit "4Mi". ',
    }
    for pod in (logging, filling, writing):
        await world.start(pod)
    for which, said in expected.items():
        name = world.name(which)
        found = await world.pod_that(name, lambda one: phase_of(one) == "Failed", "to be evicted")
        assert (found["status"]["reason"], found["status"]["message"]) == ("Evicted", said)
        await world.event_that(name, "Evicted", "")
        await world.delete("Pod", name)


@CASES.add()
async def a_container_writes_more_over_its_image_than_it_has_memory_and_begins_anew_afterwards(world: World) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    script = "echo found: $(ls /block /var/file 2> /dev/null); trap 'exit 0' TERM; sleep 100000 & wait"
    name = (await world.running(world.pod(script, container=limits, restartPolicy="Always")))["metadata"]["name"]
    # Compared where it cannot be in memory any more, and where it was written last.
    written = await world.execute(name, """
        head -c 1048576 /dev/urandom > /block
        for count in 1 2 3 4; do cat /block /block /block /block /block /block /block /block; done > /eights
        cat /eights /eights /eights > /var/file && rm /eights
        for at in 0 47 95; do dd if=/var/file bs=1M skip=$at count=1 2> /dev/null | md5sum; done
        md5sum < /block; stat -c %s /var/file
    """)  # fmt: skip
    *digests, size = written.split("\n")[:5]
    assert (len(set(digests)), size) == (1, str(96 << 20)), written
    # Whoever asks for it may be ended with it.
    await world.run(name, "kill", "1")
    again = await world.pod_that(name, lambda one: statuses(one)["main"]["restartCount"] == 1, "its second life")
    ended = statuses(again)["main"]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")

    async def has_begun() -> bool:
        return (await world.logs(name)).startswith("found:\n")

    await until("the second life to find nothing", has_begun)
    await world.delete("Pod", name, grace_seconds=0)


test_lives = CASES.test()
