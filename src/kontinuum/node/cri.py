"""The CRI over gRPC: a thin client of containerd's socket."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import grpc

from kontinuum.api.cri.messages import CALLS, NUMBERS
from kontinuum.foundation import grpc_calls
from kontinuum.node.observed import (
    CONTAINER_NAME,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    Container,
    ContainerState,
    Observed,
    Sandbox,
    User,
)
from kontinuum.node.port import (
    Config,
    ContainerUsage,
    Executed,
    Features,
    Fingerprint,
    Image,
    KnownContainer,
    NotThere,
    PresentImage,
    RuntimeAway,
    RuntimeFailed,
    RuntimeTimedOut,
)
from kontinuum.node.usage.shares import Shares

CALL_SECONDS = 120.0
"""As the kubelet's ``runtimeRequestTimeout``: a sandbox on a loaded machine takes long, but not longer."""
PULL_SECONDS = 1800.0
EXEC_SLACK_SECONDS = 5.0
"""How much longer than the command itself its call may take: containerd kills it first and says so."""
LARGEST_ANSWER = 16 << 20
NANOSECONDS = 1e9


class CriClient:
    """See ``port.ContainerRuntime``. Reconnects by itself when containerd comes back."""

    def __init__(self, socket: Path, undivided: Collection[str] = ()) -> None:
        """``undivided``: handlers of whose pods every container is told the use of the pod's whole sandbox."""
        self._undivided, self._shares = frozenset(undivided), Shares()
        options = [
            ("grpc.max_receive_message_length", LARGEST_ANSWER),
            # The default waits up to two minutes between attempts; containerd is back within a second.
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 500),
            # Not a pause, whatever its name: how long an attempt may last. A busy host's containerd is slow to greet.
            ("grpc.min_reconnect_backoff_ms", 20_000),
        ]
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=options)
        self._calls = grpc_calls.on_channel(self._channel, CALLS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def call(self, name: str, *, timeout: float = CALL_SECONDS, **fields: Any) -> Any:
        """One call by its name in the CRI; ``fields`` are those of its request."""
        return await self._send(name, timeout, fields)

    async def _send(self, name: str, timeout: float, fields: Config) -> Any:
        try:
            return await self._calls[name](CALLS[name].request(**fields), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error

    async def is_ready(self) -> bool:
        """Whether containerd answers and its CRI plugin runs."""
        try:
            status = await self.call("Status", timeout=5)
        except (RuntimeAway, RuntimeFailed):
            return False
        return all(condition.status for condition in status.status.conditions if condition.type == "RuntimeReady")

    async def features(self) -> Features:
        """What ``Status`` tells: nothing before containerd 2.0."""
        status = await self.call("Status", timeout=5)

        def having(feature: str) -> frozenset[str]:
            return frozenset(one.name for one in status.runtime_handlers if getattr(one.features, feature))

        return Features(
            having("user_namespaces"),
            having("recursive_read_only_mounts"),
            status.features.supplemental_groups_policy,
        )

    async def version(self) -> tuple[str, str]:
        """The runtime's name and version: ``("containerd", "1.6.20~ds1")``."""
        answer = await self.call("Version", timeout=5)
        return answer.runtime_name, answer.runtime_version

    async def fingerprints(self) -> Mapping[str, Fingerprint]:
        """The states of all pods' parts by pod UID, from two cheap list calls."""
        sandboxes, containers = await asyncio.gather(self.call("ListPodSandbox"), self.call("ListContainers"))
        states: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        names: dict[str, tuple[str, str]] = {}
        for item in (*sandboxes.items, *containers.containers):
            uid = item.labels.get(POD_UID, "")
            states[uid].add((item.id, item.state))
            names[uid] = (item.labels.get(POD_NAMESPACE, ""), item.labels.get(POD_NAME, ""))
        return {uid: Fingerprint(*names[uid], frozenset(seen)) for uid, seen in states.items() if uid}

    async def observe(self, pod_uid: str) -> Observed:
        """Everything of one pod in full."""
        mine = {"label_selector": {POD_UID: pod_uid}}
        sandboxes, containers = await asyncio.gather(
            self.call("ListPodSandbox", filter=mine), self.call("ListContainers", filter=mine)
        )
        # Containers first: one that is seen to have ended with its sandbox must not be seen beside a living sandbox.
        found_containers = await asyncio.gather(*(self._container(item) for item in containers.containers))
        found_sandboxes = await asyncio.gather(*(self._sandbox(item.id) for item in sandboxes.items))
        return Observed.of(
            (s for s in found_sandboxes if s is not None), (c for c in found_containers if c is not None)
        )

    async def _sandbox(self, sandbox_id: str) -> Sandbox | None:
        try:
            status = (await self.call("PodSandboxStatus", pod_sandbox_id=sandbox_id)).status
        except NotThere:
            return None
        ips = (status.network.ip, *(more.ip for more in status.network.additional_ips))
        return Sandbox(
            id=status.id,
            pod_uid=status.metadata.uid,
            namespace=status.metadata.namespace,
            name=status.metadata.name,
            attempt=status.metadata.attempt,
            is_ready=status.state == NUMBERS["SANDBOX_READY"],
            created_at=status.created_at / NANOSECONDS,
            handler=status.runtime_handler,
            ips=tuple(ip for ip in ips if ip),
        )

    async def _container(self, item: Any) -> Container | None:
        try:
            status = (await self.call("ContainerStatus", container_id=item.id)).status
        except NotThere:
            return None
        started_at = max(0.0, status.started_at / NANOSECONDS)
        finished_at = max(0.0, status.finished_at / NANOSECONDS)
        return Container(
            id=status.id,
            sandbox_id=item.pod_sandbox_id,
            name=status.labels.get(CONTAINER_NAME, status.metadata.name),
            attempt=status.metadata.attempt,
            state=ContainerState(status.state),
            created_at=status.created_at / NANOSECONDS,
            started_at=started_at,
            # containerd notes the start when its call returns, and a short process may have ended before that.
            finished_at=max(finished_at, started_at) if finished_at else 0.0,
            exit_code=status.exit_code,
            reason=status.reason,
            message=status.message,
            image=status.image.image,
            image_id=status.image_ref,
            annotations=dict(status.annotations),
            user=_user(status.user),
            only_read_below=frozenset(one.container_path for one in status.mounts if one.recursive_read_only),
        )

    async def run_sandbox(self, config: Config, handler: str) -> str:
        answer = await self.call("RunPodSandbox", config=config, runtime_handler=handler)
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._if_there("StopPodSandbox", CALL_SECONDS, {"pod_sandbox_id": sandbox_id})

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._if_there("RemovePodSandbox", CALL_SECONDS, {"pod_sandbox_id": sandbox_id})

    async def create_container(self, sandbox_id: str, config: Config, sandbox_config: Config) -> str:
        answer = await self.call(
            "CreateContainer", pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config
        )
        return str(answer.container_id)

    async def start_container(self, container_id: str) -> None:
        await self.call("StartContainer", container_id=container_id)

    async def stop_container(self, container_id: str, grace: int) -> None:
        """Ask to end, kill after ``grace`` seconds; returns when it has ended."""
        # The request has a field of the same name as gRPC's own time limit, so it goes the longer way.
        await self._if_there("StopContainer", CALL_SECONDS + grace, {"container_id": container_id, "timeout": grace})

    async def update_container(self, container_id: str, resources: Config) -> None:
        await self.call("UpdateContainerResources", container_id=container_id, linux=resources)

    async def remove_container(self, container_id: str) -> None:
        await self._if_there("RemoveContainer", CALL_SECONDS, {"container_id": container_id})

    async def _if_there(self, name: str, timeout: float, fields: Config) -> None:
        try:
            await self._send(name, timeout, fields)
        except NotThere:
            return

    async def known_containers(self) -> list[KnownContainer]:
        answer = await self.call("ListContainers")
        return [
            KnownContainer(
                id=one.id,
                pod_uid=one.labels.get(POD_UID, ""),
                name=one.labels.get(CONTAINER_NAME, one.metadata.name),
                image_id=one.image_ref,
                is_dead=one.state == NUMBERS["CONTAINER_EXITED"],
                created_at=one.created_at / NANOSECONDS,
            )
            for one in answer.containers
        ]

    async def execute(self, container_id: str, command: list[str], timeout: float) -> Executed:
        """Run ``command`` to its end inside the container. Raises RuntimeTimedOut after ``timeout`` seconds."""
        fields = {"container_id": container_id, "cmd": command, "timeout": max(1, round(timeout))}
        answer = await self._send("ExecSync", timeout + EXEC_SLACK_SECONDS, fields)
        return Executed(answer.exit_code, answer.stdout, answer.stderr)

    async def image(self, reference: str) -> Image | None:
        """The image if it is present. Raises RuntimeFailed for a reference that no parser accepts."""
        answer = await self.call("ImageStatus", image={"image": reference})
        if not answer.image.id:
            return None
        user = answer.image.uid.value if answer.image.HasField("uid") else None
        return Image(answer.image.id, answer.image.size, user, answer.image.username)

    async def present_images(self) -> list[PresentImage]:
        answer = await self.call("ListImages")
        return [
            PresentImage((*one.repo_digests, *one.repo_tags), one.size, one.id, one.pinned) for one in answer.images
        ]

    async def remove_image(self, image_id: str) -> None:
        await self._if_there("RemoveImage", CALL_SECONDS, {"image": {"image": image_id}})

    async def pull(self, reference: str, credentials: Config | None, sandbox_config: Config) -> str:
        answer = await self.call(
            "PullImage",
            timeout=PULL_SECONDS,
            image={"image": reference},
            auth=credentials,
            sandbox_config=sandbox_config,
        )
        return str(answer.image_ref)

    async def exec_url(self, container_id: str, command: list[str], streams: Config) -> str:
        """Where a command can be joined, once. ``streams``: ``stdin``, ``stdout``, ``stderr``, ``tty`` as booleans."""
        answer = await self.call("Exec", container_id=container_id, cmd=command, **streams)
        return str(answer.url)

    async def port_forward_url(self, sandbox_id: str, ports: list[int]) -> str:
        """Where connections to the sandbox's ports can be made, once. Over SPDY the ports are named later."""
        answer = await self.call("PortForward", pod_sandbox_id=sandbox_id, port=ports)
        return str(answer.url)

    async def network_namespace(self, sandbox_id: str) -> str:
        """The path of the sandbox's network namespace, as containerd and CRI-O tell it."""
        answer = await self.call("PodSandboxStatus", pod_sandbox_id=sandbox_id, verbose=True)
        spec = (json.loads(answer.info["info"]).get("runtimeSpec") or {}) if "info" in answer.info else {}
        for namespace in (spec.get("linux") or {}).get("namespaces") or ():
            if namespace["type"] == "network" and namespace.get("path"):
                return str(namespace["path"])
        raise RuntimeFailed(f"the runtime does not tell the network namespace of sandbox {sandbox_id}")

    async def reopen_log(self, container_id: str) -> None:
        """Write the container's log under its own name again, after the file has been renamed."""
        await self._if_there("ReopenContainerLog", CALL_SECONDS, {"container_id": container_id})

    async def usage(self) -> list[ContainerUsage]:
        """Of every running container. One that is just starting or ending has no numbers, and is left out."""
        answer = await self.call("ListContainerStats")
        found = [
            ContainerUsage(
                id=one.attributes.id,
                pod_uid=one.attributes.labels[POD_UID],
                namespace=one.attributes.labels.get(POD_NAMESPACE, ""),
                pod=one.attributes.labels.get(POD_NAME, ""),
                container=one.attributes.labels.get(CONTAINER_NAME, ""),
                time=one.cpu.timestamp / NANOSECONDS,
                cpu_nanoseconds=one.cpu.usage_core_nano_seconds.value,
                memory_bytes=one.memory.working_set_bytes.value,
                layer_bytes=one.writable_layer.used_bytes.value,
                layer_inodes=one.writable_layer.inodes_used.value,
                memory_usage_bytes=_told(one.memory, "usage_bytes"),
                rss_bytes=_told(one.memory, "rss_bytes"),
                page_faults=_told(one.memory, "page_faults"),
                major_page_faults=_told(one.memory, "major_page_faults"),
            )
            for one in answer.stats
            if one.attributes.labels.get(POD_UID) and one.HasField("cpu") and one.HasField("memory")
        ]
        if not self._undivided:
            return found
        sandboxes = (await self.call("ListPodSandbox")).items
        return self._shares.of(
            found, {one.labels.get(POD_UID, "") for one in sandboxes if one.runtime_handler in self._undivided}
        )

    async def memory(self, sandbox: Sandbox) -> Mapping[str, int]:
        """Asks about this sandbox alone: a container of another pod that ends just now would fail the whole answer."""
        answer = await self.call("ListContainerStats", filter={"pod_sandbox_id": sandbox.id})
        told = {
            one.attributes.labels.get(CONTAINER_NAME, ""): one.memory.working_set_bytes.value
            for one in answer.stats
            if one.HasField("memory")
        }
        # Where each is told what the pod uses, each gets an equal part, as in ``usage``.
        parts = len(told) if sandbox.handler in self._undivided else 1
        return {name: used // parts for name, used in told.items()}

    async def attach_url(self, container_id: str, streams: Config) -> str:
        answer = await self.call("Attach", container_id=container_id, **streams)
        return str(answer.url)


def _user(user: Any) -> User | None:
    if not user.HasField("linux"):
        return None
    return User(user.linux.uid, user.linux.gid, tuple(user.linux.supplemental_groups))


def _told(message: Any, field: str) -> int | None:
    return int(getattr(message, field).value) if message.HasField(field) else None


def _translated(error: grpc.aio.AioRpcError) -> RuntimeAway | RuntimeFailed | NotThere:
    details = error.details() or str(error.code())
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return RuntimeAway(f"containerd does not answer: {details}")
        case grpc.StatusCode.NOT_FOUND:
            return NotThere(details)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return RuntimeTimedOut(details)
        case _:
            return RuntimeFailed(details)
