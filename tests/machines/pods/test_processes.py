"""What a container runs, with which words, variables and rights, and what is said of its end."""

from __future__ import annotations

import pytest
from tests.machines.pods.cases import IMAGE, Cases, World, mounted, phase_of, statuses

from kontinuum.api.machinery.objects import Object

CASES = Cases("Processes: users, rights, variables, messages")


# -- command, arguments, variables


@CASES.add(
    pytest.mark.behaviour(
        "Containers should be able to override the image's default arguments (container cmd)",
        "Containers should be able to override the image's default command (container entrypoint)",
        "Containers should be able to override the image's default command and arguments",
        "Containers should use the image defaults if command and args are blank",
    )
)
async def command_and_arguments_replace_the_image_s(world: World) -> None:
    """The image runs ``sh`` by default, which ends at once when nobody types."""
    pod = world.pod("", restartPolicy="Never")
    both = pod["spec"]["containers"][0]
    both |= {"name": "both", "command": ["/bin/echo", "command"], "args": ["and", "arguments"]}
    others = [
        {"name": "command", "command": ["/bin/echo", "only command"]},
        {"name": "defaults"},
        {"name": "arguments", "args": ["/bin/echo", "only arguments"]},
    ]
    pod["spec"]["containers"] += [{"image": both["image"], **one} for one in others]
    found = await world.ended(pod)
    name = found["metadata"]["name"]
    assert await world.logs(name, "both") == "command and arguments\n"
    assert await world.logs(name, "command") == "only command\n"
    assert await world.logs(name, "arguments") == "only arguments\n"
    assert await world.logs(name, "defaults") == ""


