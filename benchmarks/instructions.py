"""What a pod costs the API server's main thread in instructions: nearly the same whatever else the machine does.

    python -m benchmarks.instructions [--pods 100]

Each pod is created as by a ReplicaSet, bound and reported, through the socket, while four follow. valgrind (Debian's
package of that name) counts what the processor would be asked for, and what two caches of 32 KB and one of 1 MB would
lack: two runs of the same code differ by 2 %, where their times differ by a tenth. What the kernel does is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from benchmarks import report
from benchmarks.installation import ServerAlone
from kontinuum.api.kubernetes.resources import NAMESPACES, PODS, SERVICEACCOUNTS
from kontinuum.cli import assemble, settings
from kontinuum.client.connect import connect
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.controllers.lib.templates import pod_from_template
from kontinuum.foundation import process
from kontinuum.foundation.clock import RealClock, rfc3339
from kontinuum.foundation.tasks import cancel
from kontinuum.hollow import words

COUNTING = (
    "valgrind", "--tool=callgrind", "--trace-children=yes", "--instr-atstart=no", "--separate-threads=yes",
    "--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64",
)  # fmt: skip
PORT = 16443
NAMESPACE = "benchmark"
FOLLOWERS = 4
AT_ONCE = 32
TEMPLATE = {
    "metadata": {"labels": {"app": "web", "pod-template-hash": "5b8c"}},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "registry.k8s.io/pause:3.10",
                "imagePullPolicy": "IfNotPresent",
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    },
}
OWNER = {"metadata": {"name": "web-5b8c", "namespace": NAMESPACE}}
REFERENCE = {
    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5b8c", "uid": "57a6f1d4-3c1e-4c52-9a55-6a1d0b0f5a11",
    "controller": True, "blockOwnerDeletion": True,
}  # fmt: skip


class Life:
    """The three requests of each pod, each by who makes it."""

    def __init__(self, controllers: Client, scheduler: Client, node: Client) -> None:
        self._controllers, self._scheduler, self._node = controllers, scheduler, node
        self._made = 0

    async def live(self, pods: int) -> None:
        """So many more pods, some at once."""
        room = asyncio.Semaphore(AT_ONCE)
        numbers = range(self._made, self._made + pods)
        self._made += pods
        await asyncio.gather(*(self._one(number, room) for number in numbers))

    async def _one(self, number: int, room: asyncio.Semaphore) -> None:
        name = f"web-5b8c-{number:05}"
        async with room:
            pod = await self._controllers.create(PODS, pod_from_template(TEMPLATE, OWNER, REFERENCE, name))
            metadata = {"name": name, "namespace": NAMESPACE, "uid": pod["metadata"]["uid"]}
            target = {"apiVersion": "v1", "kind": "Node", "name": f"hollow-{number % 1000}"}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
            await self._scheduler.create(PODS, binding, name=name, subresource="binding")
            now, address = rfc3339(RealClock().time()), f"10.64.{number >> 8}.{number & 255}"
            status = words.running(pod, address=address, is_ready=True, now=now)
            patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
            await self._node.patch(PODS, name, patch, namespace=NAMESPACE, subresource="status")


@contextlib.asynccontextmanager
async def living(alone: ServerAlone) -> AsyncIterator[Life]:
    """The clients, and those who follow."""
    chosen = settings.load(data_dir=alone.data_dir, listen=f"127.0.0.1:{PORT}", environment={})
    parts = ("admin", "controllers", "scheduler")
    admin, controllers, scheduler = (connect(assemble.beside(chosen, one), user_agent=one) for one in parts)
    await admin.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    await admin.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": NAMESPACE}})
    following = [
        asyncio.create_task(Informer(admin, PODS, clock=RealClock(), trim=words.trim, shape=words.POD).run())
        for _ in range(FOLLOWERS)
    ]
    try:
        yield Life(controllers, scheduler, admin)
    finally:
        await cancel(*following)
        for client in (admin, controllers, scheduler):
            await client.close()


async def measure(pods: int) -> None:
    report.machine(f"one API server under valgrind, {pods} pods, {FOLLOWERS} followers")
    parent = Path(tempfile.mkdtemp(prefix="kontinuum-bench-"))
    alone = ServerAlone(parent / "data", port=PORT, under=(*COUNTING, f"--callgrind-out-file={parent}/%p"))
    try:
        await alone.start()
        async with living(alone) as life:
            await life.live(2 * pods)
            await _control(alone, "--instr=on")
            await life.live(pods)
            await _control(alone, "--instr=off")
            await _control(alone, "--dump")
            # The first dump of the first thread.
            for name, number in totals((parent / f"{alone.pid}.1-01").read_text()).items():
                print(f"{name} a pod: {number / pods:,.0f}")
    finally:
        await alone.stop()
        shutil.rmtree(parent, ignore_errors=True)


async def _control(alone: ServerAlone, word: str) -> None:
    await process.run("callgrind_control", word, str(alone.pid))


def totals(text: str) -> dict[str, int]:
    """What a file of callgrind's says of a whole thread."""
    lines = dict(line.split(": ", 1) for line in text.splitlines() if line.startswith(("events: ", "totals: ")))
    counts = dict(zip(lines["events"].split(), map(int, lines["totals"].split()), strict=True))
    return {
        "instructions": counts["Ir"],
        "misses of the first cache of instructions": counts["I1mr"],
        "misses of the first cache of data": counts["D1mr"] + counts["D1mw"],
        "misses of the last cache": counts["ILmr"] + counts["DLmr"] + counts["DLmw"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=100)
    uvloop.run(measure(parser.parse_args().pods))
