"""Behaviours of pods, written once and run in every isolation class, many at a time.

A *case* is a coroutine that brings up what it needs in a world of its own class and says what must be so. Cases spend
most of their time waiting (for a probe's period, for a volume to be refreshed), so all that were selected, of every
file and class, run side by side; each is still a test of its own for pytest:

    CASES = Cases("What pods know of the world")

    @CASES.add(pytest.mark.behaviour("Pods should get a host IP"))
    async def test_...                      # no: a case is not collected by itself
    async def a_pod_knows_its_host(world: World) -> None:
        ...

    test_pods = CASES.test()

Where a class cannot offer a behaviour, the case says so (``refused``): then what is asked of the class is that it
refuses the case's first pod with a reason, and that reason is in the table of classes (``tools/matrix.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import os
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.connections import until_all_are_closed
from tests.kubectls import ENVIRONMENT, newest_kubectl
from tests.machines.platform import CLASSES, Never, Platform, way_by
from tools import matrix

from kontinuum.api.kubernetes import resources
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, key_of, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client import kubeconfig
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.client.transport.http import HttpTransport
from kontinuum.client.transport.port import Request, Transport
from kontinuum.foundation import channels
from kontinuum.foundation.clock import RealClock, parse_rfc3339
from kontinuum.foundation.tasks import cancel

IMAGE = "localhost/busybox:1"
SECONDS = 240.0
"""How long a case waits for something: these machines may be busy with all the other cases."""
LOOK_AGAIN_SECONDS = 5.0
"""After so long a pod is looked at although nothing was told of it."""
AT_ONCE = {"container": 6, "sandbox": 5, "microvm": 3}
REFUSAL = "is not offered by the isolation class"


class RefusedWithReason(Exception):
    """The pod of a case was refused, as was expected; the message is what its owner was told."""


Case = Callable[["World"], Awaitable[None]]
Offered = Callable[[Object, str], bool]
"""Whether a Node's status says that a class can do it."""
BY_KIND = {
    one.kind: one for one in vars(resources).values() if isinstance(one, Resource) and one.group != "events.k8s.io"
}