@CASES.add(
    pytest.mark.behaviour(
        "Variable Expansion should allow composing env vars into new env vars",
        "Variable Expansion should allow substituting values in a container's args",
        "Variable Expansion should allow substituting values in a container's command",
    )
)
async def variables_are_expanded(world: World) -> None:
    env = [
        {"name": "FOO", "value": "foo-value"},
        {"name": "BAR", "value": "bar-value"},
        {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
    ]
    container = {"env": env, "command": ["/bin/sh", "-c", "echo $(FOO) $0 $1 $FOOBAR", "$(BAR)"], "args": ["$(FOOBAR)"]}
    assert await world.printed(world.pod(container=container)) == [
        "foo-value bar-value foo-value;;bar-value foo-value;;bar-value"
    ]


@CASES.add(
    pytest.mark.behaviour(
        "ConfigMap should be consumable as environment variable names with various prefixes",
        "ConfigMap should be consumable via environment variable",
        "ConfigMap should be consumable via the environment",
        "Secrets should be consumable as environment variable names variable names with various prefixes",
        "Secrets should be consumable from pods in env vars",
        "Secrets should be consumable via the environment",
    )
)
async def variables_come_from_config_maps_and_secrets(world: World) -> None:
    name = world.name()
    await world.create("ConfigMap", name, data={"data-1": "value-1", "data_2": "value-2"})
    await world.create("Secret", name, stringData={"data-1": "secret-1", "data_2": "secret-2"})
    container = {
        "env": [
            {"name": "CONFIG_DATA_1", "valueFrom": {"configMapKeyRef": {"name": name, "key": "data-1"}}},
            {"name": "SECRET_DATA", "valueFrom": {"secretKeyRef": {"name": name, "key": "data-1"}}},
        ],
        "envFrom": [
            {"configMapRef": {"name": name}},
            {"prefix": "p-", "configMapRef": {"name": name}},
            {"prefix": "s_", "secretRef": {"name": name}},
        ],
        "command": ["/bin/env"],
    }
    printed = set(await world.printed(world.pod(container=container)))
    assert printed >= {
        "CONFIG_DATA_1=value-1", "SECRET_DATA=secret-1", "data-1=value-1", "data_2=value-2", "p-data-1=value-1",
        "p-data_2=value-2", "s_data-1=secret-1", "s_data_2=secret-2",
    }  # fmt: skip


@CASES.add(refused=("microvm",))
async def variables_come_from_files_that_the_pod_has_written(world: World) -> None:
    def of(key: str, **more: object) -> Object:
        return {"fileKeyRef": {"volumeName": "v", "path": "deep/env", "key": key, **more}}

    script = "mkdir /v/deep; echo \"A='one'\" > /v/deep/env"
    first = {
        "name": "first", "image": IMAGE, "command": ["/bin/sh", "-c", script], "volumeMounts": [mounted("v", "/v")],
    }  # fmt: skip
    variables = [{"name": "FOUND", "valueFrom": of("A")}, {"name": "ABSENT", "valueFrom": of("B", optional=True)}]
    pod = world.pod(
        "echo $FOUND ${ABSENT-absent}",
        container={"env": variables},
        initContainers=[first],
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    assert await world.printed(pod) == ["one absent"]


@CASES.add(
    pytest.mark.behaviour(
        "Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars",
        "Downward API should provide host IP as an env var",
        "Downward API should provide hostIPs as an env var",
        "Downward API should provide pod UID as env vars",
        "Downward API should provide pod name, namespace and IP address as env vars",
    )
)
async def variables_tell_of_the_pod(world: World) -> None:
    def of(path: str) -> Object:
        return {"name": path.replace(".", "_"), "valueFrom": {"fieldRef": {"fieldPath": path}}}

    def amount(resource: str) -> Object:
        return {"name": resource.replace(".", "_"), "valueFrom": {"resourceFieldRef": {"resource": resource}}}

    fields = ["metadata.name", "metadata.namespace", "metadata.uid", "status.podIP", "status.podIPs", "status.hostIP",
              "status.hostIPs", "spec.nodeName"]  # fmt: skip
    amounts = ["limits.cpu", "limits.memory", "requests.cpu", "requests.memory"]
    resources = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}
    env = [of(path) for path in fields] + [amount(resource) for resource in amounts]
    pod = await world.ended(world.pod("env", container={"env": env, "resources": resources}))
    metadata, status = pod["metadata"], pod["status"]
    assert set((await world.logs(metadata["name"])).splitlines()) >= {
        f"metadata_name={metadata['name']}",
        f"metadata_namespace={metadata['namespace']}",
        f"metadata_uid={metadata['uid']}",
        f"status_podIP={status['podIP']}",
        f"status_podIPs={','.join(one['ip'] for one in status['podIPs'])}",
        f"status_hostIP={status['hostIP']}",
        f"status_hostIPs={','.join(one['ip'] for one in status['hostIPs'])}",
        f"spec_nodeName={pod['spec']['nodeName']}",
        "limits_cpu=2",
        f"limits_memory={64 << 20}",
        "requests_cpu=1",
        f"requests_memory={32 << 20}",
    }


@CASES.add(pytest.mark.behaviour("Downward API should provide default limits.cpu/memory from node allocatable"))
async def without_limits_variables_tell_of_the_node(world: World) -> None:
    env = [
        {"name": name, "valueFrom": {"resourceFieldRef": {"resource": f"limits.{name.lower()}"}}}
        for name in ("CPU", "MEMORY")
    ]
    printed = await world.printed(world.pod("echo $CPU $MEMORY", container={"env": env}))
    (node,) = (await world.client.list(world.resource("Node"))).items
    assert printed == [f"{world.amount(node, 'cpu')} {world.amount(node, 'memory')}"]


@CASES.add(pytest.mark.behaviour("Pods should contain environment variables for services"))
async def variables_tell_of_the_services(world: World) -> None:
    ports = [{"name": "http", "port": 8765, "targetPort": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    service = await world.create("Service", "fooservice", spec={"ports": ports, "selector": {"nobody": "here"}})
    ip = service["spec"]["clusterIP"]
    lines = set(await world.printed(world.pod("env")))
    assert lines >= {
        f"FOOSERVICE_SERVICE_HOST={ip}",
        "FOOSERVICE_SERVICE_PORT=8765",
        "FOOSERVICE_SERVICE_PORT_HTTP=8765",
        "FOOSERVICE_SERVICE_PORT_DNS=53",
        f"FOOSERVICE_PORT=tcp://{ip}:8765",
        f"FOOSERVICE_PORT_8765_TCP=tcp://{ip}:8765",
        "FOOSERVICE_PORT_8765_TCP_PROTO=tcp",
        "FOOSERVICE_PORT_8765_TCP_PORT=8765",
        f"FOOSERVICE_PORT_8765_TCP_ADDR={ip}",
        f"FOOSERVICE_PORT_53_UDP=udp://{ip}:53",
    }
    assert any(line.startswith("KUBERNETES_SERVICE_HOST=") for line in lines)
    without = await world.printed(world.pod("env", name="without", enableServiceLinks=False))
    assert not [line for line in without if line.startswith("FOOSERVICE")]
    assert any(line.startswith("KUBERNETES_SERVICE_HOST=") for line in without)


# -- ends


@CASES.add(
    pytest.mark.behaviour(
        "Container Runtime blackbox test on terminated container should report termination message as empty when pod "
        "succeeds and TerminationMessagePolicy FallbackToLogsOnError is set",
        "Container Runtime blackbox test on terminated container should report termination message from file when pod "
        "succeeds and TerminationMessagePolicy FallbackToLogsOnError is set",
        "Container Runtime blackbox test on terminated container should report termination message from log output if "
        "TerminationMessagePolicy FallbackToLogsOnError is set",
        "Container Runtime blackbox test on terminated container should report termination message if "
        "TerminationMessagePath is set as non-root user and at a non-default path",
    )
)
async def last_words_are_kept(world: World) -> None:
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    pod = world.pod("", restartPolicy="Never")
    image = pod["spec"]["containers"][0]["image"]

    def container(name: str, script: str, **more: object) -> Object:
        return {"name": name, "image": image, "command": ["/bin/sh", "-c", script], **more}

    pod["spec"]["containers"] = [
        container("silent", "echo DONE", **fallback),
        container("file", "echo DONE; printf OK > /dev/termination-log", **fallback),
        container("log", "printf DONE; exit 1", **fallback),
        container(
            "user",
            "printf DONE > /dev/termination-custom-log",
            terminationMessagePath="/dev/termination-custom-log",
            securityContext={"runAsUser": 1000},
        ),
    ]
    ends = {name: one["state"]["terminated"] for name, one in statuses(await world.ended(pod, "Failed")).items()}
    messages = {name: end.get("message", "") for name, end in ends.items()}
    assert messages == {"silent": "", "file": "OK", "log": "DONE", "user": "DONE"}


@CASES.add(
    pytest.mark.behaviour("Container Runtime blackbox test when starting a container that exits should run with the "
                          "expected status")
)  # fmt: skip
async def policies_decide_what_runs_again(world: World) -> None:
    """A script that fails twice and then goes on, once for each policy; the volume remembers how often it ran."""
    script = "echo x >> /v/runs; [ $(wc -l < /v/runs) -ge 2 ] && { %s; }; exit 1"
    volumes = [{"name": "v", "emptyDir": {}}]
    mount = {"volumeMounts": [mounted("v", "/v")]}
    always = world.pod(script % "sleep 100000", name="always", volumes=volumes, container=mount, restartPolicy="Always")
    on_failure = world.pod(script % "exit 0", name="on-failure", volumes=volumes, container=mount,
                           restartPolicy="OnFailure")  # fmt: skip
    never = world.pod(script % "exit 0", name="never", volumes=volumes, container=mount, restartPolicy="Never")
    await world.start(always)

    def runs_again(one: Object) -> bool:
        found = statuses(one).get("main", {})
        return found.get("restartCount") == 1 and "running" in found["state"]

    await world.pod_that(always["metadata"]["name"], runs_again, "to run again")
    assert statuses(await world.ended(on_failure))["main"]["restartCount"] == 1
    failed = statuses(await world.ended(never, "Failed"))["main"]
    assert failed["restartCount"] == 0
    assert failed["state"]["terminated"]["exitCode"] == 1
    await world.delete("Pod", always["metadata"]["name"])


@CASES.add(
    pytest.mark.behaviour(
        "Kubelet when scheduling a busybox command in a pod should print the output to logs",
        "Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason",
        "Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete",
    )
)
async def output_and_failures_are_told(world: World) -> None:
    assert await world.printed(world.pod("echo 'Hello World' ; sleep 1")) == ["Hello World"]
    pod = world.pod("/bin/false", name="false", restartPolicy="Always")
    await world.start(pod)
    name = pod["metadata"]["name"]

    def has_failed(one: Object) -> bool:
        found = statuses(one).get("main", {})
        end = found.get("state", {}).get("terminated") or found.get("lastState", {}).get("terminated") or {}
        return end.get("exitCode") == 1 and end.get("reason") == "Error"

    await world.pod_that(name, has_failed, "to have failed")
    await world.delete("Pod", name)
    await world.gone("Pod", name)


# -- rights


@CASES.add(
    pytest.mark.behaviour(
        "Security Context When creating a container with runAsUser should run the container with uid 65534",
        "Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup",
        "Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup",
    )
)
async def users_and_groups_are_as_asked(world: World) -> None:
    script = 'echo "$(id -u):$(id -g)"'
    pod = world.pod(script, restartPolicy="Never", securityContext={"runAsUser": 1001, "runAsGroup": 2002})
    own = {**pod["spec"]["containers"][0], "name": "own"}
    pod["spec"]["containers"] += [
        {**own, "securityContext": {"runAsUser": 1010, "runAsGroup": 2020}},
        {**own, "name": "nobody", "securityContext": {"runAsUser": 65534}},
    ]
    name = (await world.ended(pod))["metadata"]["name"]
    assert [await world.logs(name, one) for one in ("main", "own", "nobody")] == [
        "1001:2002\n",
        "1010:2020\n",
        "65534:2002\n",
    ]


@CASES.add(
    pytest.mark.behaviour(
        "Security Context When creating a pod with privileged should run the container as unprivileged when false",
        "Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable "
        "rootfs when readOnlyRootFilesystem=false",
        "Kubelet when scheduling a read only busybox container should not write to root filesystem",
        "Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation "
        "when false",
    )
)
async def rights_are_as_asked(world: World) -> None:
    script = (
        "touch /file 2>/dev/null && echo written || echo refused; "
        "ip link add dummy0 type dummy 2>/dev/null && echo privileged || echo unprivileged; "
        "grep NoNewPrivs /proc/self/status || echo unknown"
    )
    pod = world.pod(script, restartPolicy="Never")
    main = pod["spec"]["containers"][0]
    main["securityContext"] = {"privileged": False, "readOnlyRootFilesystem": False}
    read_only = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "runAsUser": 1000}
    pod["spec"]["containers"].append({**main, "name": "less", "securityContext": read_only})
    name = (await world.ended(pod))["metadata"]["name"]
    told = (("main", "written", "0"), ("less", "refused", "1"))
    for container, of_root_file_system, no_new_rights in told:
        lines = (await world.logs(name, container)).splitlines()[-3:]
        assert lines[:2] == [of_root_file_system, "unprivileged"]
        # gVisor does not show it: there no program gets more rights by being executed.
        assert world.isolation_class == "sandbox" or lines[2].split() == ["NoNewPrivs:", no_new_rights]


@CASES.add(pytest.mark.behaviour("Sysctls should support sysctls"), refused=("sandbox",))
async def sysctls_are_set(world: World) -> None:
    context = {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}
    pod = world.pod("cat /proc/sys/kernel/shm_rmid_forced", securityContext=context)
    assert await world.printed(pod) == ["1"]


# -- init containers


def with_init(world: World, *scripts: str, main: str = "sleep 100000", **spec: object) -> Object:
    pod = world.pod(main, **spec)
    image = pod["spec"]["containers"][0]["image"]
    pod["spec"]["initContainers"] = [
        {"name": f"init{number}", "image": image, "command": ["/bin/sh", "-c", script]}
        for number, script in enumerate(scripts, 1)
    ]
    return pod


@CASES.add(
    pytest.mark.behaviour(
        "InitContainer should invoke init containers on a RestartAlways pod",
        "InitContainer should invoke init containers on a RestartNever pod",
    )
)
async def init_containers_come_first(world: World) -> None:
    always = await world.running(with_init(world, "true", "true", name="always"))
    never = await world.ended(with_init(world, "true", "true", main="true", name="never"))
    for pod in (always, never):
        for name in ("init1", "init2"):
            one = statuses(pod)[name]
            assert one["ready"] and one["state"]["terminated"]["exitCode"] == 0
        conditions = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
        assert conditions["Initialized"] == "True"
    await world.delete("Pod", always["metadata"]["name"])


@CASES.add(
    pytest.mark.behaviour(
        "InitContainer should not start app containers and fail the pod if init containers fail on a RestartNever pod",
        "InitContainer should not start app containers if init containers fail on a RestartAlways pod",
    )
)
async def nothing_starts_after_an_init_container_that_fails(world: World) -> None:
    never = await world.ended(with_init(world, "true", "false", name="never"), "Failed")
    always = with_init(world, "false", "true", name="always", restartPolicy="Always")
    await world.start(always)
    always = await world.pod_that(
        always["metadata"]["name"],
        lambda one: statuses(one).get("init1", {}).get("restartCount", 0) >= 2,
        "to have tried its first container again",
    )
    assert phase_of(always) == "Pending"
    assert statuses(never)["init2"]["state"]["terminated"]["exitCode"] != 0
    for pod, rest in ((never, ("main",)), (always, ("init2", "main"))):
        for name in rest:
            assert statuses(pod)[name]["state"].keys() == {"waiting"}
            assert statuses(pod)[name]["state"]["waiting"]["reason"] == "PodInitializing"
    await world.delete("Pod", always["metadata"]["name"])


# -- names


@CASES.add(
    pytest.mark.behaviour(
        "DNS should provide /etc/hosts entries for the cluster",
        "Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts",
        "KubeletManagedEtcHosts should test kubelet managed /etc/hosts file",
    )
)
async def the_hosts_file_is_ours_unless_the_pod_has_its_own(world: World) -> None:
    aliases = [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]
    spec = {"hostname": "querier", "subdomain": "headless", "hostAliases": aliases, "restartPolicy": "Never"}
    pod = world.pod("cat /etc/hosts; echo; hostname", **spec)
    own = {**pod["spec"]["containers"][0], "name": "own", "volumeMounts": [mounted("hosts", "/etc/hosts", subPath="x")]}
    pod["spec"]["volumes"] = [{"name": "hosts", "configMap": {"name": world.name()}}]
    pod["spec"]["containers"].append(own)
    await world.create("ConfigMap", world.name(), data={"x": "of the pod\n"})
    found = await world.ended(pod)
    name = found["metadata"]["name"]
    managed = await world.logs(name, "main")
    assert managed.startswith("# Kubernetes-managed hosts file")
    full = f"querier.headless.{world.namespace}.svc.cluster.local"
    assert f"{found['status']['podIP']}\t{full}\tquerier" in managed
    assert "123.45.67.89\tfoo\tbar" in managed
    assert managed.endswith("\nquerier\n")
    whole = world.pod("hostname", name="whole", setHostnameAsFQDN=True, **spec)
    assert await world.printed(whole) == [full]
    assert (await world.logs(name, "own")).startswith("of the pod")


@CASES.add(
    pytest.mark.behaviour("KubeletManagedEtcHosts should test kubelet managed /etc/hosts file"), refused=("microvm",)
)
async def with_the_host_s_network_comes_its_hosts_file(world: World) -> None:
    printed = await world.printed(world.pod("cat /etc/hosts", hostNetwork=True))
    assert "# Kubernetes-managed hosts file." not in printed


@CASES.add(pytest.mark.behaviour("DNS should support configurable pod DNS nameservers"))
async def the_resolver_is_as_the_pod_says(world: World) -> None:
    own = {"nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"], "options": [{"name": "ndots", "value": "2"}]}
    printed = await world.printed(world.pod("cat /etc/resolv.conf", dnsPolicy="None", dnsConfig=own))
    assert printed == ["search resolv.conf.local", "nameserver 1.1.1.1", "options ndots:2"]


# -- tokens


@CASES.add(
    pytest.mark.behaviour(
        "ServiceAccounts should mount an API token into pods",
        "ServiceAccounts should mount projected service account token",
    )
)
async def a_pod_gets_its_account_s_token(world: World) -> None:
    root = "/var/run/secrets/kubernetes.io/serviceaccount"
    sources = [{"serviceAccountToken": {"path": "token", "expirationSeconds": 6000, "audience": "someone"}}]
    pod = world.pod(
        f"cat {root}/token; echo; cat {root}/namespace; echo; head -n1 {root}/ca.crt; cat /own/token; echo",
        automountServiceAccountToken=True,
        volumes=[{"name": "own", "projected": {"sources": sources}}],
        container={"volumeMounts": [mounted("own", "/own")]},
    )
    token, namespace, certificate, own = await world.printed(pod)
    assert namespace == world.namespace
    assert certificate == "-----BEGIN CERTIFICATE-----"
    review = await world.client.create(
        world.resource("TokenReview"),
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token}},
    )
    assert review["status"]["user"]["username"] == f"system:serviceaccount:{world.namespace}:default"
    assert own.count(".") == 2


