"""The hands of a pod's worker: each action of ``plan`` carried out against runtime, volumes, cgroups and events.

Failures that a pod's owner should see become events and are remembered (``remembered``), so that the next plan waits;
all others are raised.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from functools import partial
from pathlib import Path

import structlog

from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.images import containerd
from kontinuum.node import (
    abilities,
    bandwidth,
    cgroups,
    container_mounts,
    log_files,
    names,
    pods,
    qos,
    resize,
    user_namespaces,
)
from kontinuum.node.abilities import NotOffered
from kontinuum.node.checks import CheckFailed, CheckImpossible
from kontinuum.node.container_config import Attempt, BadContainer, container_config, linux_resources, log_path
from kontinuum.node.environment import environment
from kontinuum.node.even_time import EvenTime
from kontinuum.node.images import ImageTrouble
from kontinuum.node.interruption import Interruption
from kontinuum.node.observed import TERMINATION_MESSAGE_POLICY, Observed, Sandbox
from kontinuum.node.plan import (
    RESIZED,
    Action,
    CreateSandbox,
    ReleaseVolumes,
    RemoveContainer,
    RemoveSandbox,
    Resize,
    StartContainer,
    StopContainer,
    StopSandbox,
)
from kontinuum.node.port import Config, Image, NotThere, RuntimeFailed
from kontinuum.node.remembered import (
    CONFIG_BACKOFF,
    CREATE_BACKOFF,
    PULL_BACKOFF,
    SANDBOX_BACKOFF,
    VOLUME_BACKOFF,
    Remembered,
)
from kontinuum.node.sandbox_config import log_directory, sandbox_config
from kontinuum.node.sources import SourceMissing
from kontinuum.node.termination import read_message
from kontinuum.node.tools import Tools
from kontinuum.node.user_namespaces import NoUsers, UserNamespaces, Users
from kontinuum.node.volumes import mounting, provisioned
from kontinuum.node.volumes.context import CannotMount, Context
from kontinuum.node.volumes.image import ImageVolumes

log = structlog.get_logger(__name__)

NORMAL, WARNING = "Normal", "Warning"
SANDBOX_CHANGED = "Pod sandbox changed, it will be killed and re-created."
DEFAULT_MESSAGE_PATH = "/dev/termination-log"
CANNOT_CREATE = (
    NotOffered, bandwidth.Unreasonable, names.NameTooLong, NoUsers, RuntimeFailed, SourceMissing, OSError,
)  # fmt: skip
"""Why there is no sandbox yet; it is tried again."""
SHORTEST_GRACE = 2
"""Seconds between the two signals, whatever a hook and waiting have taken: the kubelet's."""


