"""An honest container runtime in virtual time: names are reserved, calls take time, processes end by their own plan.

What a caller may not rely on with containerd does not work here either; and what must never happen is noted in
``violations`` as it happens.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from kontinuum.foundation.clock import Clock
from kontinuum.node.observed import CONTAINER_NAME, POD_UID, Container, ContainerState, Observed, Sandbox
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
)


@dataclass(frozen=True)
class Program:
    """How a container's process behaves."""

    seconds: float | None = None
    """How long it runs; None is for ever."""
    exit_code: int = 0
    start_error: str = ""
    loses_sandbox: bool = False
    """Whether its start fails because its sandbox dies meanwhile."""
    ignores_term: bool = False
    term_code: int = 143
    """How it ends when it is asked to."""
    start_seconds: float = 0.0
    """How long its start takes, as that of a machine that has to boot."""


@dataclass
class FakeRuntime:
    clock: Clock
    programs: dict[str, list[Program]] = field(default_factory=dict)
    """By container name, one for each start; the last one is used again and again."""
    images: set[str] = field(default_factory=lambda: {"docker.io/library/app:1"})
    registry: dict[str, float] = field(default_factory=dict)
    """Images that can be pulled, and how many seconds that takes."""
    passwords: dict[str, str] = field(default_factory=dict)
    """Images that the registry gives only to who says the password."""
    pulling: int = 0
    most_pulling: int = 0
    """How many images were pulled at once, at most."""
    loses_sandbox_next: bool = False
    """Whether the sandbox dies just before the next container is created in it."""
    vanishing: int = 0
    """In how many answers of ``usage`` a container is still to vanish meanwhile, which fails them."""
    failures: Counter[str] = field(default_factory=Counter)
    """How often each call is still to fail, by its name."""
    surprises: Counter[str] = field(default_factory=Counter)
    """How often each call is still to raise what nobody expects, by its name."""
    is_away: bool = False
    violations: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    sandboxes: dict[str, Sandbox] = field(default_factory=dict)
    containers: dict[str, tuple[str, Container]] = field(default_factory=dict)
    reopened: list[str] = field(default_factory=list)
    updates: list[tuple[str, Config]] = field(default_factory=list)
    """Limits that were changed, by container id, in order."""
    stops: list[tuple[str, int]] = field(default_factory=list)
    """Which containers were asked to stop, by name and with how many seconds of grace, in order."""
    starts: Counter[str] = field(default_factory=Counter)
    configs: list[Config] = field(default_factory=list)
    """Of every sandbox and container that was made, in order."""
    init_names: set[str] = field(default_factory=set)
    """Containers that must have succeeded before any other may start."""

    def __post_init__(self) -> None:
        self._numbers = count(1)
        self._endings: set[asyncio.Task[None]] = set()
        self._reserved: set[tuple[str, int]] = set()

    async def _enter(self, call: str, seconds: float = 0.01) -> None:
        self.calls.append(call)
        await self.clock.sleep(seconds)
        if self.is_away:
            raise RuntimeAway("the runtime is away")
        if self.failures[call]:
            self.failures[call] -= 1
            raise RuntimeFailed(f"{call} failed as it was told to")
        if self.surprises[call]:
            self.surprises[call] -= 1
            raise AssertionError(f"nobody expects this of {call}")

    async def features(self) -> Features:
        await self._enter("features")
        return Features()

    async def version(self) -> tuple[str, str]:
        await self._enter("version")
        return "fake", "1"

    async def fingerprints(self) -> Mapping[str, Fingerprint]:
        await self._enter("fingerprints")
        states: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        names: dict[str, tuple[str, str]] = {}
        for sandbox in self.sandboxes.values():
            states[sandbox.pod_uid].add((sandbox.id, int(not sandbox.is_ready)))
            names[sandbox.pod_uid] = (sandbox.namespace, sandbox.name)
        for uid, container in self.containers.values():
            states[uid].add((container.id, container.state.value))
        return {uid: Fingerprint(*names.get(uid, ("", "")), frozenset(seen)) for uid, seen in states.items()}

    async def observe(self, pod_uid: str) -> Observed:
        await self._enter("observe")
        return Observed.of(
            (one for one in self.sandboxes.values() if one.pod_uid == pod_uid),
            (one for uid, one in self.containers.values() if uid == pod_uid),
        )

    async def run_sandbox(self, config: Config, handler: str) -> str:
        metadata = config["metadata"]
        key = (metadata["uid"], metadata["attempt"])
        if key in self._reserved:
            raise RuntimeFailed(f"name of attempt {key[1]} is reserved")
        self._reserved.add(key)
        # A sandbox that fails keeps its name, as containerd's sometimes does.
        self.configs.append(config)
        await self._enter("run_sandbox", 0.1)
        if any(one.is_ready and one.pod_uid == metadata["uid"] for one in self.sandboxes.values()):
            self.violations.append("two live sandboxes of one pod")
        number = next(self._numbers)
        sandbox = Sandbox(f"s{number}", metadata["uid"], metadata["namespace"], metadata["name"], metadata["attempt"],
                          True, self.clock.time(), handler, (f"10.0.0.{number}",))  # fmt: skip
        self.sandboxes[sandbox.id] = sandbox
        return sandbox.id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._enter("stop_sandbox")
        if sandbox_id in self.sandboxes:
            for _, container in list(self.containers.values()):
                if container.sandbox_id == sandbox_id and container.is_running:
                    self._end(container.id, 137)
            self.sandboxes[sandbox_id] = replace(self.sandboxes[sandbox_id], is_ready=False, ips=())

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._enter("remove_sandbox")
        self.sandboxes.pop(sandbox_id, None)
        for container_id, (_, container) in list(self.containers.items()):
            if container.sandbox_id == sandbox_id:
                del self.containers[container_id]

    async def create_container(self, sandbox_id: str, config: Config, sandbox_config: Config) -> str:
        self.configs.append(config)
        if self.loses_sandbox_next:
            self.loses_sandbox_next = False
            self.lose_sandbox()
        await self._enter("create_container", 0.05)
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.is_ready:
            raise NotThere("the sandbox is not ready")
        name, attempt = config["metadata"]["name"], config["metadata"]["attempt"]
        if any(one.name == name and one.attempt == attempt and one.sandbox_id == sandbox_id
               for _, one in self.containers.values()):  # fmt: skip
            raise RuntimeFailed(f"name {name}_{attempt} is reserved")
        assert config["labels"][CONTAINER_NAME] == name
        container = Container(f"c{next(self._numbers)}", sandbox_id, name, attempt, ContainerState.CREATED,
                              self.clock.time(), annotations=dict(config["annotations"]),
                              image=config["image"]["image"], image_id=config["image"]["image"])  # fmt: skip
        self.containers[container.id] = (config["labels"][POD_UID], container)
        return container.id

    async def start_container(self, container_id: str) -> None:
        await self._enter("start_container", 0.05)
        uid, container = self._get(container_id)
        self._check_order(uid, container)
        plan = self.programs.get(container.name, [Program()])
        program = plan[min(self.starts[container.name], len(plan) - 1)]
        self.starts[container.name] += 1
        await self.clock.sleep(program.start_seconds)
        now = self.clock.time()
        if program.loses_sandbox:
            self.lose_sandbox()
        error = "the machine is lost" if program.loses_sandbox else program.start_error
        if error:
            self._put(container_id, state=ContainerState.EXITED, exit_code=128, reason="StartError",
                      message=error, finished_at=now)  # fmt: skip
            raise RuntimeFailed(error)
        self._put(container_id, state=ContainerState.RUNNING, started_at=now)
        if program.seconds is not None:
            self._later(container_id, program)

    def _check_order(self, uid: str, container: Container) -> None:
        mine = [one for owner, one in self.containers.values() if owner == uid]
        if any(one.name == container.name and one.is_running for one in mine):
            self.violations.append(f"two live containers {container.name}")
        done = {one.name for one in mine
                if one.sandbox_id == container.sandbox_id and one.has_exited and one.exit_code == 0}  # fmt: skip
        if container.name not in self.init_names and not self.init_names <= done:
            self.violations.append(f"{container.name} started before {sorted(self.init_names - done)}")

    async def stop_container(self, container_id: str, grace: int) -> None:
        await self._enter("stop_container")
        if container_id not in self.containers or not self._get(container_id)[1].is_running:
            return
        name = self._get(container_id)[1].name
        self.stops.append((name, grace))
        plan = self.programs.get(name, [Program()])
        if plan[-1].ignores_term:
            await self.clock.sleep(grace)
            self._end(container_id, 137)
        else:
            await self.clock.sleep(0.02)
            self._end(container_id, plan[-1].term_code)

    async def update_container(self, container_id: str, resources: Config) -> None:
        await self._enter("update_container")
        if container_id not in self.containers:
            raise NotThere(container_id)
        self.updates.append((container_id, resources))

    async def remove_container(self, container_id: str) -> None:
        await self._enter("remove_container")
        self.containers.pop(container_id, None)

    async def execute(self, container_id: str, command: list[str], timeout: float) -> Executed:
        await self._enter("execute")
        return Executed(0, b"", b"")

    async def present_images(self) -> list[PresentImage]:
        await self._enter("present_images", 0.001)
        return [PresentImage((name,), 1, f"id of {name}") for name in sorted(self.images)]

    async def known_containers(self) -> list[KnownContainer]:
        await self._enter("known_containers", 0.001)
        return [
            KnownContainer(one.id, uid, one.name, _id_of(one.image_id), one.has_exited, one.created_at)
            for uid, one in self.containers.values()
        ]

    async def remove_image(self, image_id: str) -> None:
        await self._enter("remove_image", 0.001)
        name = image_id.removeprefix("id of ")
        if any(_id_of(one.image_id) == image_id for _, one in self.containers.values()):
            self.violations.append(f"{name} was removed while containers of it were there")
        self.images.discard(name)

    async def image(self, reference: str) -> Image | None:
        await self._enter("image", 0.001)
        return Image(f"id of {reference}", 1) if reference in self.images else None

    async def pull(self, reference: str, credentials: Config | None, sandbox_config: Config) -> str:
        await self._enter("pull")
        if reference not in self.registry:
            raise RuntimeFailed(f'failed to resolve reference "{reference}": not found')
        if self.passwords.get(reference, "") != ((credentials or {}).get("password") or ""):
            raise RuntimeFailed(f'failed to authorize "{reference}": 401 Unauthorized')
        self.pulling += 1
        self.most_pulling = max(self.pulling, self.most_pulling)
        try:
            await self.clock.sleep(self.registry[reference])
        finally:
            self.pulling -= 1
        self.images.add(reference)
        return reference

    async def exec_url(self, container_id: str, command: list[str], streams: Config) -> str:
        raise NotThere(container_id)

    async def port_forward_url(self, sandbox_id: str, ports: list[int]) -> str:
        raise NotThere(sandbox_id)

    async def network_namespace(self, sandbox_id: str) -> str:
        raise NotThere(sandbox_id)

    async def reopen_log(self, container_id: str) -> None:
        await self._enter("reopen_log")
        self.reopened.append(container_id)

    async def usage(self) -> list[ContainerUsage]:
        """Every running container keeps half a CPU busy, and holds 10 MiB."""
        await self._enter("usage")
        if self.vanishing:
            self.vanishing -= 1
            raise NotThere("failed to get container ID: not found")
        now = self.clock.time()
        pods = {one.pod_uid: one for one in self.sandboxes.values()}
        return [
            ContainerUsage(one.id, uid, pods[uid].namespace, pods[uid].name, one.name, now,
                           int((now - one.started_at) * 500_000_000), 10 << 20)
            for uid, one in self.containers.values()
            if one.is_running
        ]  # fmt: skip

    async def memory(self, sandbox: Sandbox) -> dict[str, int]:
        """10 MiB, as ``usage`` tells."""
        await self._enter("memory")
        uids = {one.pod_uid for one in self.sandboxes.values() if one.id == sandbox.id}
        return {one.name: 10 << 20 for uid, one in self.containers.values() if one.is_running and uid in uids}

    async def attach_url(self, container_id: str, streams: Config) -> str:
        raise NotThere(container_id)

    def kill(self, name: str, code: int = 137) -> None:
        """The process of the running container ``name`` dies."""
        for _, container in list(self.containers.values()):
            if container.name == name and container.is_running:
                self._end(container.id, code)

    def lose_sandbox(self) -> None:
        """Every sandbox dies, as when its pause process is killed."""
        self.sandboxes = {key: replace(one, is_ready=False, ips=()) for key, one in self.sandboxes.items()}

    def running(self) -> list[str]:
        return sorted(one.name for _, one in self.containers.values() if one.is_running)

    def _later(self, container_id: str, program: Program) -> None:
        async def ending() -> None:
            await self.clock.sleep(program.seconds or 0)
            if container_id in self.containers and self._get(container_id)[1].is_running:
                self._end(container_id, program.exit_code)

        task = asyncio.create_task(ending())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    def _end(self, container_id: str, code: int) -> None:
        reason = "Completed" if code == 0 else "Error"
        self._put(container_id, state=ContainerState.EXITED, exit_code=code, reason=reason,
                  finished_at=self.clock.time())  # fmt: skip

    def _get(self, container_id: str) -> tuple[str, Container]:
        if container_id not in self.containers:
            raise NotThere(container_id)
        return self.containers[container_id]

    def _put(self, container_id: str, **changes: Any) -> None:
        uid, container = self.containers[container_id]
        self.containers[container_id] = (uid, replace(container, **changes))


def _id_of(image: str) -> str:
    """A container may be made by an image's name or by its id."""
    return image if image.startswith("id of ") else f"id of {image}"