@CASES.add(pytest.mark.behaviour("ServiceAccounts should allow opting out of API token automount"))
async def a_token_is_mounted_only_where_pod_or_account_want_it(world: World) -> None:
    """The server writes the mount into the pod. What it wrote is then seen in two whose wish is not their account's."""
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    for account, wish in (("mount", True), ("no-mount", False)):
        await world.create("ServiceAccount", world.name(account), automountServiceAccountToken=wish)

    def of(account: str, wish: bool | None, script: str = "true", **spec: object) -> Object:
        pod = world.pod(script, name=f"{account}-{wish}".lower(), serviceAccountName=world.name(account), **spec)
        del pod["spec"]["automountServiceAccountToken"]
        pod["spec"] |= {} if wish is None else {"automountServiceAccountToken": wish}
        return pod

    async def is_given(account: str, wish: bool | None) -> bool:
        made = await world.client.create(world.resource("Pod"), of(account, wish, nodeSelector={"nobody": "here"}))
        await world.delete("Pod", made["metadata"]["name"], grace_seconds=0)
        return place in [one["mountPath"] for one in made["spec"]["containers"][0].get("volumeMounts") or ()]

    given = {
        (account, wish): await is_given(account, wish)
        for account in ("mount", "no-mount")
        for wish in (True, False, None)
    }
    assert given == {
        ("mount", True): True,
        ("mount", False): False,
        ("mount", None): True,
        ("no-mount", True): True,
        ("no-mount", False): False,
        ("no-mount", None): False,
    }
    look = f"[ -s {place}/token ] && echo mounted; [ -d {place} ] || echo none"
    assert await world.printed(of("no-mount", True, look)) == ["mounted"]
    assert await world.printed(of("mount", False, look)) == ["none"]


test_processes = CASES.test()