class Hands:
    """See the module."""

    def __init__(self, tools: Tools, remembered: Remembered, interruption: Interruption, even_time: EvenTime) -> None:
        self._tools = tools
        self._even_time = even_time
        self._remembered = remembered
        self._interruption = interruption
        self._runtime = tools.runtime
        self._scratch = tools.scratch
        self._stopped: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By container id: set when it has been stopped."""
        self.at_volumes = asyncio.Lock()
        """Held by who refreshes the pod's volumes, and by who removes them: what is mounted again after it was given
        back is in use for ever, by nobody."""

    async def do(self, pod: Object, action: Action, observed: Observed) -> None:
        match action:
            case CreateSandbox():
                if observed.sandboxes:
                    self._tell(pod, NORMAL, "SandboxChanged", SANDBOX_CHANGED)
                await self._create_sandbox(pod, action)
            case StopSandbox():
                await self._runtime.stop_sandbox(action.sandbox_id)
            case RemoveSandbox():
                await self._runtime.stop_sandbox(action.sandbox_id)
                await self._runtime.remove_sandbox(action.sandbox_id)
            case StartContainer():
                await self._start_container(pod, action, observed)
            case StopContainer():
                await self._stop_container(pod, action, observed)
            case Resize():
                await self._resize(pod, action, observed)
            case RemoveContainer():
                await self._runtime.remove_container(action.container_id)
            case ReleaseVolumes():
                async with self.at_volumes:
                    self._remembered.places = {}
                    await self.release_volumes(pod)
                    mounting.remove(mounting.volumes_below(self._directory(pod)))
                    settings = self._tools.settings
                    await asyncio.to_thread(provisioned.let_go, settings.volumes, settings.data / "pods")
                    self._remembered.has_released = True

    async def prepare_volumes(self, pod: Object, ips: tuple[str, ...]) -> dict[str, Path]:
        tools = self._tools
        tell = partial(self._tell, pod)
        images = ImageVolumes(tools.puller, tools.settings.socket, tell)
        around, now = tools.around(ips), tools.clock.time()
        context = Context(pod, tools.sources, tools.tokens, around, images, self._scratch, tell, now)
        self._remembered.places = await mounting.prepare(context, self._directory(pod))
        return self._remembered.places

    async def release_volumes(self, pod: Object) -> None:
        """Give back what others keep for the pod's volumes. Raises ProgramFailed."""
        for volume in pod["spec"].get("volumes") or ():
            if "image" in volume:
                place = mounting.place_of(self._directory(pod), volume)
                await containerd.unmount(self._tools.settings.socket, place)

    def read_messages(self, pod: Object, observed: Observed) -> None:
        """Read each ended container's last words, once."""
        for container in observed.containers:
            if container.has_exited and container.id not in self._remembered.messages:
                policy = container.annotations.get(TERMINATION_MESSAGE_POLICY, "File")
                written = log_directory(self._tools.settings, pod) / log_path(container.name, container.attempt)
                failed = container.exit_code != 0
                fallback = written if policy == "FallbackToLogsOnError" and failed else None
                message = read_message(self._message_file(pod, container.name, container.attempt), fallback)
                self._remembered.messages[container.id] = message

    # Sandboxes

    async def _create_sandbox(self, pod: Object, action: CreateSandbox) -> None:
        tools, settings = self._tools, self._tools.settings
        try:
            handler = await tools.sources.handler(pods.isolation_class(pod))
            if unmet := abilities.unmet(handler, pod):
                raise NotOffered(unmet)
            if user_namespaces.has_own(pod) and handler not in tools.features.user_namespaces:
                raise NotOffered(abilities.sentence("hostUsers: false", handler, user_namespaces.unsupported(handler)))
            # Before containerd knows the pod: it cannot take apart what it has made with words that it cannot read.
            bandwidth.limits_of(pod)
            await self.prepare_volumes(pod, ())
            self._remembered.sandbox_attempts = action.attempt + 1
            log_directory(settings, pod).mkdir(parents=True, exist_ok=True)
            cgroups.create(qos.cgroup_of(settings, pod), self._limits(pod, handler), tools.cgroup_root)
            config = self._sandbox_config(pod, action.attempt)
            for omission in names.dns_omissions(pod, settings, tools.host_resolver):
                self._tell(pod, WARNING, "DNSConfigForming", omission)
            await self._runtime.run_sandbox(config, handler)
        except CannotMount as error:
            self._tell(pod, WARNING, "FailedMount", str(error))
            now = self._even_time.now()
            self._remembered.sandbox_failed("FailedMount", str(error), now=now, backoff=VOLUME_BACKOFF)
            return
        except CANNOT_CREATE as error:
            self._tell(pod, WARNING, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            self._remembered.sandbox_failed(
                "FailedCreatePodSandBox", str(error), now=self._even_time.now(), backoff=SANDBOX_BACKOFF
            )
            return
        self._remembered.sandbox = None

    def _sandbox_config(self, pod: Object, attempt: int) -> Config:
        config = sandbox_config(pod, attempt, self._tools.settings, self._tools.host_resolver)
        return user_namespaces.mapped(config, self._users(pod))

    def _limits(self, pod: Object, handler: str) -> cgroups.PodLimits:
        limits = cgroups.pod_limits(pod, self._tools.settings.pod_pids_limit)
        return cgroups.with_headroom(limits) if handler in abilities.MACHINES else limits

    def _users(self, pod: Object) -> Users | None:
        """Raises what ``UserNamespaces.of`` raises."""
        settings = self._tools.settings
        ranges = UserNamespaces(settings.data / "pods", most_pods=settings.max_pods)
        return ranges.of(uid_of(pod)) if user_namespaces.has_own(pod) else None

    # Containers

    async def _start_container(self, pod: Object, action: StartContainer, observed: Observed) -> None:
        container, sandbox = pods.find_container(pod, action.name), observed.sandbox
        if container is None or sandbox is None:
            return
        tell = partial(self._tell, pod, container=action.name)
        config = self._sandbox_config(pod, sandbox.attempt)
        image = await self._image(pod, container, config)
        if image is None:
            return
        try:
            await bandwidth.hold(pod, sandbox.ips)
            wanted = await self._container_config(pod, container, action, image, observed)
        except (KontinuumError, OSError) as error:
            self._failed(pod, container, "CreateContainerConfigError", str(error))
            return
        try:
            container_id = await self._runtime.create_container(sandbox.id, wanted, config)
        except RuntimeFailed as error:
            if await self._is_alive(pod, sandbox):
                self._failed(pod, container, "CreateContainerError", str(error))
            return
        self._remembered.containers.pop(action.name, None)
        tell(NORMAL, "Created", "Container created")
        try:
            # A machine's boot may take long; a pod that is deleted meanwhile does not wait for it.
            await self._interruption.during(self._runtime.start_container(container_id))
        except RuntimeFailed as error:
            if not await self._is_alive(pod, sandbox):
                # Not the container's failure and no attempt at it: it is started in the next sandbox.
                await self._runtime.remove_container(container_id)
                return
            # The runtime keeps the container as ended with StartError; that is what the status shows.
            tell(WARNING, "Failed", f"Error: {error}")
            return
        tell(NORMAL, "Started", "Container started")
        file = log_directory(self._tools.settings, pod) / log_path(action.name, action.attempt)
        log_files.link(self._tools.settings, pod, action.name, container_id, file)
        await self._post_start(pod, container, container_id, sandbox.ips)

    async def _is_alive(self, pod: Object, sandbox: Sandbox) -> bool:
        """Whether the sandbox is there to start something in."""
        now = await self._runtime.observe(uid_of(pod))
        return any(one.id == sandbox.id and one.is_ready for one in now.sandboxes)

    async def _image(self, pod: Object, container: Object, config: Config) -> Image | None:
        tell = partial(self._tell, pod, container=container["name"])
        try:
            return await self._interruption.during(self._tools.puller.have(pod, container, config, tell))
        except ImageTrouble as error:
            now = self._even_time.now()
            self._remembered.failed(container["name"], error.reason, str(error), now=now, backoff=PULL_BACKOFF)
            tell(WARNING, "Failed", f"Error: {error.reason}")
            return None

    def _failed(self, pod: Object, container: Object, reason: str, message: str) -> None:
        backoff = CONFIG_BACKOFF if reason == "CreateContainerConfigError" else CREATE_BACKOFF
        now = self._even_time.now()
        self._remembered.failed(container["name"], reason, message, now=now, backoff=backoff)
        self._tell(pod, WARNING, "Failed", f"Error: {message}", container=container["name"])

    async def _container_config(
        self, pod: Object, container: Object, action: StartContainer, image: Image, observed: Observed
    ) -> Config:
        ips = observed.sandbox.ips if observed.sandbox else ()
        around = self._tools.around(ips)
        services = await self._tools.services.variables(pod)
        places = await self.prepare_volumes(pod, ips)
        values = await environment(pod, container, self._tools.sources, around, services, places)
        volumes = pod["spec"].get("volumes") or ()
        handler = observed.sandbox.handler if observed.sandbox else ""
        is_deep = handler in self._tools.features.recursive_read_only_mounts
        mounts = container_mounts.volume_mounts(container, volumes, places, values, can_be_deep=is_deep)
        devices, disks = container_mounts.volume_devices(container, volumes, places)
        mounts += disks
        mounts += self._own_mounts(pod, container, action.attempt, ips, {one["container_path"] for one in mounts})
        config = container_config(
            pod,
            container,
            Attempt(action.attempt, action.streak),
            image,
            environment=values,
            mounts=mounts,
            devices=devices,
            node_memory=self._tools.node_memory,
            profiles=self._tools.settings.seccomp_profiles,
            target_id=_target(container, observed),
        )
        return user_namespaces.mapped(config, self._users(pod))

    def _own_mounts(
        self, pod: Object, container: Object, attempt: int, ips: tuple[str, ...], taken: set[str]
    ) -> list[Config]:
        """/etc/hosts and the file for the termination message, unless the pod mounts something there itself."""
        mounts = []
        if not pods.is_host_network(pod) and container_mounts.HOSTS_PATH not in taken:
            hosts = self._directory(pod) / "etc-hosts"
            hosts.parent.mkdir(parents=True, exist_ok=True)
            # In place, because running containers have this very file mounted.
            hosts.write_text(names.hosts_file(pod, ips, self._tools.settings.cluster_domain))
            mounts.append(container_mounts.own_file(container_mounts.HOSTS_PATH, hosts))
        message_path = container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH
        if message_path not in taken:
            message = self._message_file(pod, container["name"], attempt)
            message.parent.mkdir(parents=True, exist_ok=True)
            message.touch()
            # The process may run as any user.
            message.chmod(0o666)
            mounts.append(container_mounts.own_file(message_path, message))
        return mounts

    async def _post_start(self, pod: Object, container: Object, container_id: str, ips: tuple[str, ...]) -> None:
        hook = (container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        try:
            ip = next(iter(ips), self._tools.host.ip)
            grace = pods.grace_seconds(pod)
            await self._interruption.during(self._tools.checks.check(hook, container, container_id, ip, grace))
        except (CheckFailed, CheckImpossible, RuntimeFailed) as error:
            # What a hook said may hold secrets, and more people read events than logs of nodes.
            log.info("a hook after the start failed", pod=name_of(pod), container=container["name"], error=str(error))
            self._tell(pod, WARNING, "FailedPostStartHook", "PostStartHook failed", container=container["name"])
            self._tell(pod, NORMAL, "Killing", "FailedPostStartHook", container=container["name"])
            self._remembered.failed_hooks[container_id] = _failed_hook(pod, container, hook, error)
            await self._runtime.stop_container(container_id, pods.grace_seconds(pod))

    async def _resize(self, pod: Object, action: Resize, observed: Observed) -> None:
        """The pod's cgroup first gets room for both, then each container changes, then the pod's cgroup shrinks.

        Raises RuntimeFailed or OSError where the kernel refuses, RuntimeFailed for a limit below what is in use.
        """
        tools, remembered = self._tools, self._remembered
        parent = qos.cgroup_of(tools.settings, pod)
        handler = observed.sandbox.handler if observed.sandbox else ""
        now = self._limits(pod, handler)
        differing = resize.differing(pod, observed, remembered.actuated)
        held = {one["name"]: holds for one, holds in differing}
        before = self._limits(resize.with_resources(pod, held), handler)
        remembered.resizing = True
        try:
            await self._check_memory(observed, [one for one in differing if one[0]["name"] in action.names])
            cgroups.create(parent, cgroups.loosest(before, now), tools.cgroup_root)
            for name in action.names:
                container, current = pods.find_container(pod, name), observed.current(name)
                if container is not None and current is not None:
                    await self._runtime.update_container(current.id, linux_resources(pod, container, tools.node_memory))
                    remembered.actuated[current.id] = resize.wished(container)
            cgroups.create(parent, now, tools.cgroup_root)
        except (RuntimeFailed, OSError) as error:
            if remembered.resize_problem != str(error):
                self._tell(pod, WARNING, "ResizeError", f"Pod resize error: {error}")
            remembered.resize_problem = str(error)
            raise
        remembered.resizing, remembered.resize_problem = False, ""

    async def _check_memory(self, observed: Observed, changes: list[tuple[Object, resize.Amounts]]) -> None:
        """No limit may become less than what is in use and cannot be given back: the kernel of cgroup v2 would take
        the limit, and kill for it. Raises RuntimeFailed."""
        limits = resize.memory_decreases(changes)
        if not limits or observed.sandbox is None:
            return
        try:
            used = await self._runtime.memory(observed.sandbox)
        except NotThere as error:
            raise RuntimeFailed(f"reading what is in use: {error}") from error
        if problem := resize.too_small(limits, used):
            raise RuntimeFailed(problem)

    async def _stop_container(self, pod: Object, action: StopContainer, observed: Observed) -> None:
        container = pods.find_container(pod, action.name) or {"name": action.name}
        self._tell(pod, NORMAL, "Killing", killing_message(action), container=action.name)
        if action.is_replaced:
            self._remembered.replacing.add(action.container_id)
        await self._interruption.during(self._stop(pod, container, action, observed))
        self._stopped[action.container_id].set()

    async def _stop(self, pod: Object, container: Object, action: StopContainer, observed: Observed) -> None:
        began = self._tools.clock.monotonic()
        hook = (container.get("lifecycle") or {}).get("preStop")
        if hook and action.grace > 0:
            ips = observed.sandbox.ips if observed.sandbox else ()
            try:
                ip = next(iter(ips), self._tools.host.ip)
                await self._tools.checks.check(hook, container, action.container_id, ip, action.grace)
            except Retryable as error:
                log.info("a hook before the stop failed", pod=name_of(pod), container=action.name, error=str(error))
                self._tell(pod, WARNING, "FailedPreStopHook", "PreStopHook failed", container=action.name)
        await self._wait_turn(action, began + action.grace)
        left = round(began + action.grace - self._tools.clock.monotonic())
        await self._runtime.stop_container(action.container_id, max(SHORTEST_GRACE, left) if action.grace else 0)

    async def _wait_turn(self, action: StopContainer, until: float) -> None:
        """Until those that come before have ended, or their common grace has (``until``, on the monotonic clock)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until - self._tools.clock.monotonic()):
                for before in action.after:
                    await self._stopped[before].wait()

    # Small things

    def _directory(self, pod: Object) -> Path:
        return self._tools.pod_directory(pod["metadata"]["uid"])

    def _message_file(self, pod: Object, name: str, attempt: int) -> Path:
        return self._directory(pod) / "containers" / name / f"{attempt}.message"

    def _tell(self, pod: Object, kind: str, reason: str, message: str, *, container: str = "") -> None:
        whole = {"apiVersion": "v1", "kind": "Pod", **pod}
        self._tools.events.event(whole, kind, reason, message, field_path=pods.field_path(pod, container))


def _target(container: Object, observed: Observed) -> str:
    """The id of the container that an ephemeral one looks at, or "". Raises BadContainer if it does not run."""
    name = container.get("targetContainerName") or ""
    if not name:
        return ""
    current = observed.current(name)
    if current is None or not current.is_running:
        raise BadContainer(f"unable to find target container {name}")
    return current.id


def killing_message(action: StopContainer) -> str:
    """The kubelet's words for why a container is stopped."""
    if action.is_replaced and action.why != RESIZED:
        return f"Container {action.name} {action.why}, will be restarted"
    if action.why == RESIZED or action.why.startswith("failed"):
        return f"Container {action.name} {action.why}"
    return f"Stopping container {action.name}"


def _failed_hook(pod: Object, container: Object, hook: Object, error: KontinuumError) -> str:
    """The kubelet's words in the status, which whoever may read the pod's logs reads too."""
    if "exec" in hook:
        what = f"Exec lifecycle hook ([{' '.join(hook['exec'].get('command') or ())}])"
    elif "httpGet" in hook:
        what = f"HTTP lifecycle hook ({hook['httpGet'].get('path', '')})"
    else:
        what = "Lifecycle hook"
    return f'{what} for Container "{container["name"]}" in Pod "{pods.describe(pod)}" failed - error: {error}'
