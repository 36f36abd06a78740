"""What the first start of a 200 MB image costs beyond its pull: created → Running, less the time that pulling took.

The image is made here and lies in a registry on loopback (Debian's docker-registry). After each pod it is removed with
all that was made of it, so that the next start is a first one again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from benchmarks import report
from benchmarks.installation import fresh
from benchmarks.pods import pod, seconds_to_running
from kontinuum.api.kubernetes.resources import EVENTS
from kontinuum.client.rest import Client
from kontinuum.foundation import process
from kontinuum.foundation.clock import RealClock
from kontinuum.images import listing, oci
from kontinuum.images.manifests import Platform
from kontinuum.images.references import parse
from kontinuum.images.registry.transfer import Registry, push
from kontinuum.images.services import Containerd
from kontinuum.node.settings import instance_of

CLASSES = ("container", "microvm")
REACH = 1.0
FILES, FILE_BYTES = 400, 512 << 10
HOST = "127.0.0.1:15000"
NAME = f"{HOST}/large:1"
PULLED = re.compile(r"Successfully pulled image .* in (\S+) \(")


def make_root(root: Path) -> None:
    """200 MB in 400 files, half of it incompressible, and a shell."""
    (root / "bin").mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "bin/sleep")
    chance = random.Random(1)
    for number in range(FILES):
        file = root / f"data/{number % 20}/{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chance.randbytes(FILE_BYTES // 2) + bytes(FILE_BYTES // 2))


@contextlib.asynccontextmanager
async def registry(directory: Path) -> AsyncIterator[None]:
    """docker-registry at HOST."""
    config = directory / "registry.yml"
    config.write_text(
        f'version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: "{directory}/content"}}}}\n'
        f'http: {{addr: "{HOST}"}}\n'
    )
    child = process.spawn("docker-registry", "serve", config, capture=True)
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{HOST}/v2/"):
                        break
                await asyncio.sleep(0.05)
        yield
    finally:
        await child.stop(grace=5)
        child.close()


async def start(client: Client, name: str, isolation_class: str) -> tuple[float, float]:
    """Seconds from creating a pod to Running, and how many of them were pulling (0: the image was there)."""
    wanted = pod(name, isolation_class)
    wanted["spec"]["containers"][0] |= {"image": NAME, "command": ["/bin/sleep", "100000"]}
    # With a grace the API keeps the pod until nothing of it is left: then the image's layers are free.
    wanted["spec"]["terminationGracePeriodSeconds"] = 1
    took = await seconds_to_running(client, wanted)
    while True:
        told = [one for one in (await client.list(EVENTS, namespace="default")).items if one["reason"] == "Pulled"]
        if mine := [one["message"] for one in told if one["involvedObject"]["name"] == name]:
            found = PULLED.match(mine[0])
            return took, seconds(found[1]) if found else 0.0
        await asyncio.sleep(0.05)


def seconds(text: str) -> float:
    """``1m2.5s`` and ``250ms`` as numbers."""
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    minutes, _, rest = text.rpartition("m")
    return float(minutes or 0) * 60 + float(rest[:-1])


async def main(count: int) -> None:
    report.machine(
        f"first start of a {FILES * FILE_BYTES >> 20} MB image, less its pull, {count} of each class in turn"
    )
    with tempfile.TemporaryDirectory(prefix="kontinuum-bench-images-") as temporary:
        directory = Path(temporary)
        make_root(directory / "root")
        async with registry(directory), fresh() as installation:
            place = installation.data_dir / "containerd" / "certs.d" / HOST
            place.mkdir(parents=True)
            (place / "hosts.toml").write_text(f'server = "http://{HOST}"\n')
            socket = Path("/run/kontinuum") / instance_of(str(installation.data_dir)) / "containerd.sock"
            async with asyncio.timeout(60):
                while not socket.exists():  # The API server, which is waited for, may be there before containerd is.
                    await asyncio.sleep(0.05)
            async with Containerd(socket, RealClock()) as store:
                image = await oci.build(store, directory / "root", NAME, oci.ImageConfig(), platform=Platform.here())
                await push(store, image, parse(NAME), Registry(RealClock()), lambda *_: None)
                await listing.remove(store, image)
                beyond: dict[str, list[float]] = {isolation_class: [] for isolation_class in CLASSES}
                again: dict[str, list[float]] = {isolation_class: [] for isolation_class in CLASSES}
                pulls: list[float] = []
                for number in range(count + 1):
                    for isolation_class in CLASSES:
                        name = f"{isolation_class}-{number}"
                        took, pulled = await start(installation.client, f"{name}-first", isolation_class)
                        second, _ = await start(installation.client, f"{name}-second", isolation_class)
                        await listing.remove(store, await listing.find(store, NAME))
                        if number:  # the first warms up
                            beyond[isolation_class].append(took - pulled)
                            again[isolation_class].append(second)
                            pulls.append(pulled)
    report.figure("pull", pulls, unit="s")
    for isolation_class in CLASSES:
        report.figure(f"first start beyond the pull, {isolation_class}", beyond[isolation_class], unit="s", reach=REACH)
        report.figure(f"second start, {isolation_class}", again[isolation_class], unit="s")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