class Changes:
    """Tells those who wait for a pod that it has changed: a dozen cases that look twice a second each, hundreds of
    times, take as much of a processor as the server and the node need for the pods."""

    def __init__(self, client: Client) -> None:
        self._informer = Informer(client, BY_KIND["Pod"], clock=RealClock(), metadata_only=True)
        self._informer.add_handler(lambda change, pod, old: self._tell(key_of(pod)))
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def _tell(self, key: str) -> None:
        for waiting in self._waiting.get(key, ()):
            waiting.set()

    @classmethod
    @contextlib.asynccontextmanager
    async def followed(cls, client: Client) -> AsyncIterator[Changes]:
        """Those of the pods that ``client`` sees, until the block ends."""
        changes = cls(client)
        following = asyncio.create_task(changes._informer.run())
        try:
            yield changes
        finally:
            await cancel(following)

    @contextlib.contextmanager
    def of(self, key: str) -> Iterator[asyncio.Event]:
        """Is set whenever something is told of the pod ``namespace/name``."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.remove(event)


@dataclass(frozen=True)
class World:
    """What one case may do: objects in a namespace of its own, pods of its class."""

    transport: Transport
    changes: Changes
    kubeconfig: Path
    isolation_class: str
    namespace: str
    case: str
    """Part of every name, so that no two cases meet."""
    is_refused: bool = False
    """Whether the class is expected to refuse the pods of this case."""

    @cached_property
    def client(self) -> Client:
        return Client(self.transport)

    def name(self, what: str = "") -> str:
        return "-".join(part for part in (self.case, what) if part)

    # -- objects

    def resource(self, kind: str) -> Resource:
        return BY_KIND[kind]

    def amount(self, node: Object, resource: str) -> int:
        """What the node has to give, in whole units."""
        return quantity.value(node["status"]["allocatable"][resource])

    def seconds(self, earlier: str, later: str) -> float:
        """Between two times as Kubernetes writes them."""
        return parse_rfc3339(later) - parse_rfc3339(earlier)

    async def create(self, kind: str, name: str, **fields: Any) -> Object:
        resource = BY_KIND[kind]
        metadata = {"name": name, "namespace": self.namespace, **fields.pop("metadata", {})}
        return await self.client.create(
            resource, {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata, **fields}
        )

    async def get(self, kind: str, name: str) -> Object:
        return await self.client.get(BY_KIND[kind], name, namespace=self.namespace)

    async def patch(self, kind: str, name: str, patch: Object, *, subresource: str = "") -> Object:
        return await self.client.patch(BY_KIND[kind], name, patch, namespace=self.namespace, subresource=subresource)

    async def delete(self, kind: str, name: str, *, grace_seconds: int | None = None) -> None:
        await self.client.delete(BY_KIND[kind], name, namespace=self.namespace, grace_seconds=grace_seconds)

    async def events(self, name: str) -> list[Object]:
        fields = f"involvedObject.name={name}"
        return (await self.client.list(BY_KIND["Event"], namespace=self.namespace, fields=fields)).items

    async def event_that(self, name: str, reason: str, part: str) -> Object:
        """The first event about ``name`` for this reason whose message holds ``part``."""

        async def look() -> Object | None:
            told = [one for one in await self.events(name) if one["reason"] == reason and part in one["message"]]
            return told[0] if told else None

        found: Object = await until(f"event {reason} about {name}: {part}", look)
        return found

    # -- pods

    def pod(self, script: str = "sleep 100000", *, name: str = "", **spec: Any) -> Object:
        """A pod whose only container runs ``script`` in a shell; ``container`` overrides fields of the container."""
        container = {"name": "main", "image": IMAGE, "command": ["/bin/sh", "-c", script], **spec.pop("container", {})}
        metadata = {"name": self.name(name), "namespace": self.namespace, **spec.pop("metadata", {})}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "runtimeClassName": self.isolation_class,
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "containers": [container],
                **spec,
            },
        }

    async def start(self, pod: Object) -> Object:
        """Create the pod. Raises RefusedWithReason where that is what is expected of the class."""
        made = await self.client.create(BY_KIND["Pod"], pod)
        if self.is_refused:
            why = await until(f"{name_of(made)} to be refused", lambda: self._refusal(name_of(made)))
            await self.delete("Pod", name_of(made), grace_seconds=0)
            raise RefusedWithReason(why)
        return made

    async def _refusal(self, name: str) -> str:
        status = (await self.get("Pod", name))["status"]
        assert status["phase"] not in ("Running", "Succeeded"), f"it was not refused: {status}"
        if status["phase"] == "Failed" and status.get("message"):
            return str(status["message"])
        told = [one["message"] for one in await self.events(name) if REFUSAL in one["message"]]
        return told[0] if told else ""

    async def running(self, pod: Object, *, seconds: float = SECONDS) -> Object:
        """Create the pod and wait until it is Running and Ready."""
        await self.start(pod)
        return await self.pod_that(pod["metadata"]["name"], is_ready, "to be ready", seconds=seconds)

    async def ended(self, pod: Object, phase: str = "Succeeded", *, seconds: float = SECONDS) -> Object:
        """Create the pod (restarted never, unless it says so) and wait for its end."""
        pod["spec"].setdefault("restartPolicy", "Never")
        await self.start(pod)
        found = await self.pod_that(
            pod["metadata"]["name"], lambda one: phase_of(one) in ("Succeeded", "Failed"), "to end", seconds=seconds
        )
        assert phase_of(found) == phase, f"{found['status']}\n{await self.logs(pod['metadata']['name'])}"
        return found

    async def printed(self, pod: Object, phase: str = "Succeeded") -> list[str]:
        """The lines that the pod's first container printed until it ended."""
        await self.ended(pod, phase)
        return (await self.logs(pod["metadata"]["name"], pod["spec"]["containers"][0]["name"])).splitlines()

    async def pod_that(
        self, name: str, is_so: Callable[[Object], Any], what: str, *, seconds: float = SECONDS
    ) -> Object:
        """The pod once ``is_so``."""

        async def look() -> Object | None:
            found = await self.get("Pod", name)
            last.append(found["status"])
            return found if is_so(found) else None

        last: list[Object] = []
        try:
            with self.changes.of(f"{self.namespace}/{name}") as changed:
                return await until(f"pod {name} {what}", look, seconds=seconds, changed=changed)
        except Never as error:
            told = [f"{one['reason']}: {one['message']}" for one in await self.events(name)]
            raise Never(f"{error}\n{last[-1]}\n" + "\n".join(told)) from None

    async def pod_that_is_new(self, name: str) -> Object:
        """The pod of that name that follows one which is ending or gone, once it is ready."""

        async def look() -> Object | None:
            try:
                found = await self.get("Pod", name)
            except ApiError:
                return None
            fresh = not found["metadata"].get("deletionTimestamp")
            return found if fresh and is_ready(found) else None

        with self.changes.of(f"{self.namespace}/{name}") as changed:
            found: Object = await until(f"another pod {name} to be ready", look, changed=changed)
        return found

    async def gone(self, kind: str, name: str, *, seconds: float = SECONDS) -> None:
        async def look() -> bool:
            try:
                await self.get(kind, name)
            except ApiError as error:
                if error.is_not_found:
                    return True
                raise
            return False

        with self.changes.of(f"{self.namespace}/{name}") as changed:
            await until(f"{kind} {name} to be gone", look, seconds=seconds, changed=changed if kind == "Pod" else None)

    async def logs(self, pod: str, container: str = "main", **query: str) -> str:
        """What the container has written, as far as the query (``tailLines``, ...) asks for it; empty if it has no log.

        Not by kubectl, because it is looked at again and again: see Platform.
        """
        path = BY_KIND["Pod"].path(self.namespace, pod, "log")
        response = await self.transport.send(Request("GET", path, {"container": container, **query}))
        try:
            text = await response.read()
        finally:
            await response.close()
        return text.decode() if response.status == 200 else ""

    async def log_that(self, pod: str, is_so: Callable[[str], Any], what: str, container: str = "main") -> str:
        """The container's log once ``is_so``."""
        text = ""

        async def look() -> str | None:
            nonlocal text
            text = await self.logs(pod, container)
            return text if is_so(text) else None

        try:
            return await until(f"the log of {pod} {what}", look)
        except Never as never:
            raise Never(f"{never}; it says {text!r}") from None

    async def execute(self, pod: str, script: str, container: str = "main") -> str:
        """What ``script``, which is to succeed, prints in a shell of the container."""
        code, output, errors = await self.run(pod, "/bin/sh", "-c", script, container=container)
        assert code == 0, f"{script!r} in {pod} ended with {code}: {errors}"
        return output

    async def run(self, pod: str, *command: str, container: str = "main") -> tuple[int, str, str]:
        """``(exit code, output, errors)`` of a command in the container; -1 if there was no command, or no end of it.

        Not by kubectl, which would be started hundreds of times to say what is said here.
        """
        server, tls = way_by(self.kubeconfig)
        url = f"{server}{BY_KIND['Pod'].path(self.namespace, pod, 'exec')}"
        query = [("container", container), ("stdout", "1"), ("stderr", "1"), *(("command", word) for word in command)]
        said = {channels.STDOUT: b"", channels.STDERR: b"", channels.ERROR: b""}
        try:
            async with (
                asyncio.timeout(120),
                aiohttp.ClientSession() as session,
                session.ws_connect(url, params=query, ssl=tls, protocols=channels.TELLS_SUCCESS[:1]) as socket,
            ):
                async for message in socket:
                    said[message.data[0]] += message.data[1:]
        except aiohttp.ClientError as error:
            return -1, "", str(error)
        output, errors = (said[one].decode() for one in (channels.STDOUT, channels.STDERR))
        status = json.loads(said[channels.ERROR] or b"{}")
        if status.get("status") == "Success":
            return 0, output, errors
        causes = (status.get("details") or {}).get("causes") or ()
        codes = [int(one["message"]) for one in causes if one.get("reason") == "ExitCode"]
        return (codes or [-1])[0], output, errors or str(status.get("message"))

    async def kubectl(self, *arguments: str, check: bool = True, stdin: str = "") -> tuple[int, str, str]:
        """``(exit code, output, errors)`` of kubectl in the world's namespace."""
        command = ["--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments]
        process = await asyncio.create_subprocess_exec(
            newest_kubectl(), *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=os.environ | ENVIRONMENT,
        )  # fmt: skip
        async with asyncio.timeout(120):
            output, errors = await process.communicate(stdin.encode())
        assert not check or process.returncode == 0, f"kubectl {' '.join(arguments)}: {errors.decode()}"
        return process.returncode or 0, output.decode(), errors.decode()


async def until(
    what: str,
    look: Callable[[], Awaitable[Any]],
    *,
    seconds: float = SECONDS,
    changed: asyncio.Event | None = None,
) -> Any:
    """What ``look`` answers as soon as that is true. Raises Never with the last answer.

    With ``changed`` it looks again whenever that is set, and otherwise seldom.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    for pause in itertools.chain((0.1, 0.2, 0.3, 0.4), itertools.repeat(0.5)):
        if changed is not None:
            changed.clear()
        answer = await look()
        if answer:
            return answer
        if loop.time() > deadline:
            break
        # The more seldom the longer it takes: looks of a dozen cases would keep a processor busy.
        await (asyncio.sleep(pause) if changed is None else _wait_changed(changed))
    raise Never(f"waited {seconds:g} s for {what}; last seen: {answer!r}")


async def _wait_changed(changed: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN_SECONDS):
            await changed.wait()


def phase_of(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase") or "")


def is_ready(pod: Object) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions") or ()}
    return phase_of(pod) == "Running" and conditions.get("Ready") == "True"


def statuses(pod: Object) -> dict[str, Object]:
    """The status of every container by its name."""
    fields = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return {one["name"]: one for field in fields for one in pod["status"].get(field) or ()}


def mounted(volume: str, path: str, **more: Any) -> Object:
    return {"name": volume, "mountPath": path, **more}


@dataclass(frozen=True)
class Entry:
    """One case: in which classes it runs, and which of them refuse it."""

    case: Case
    classes: tuple[str, ...]
    refused: tuple[str, ...]
    unless: Offered
    marks: tuple[pytest.MarkDecorator, ...]

    @property
    def title(self) -> str:
        """The case's name as words: ``the_pod_s_end`` is "the pod's end"."""
        return self.case.__name__.replace("_s_", "'s_").replace("_", " ")


@dataclass
class Cases:
    """The cases of one file; ``title`` says what they are about."""

    title: str
    is_alone: bool = False
    """Whether they disturb all others, e.g. because they taint the node."""
    entries: dict[str, Entry] = field(default_factory=dict)

    def add(
        self,
        *marks: pytest.MarkDecorator,
        classes: tuple[str, ...] = CLASSES,
        refused: tuple[str, ...] = (),
        unless: Offered = lambda node, isolation_class: False,
    ) -> Callable[[Case], Case]:
        """A decorator. ``classes``: where it is tried; ``refused``: which of those are to refuse it, ``unless`` the
        node says that its runtime can do it."""

        def taken(case: Case) -> Case:
            name = case.__name__
            assert name not in self.entries and set(refused) <= set(classes)
            self.entries[name] = Entry(case, classes, refused, unless, marks)
            return case

        return taken

    def cells(self) -> Iterator[matrix.Cell]:
        """The part of the table of classes that these cases fill: those to which the class could make a difference."""
        for entry in self.entries.values():
            if len(entry.classes) > 1:
                yield from ((self.title, entry.title, isolation_class) for isolation_class in entry.classes)

    def test(self) -> Callable[..., None]:
        """The test function for the file; the fixtures ``outcomes`` and ``platform`` are this directory's."""

        @pytest.mark.machine
        @pytest.mark.parametrize(
            ("cases", "name", "isolation_class"),
            [
                pytest.param(self, name, isolation_class, marks=entry.marks, id=f"{name}-{isolation_class}")
                for isolation_class in CLASSES
                for name, entry in self.entries.items()
                if isolation_class in entry.classes
            ],
        )
        def test(outcomes: Outcomes, cases: Cases, name: str, isolation_class: str) -> None:
            trouble = outcomes.of(cases, name, isolation_class).trouble
            if trouble:
                pytest.fail(trouble, pytrace=False)

        return test


@dataclass(frozen=True)
class End:
    """How a case ended: what went wrong, or why its class refused it; both empty if all was as it should be."""

    trouble: str = ""
    refusal: str = ""


Chosen = tuple[Cases, str, str]
"""A file's cases, the name of one, and a class."""


class Outcomes:
    """Runs the cases that were selected when their first test asks, all side by side but for those that disturb."""

    def __init__(self, platform: Platform, selected: list[Chosen]) -> None:
        self._platform = platform
        self._selected = selected
        self._ends: dict[tuple[str, str, str], End] = {}

    def of(self, cases: Cases, name: str, isolation_class: str) -> End:
        key = (cases.title, name, isolation_class)
        if key not in self._ends:
            together = [one for one in self._selected if (one[0] is cases if cases.is_alone else not one[0].is_alone)]
            self._ends |= asyncio.run(_all(self._platform, together))
        return self._ends[key]

    def seen(self) -> Iterator[tuple[matrix.Cell, str]]:
        """What the classes made of those cases that more than one of them tries: ``yes`` or ``no: why``."""
        for cases, name, isolation_class in self._selected:
            end = self._ends.get((cases.title, name, isolation_class))
            cell = (cases.title, cases.entries[name].title, isolation_class)
            if end is not None and not end.trouble and cell in set(cases.cells()):
                yield cell, f"no: {end.refusal}" if end.refusal else "yes"


async def _all(platform: Platform, chosen: list[Chosen]) -> dict[tuple[str, str, str], End]:
    few = {isolation_class: asyncio.Semaphore(most) for isolation_class, most in AT_ONCE.items()}
    transport = HttpTransport(kubeconfig.load(platform.kubeconfig), user_agent="tests")
    client = Client(transport)
    [node, *_] = (await client.list(BY_KIND["Node"])).items

    async def one(cases: Cases, name: str, isolation_class: str, changes: Changes) -> End:
        entry = cases.entries[name]
        short = re.sub(r"[^a-z0-9]+", "-", name.lower())[:40].strip("-")
        async with few[isolation_class]:
            try:
                async with _namespace(client, isolation_class) as namespace:
                    is_refused = isolation_class in entry.refused and not entry.unless(node, isolation_class)
                    world = World(
                        transport, changes, platform.kubeconfig, isolation_class, namespace, short, is_refused
                    )
                    await entry.case(world)
            except RefusedWithReason as refusal:
                return End(refusal=str(refusal))
            except BaseException:
                return End(trouble=traceback.format_exc())
            return End(trouble=f"the class {isolation_class} was to refuse it" if is_refused else "")

    try:
        async with Changes.followed(client) as changes:
            ends = await asyncio.gather(*(one(*chosen_one, changes) for chosen_one in chosen))
    finally:
        await client.close()
        await until_all_are_closed()
    return {(cases.title, name, of): end for (cases, name, of), end in zip(chosen, ends, strict=True)}


@contextlib.asynccontextmanager
async def _namespace(client: Client, isolation_class: str) -> AsyncIterator[str]:
    """A namespace of one case's own; at its end nobody waits until its pods are gone."""
    metadata = {"generateName": f"pods-{isolation_class}-"}
    made = await client.create(BY_KIND["Namespace"], {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    namespace = name_of(made)

    async def has_account() -> bool:
        return bool((await client.list(BY_KIND["ServiceAccount"], namespace=namespace)).items)

    try:
        await until("the namespace's service account", has_account)
        yield namespace
    finally:
        await client.delete(BY_KIND["Namespace"], namespace)


def all_cases() -> list[Cases]:
    """Those of every file."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    return [importlib.import_module(f"{__package__}.{file.stem}").CASES for file in files]


def selected_cases(items: list[pytest.Item]) -> list[Chosen]:
    """The cases that are to run, of what pytest has collected and kept."""
    calls = [item.callspec.params for item in items if hasattr(item, "callspec")]
    return [(call["cases"], call["name"], call["isolation_class"]) for call in calls if "cases" in call]
