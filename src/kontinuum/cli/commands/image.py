"""``kontinuum image ...``: images in and out of the store that this machine's pods start from."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kontinuum.cli import hosts
from kontinuum.cli.exits import NotRunning
from kontinuum.cli.settings import environment, load
from kontinuum.cli.transfers import Transfers
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.errors import Refused
from kontinuum.images import archives, listing, oci
from kontinuum.images.containerd import PINNED
from kontinuum.images.layers import Limits
from kontinuum.images.manifests import Platform
from kontinuum.images.references import parse, with_tag
from kontinuum.images.registry import credentials, transfer
from kontinuum.images.registry.transfer import Registry
from kontinuum.images.services import Containerd
from kontinuum.images.store import ImageStore, StoredImage


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works."""

    store: ImageStore
    hosts: Path
    """``certs.d``: where registries are, for containerd and for us."""


Work = Callable[[Place], Awaitable[None]]


ALL_HOSTS = "*"


class BadOption(Refused):
    """An option that cannot be meant; the message says which."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a command reaches registries."""

    credentials: str = ""
    """``USER:PASSWORD``, or USER alone: then the password is asked for."""
    plain_http: bool = False

    async def to(self, registry: str, hosts: Path) -> Registry:
        """Raises credentials.BadCredentials."""
        given = self.credentials
        if given and ":" not in given:
            given += f":{await asyncio.to_thread(getpass.getpass)}"
        ours = credentials.parse(given) if given else await credentials.stored(registry, docker_config())
        return Registry(RealClock(), hosts, ours, self.plain_http)


def docker_config() -> Path:
    """Where ``docker login`` writes."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def run(work: Work, data_dir: Path, config: Path | None, host: str) -> None:
    """Do ``work`` with the store of the platform that runs here, or of one of its hosts, or of each in turn.

    Raises NotRunning, hosts.NoSuchHost, Interrupted.
    """
    from kontinuum.cli.interruption import run

    settings = load(data_dir=data_dir, config=config, environment=environment())
    own = settings.node.name, settings.node.socket, settings.node.data
    others = hosts.known(settings.installation)
    if host in ("", own[0]):
        chosen = [own]
    elif host == ALL_HOSTS:
        chosen = [own, *(_seen_from_here(one) for one in others)]
    else:
        chosen = [_seen_from_here(hosts.find(settings.installation, host))]
    for _, socket, _ in chosen:
        if not socket.exists():
            raise NotRunning(f"no containerd listens at {socket}; start the platform: kontinuum up")

    async def main() -> None:
        for name, socket, data in chosen:
            if len(chosen) > 1:
                print(f"{name}:")
            async with Containerd(socket, RealClock()) as store:
                await work(Place(store, data / "containerd" / "certs.d"))

    run(main())


def _seen_from_here(host: hosts.Host) -> tuple[str, Path, Path]:
    """A host's name, containerd's socket, which lies in its own mount namespace, and data. Raises NotRunning."""
    holder = hosts.first_process(host)
    if holder is None:
        raise NotRunning(f"the host {host.name} is off: kontinuum host heal {host.name}")
    socket = host.paths.run / "containerd.sock"
    return host.name, Path(f"/proc/{holder.pid}/root") / socket.relative_to("/"), host.paths.data


def list_images(words: Sequence[str], *, everything: bool, as_json: bool) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        images = listing.shown(await store.images(), everything=everything)
        chosen = [one for one in images if not words or any(word in one.name for word in words)]
        pictures = [await listing.picture(store, one, Platform.here()) for one in chosen]
        if as_json:
            print(json.dumps([listing.to_plain(one) for one in pictures], indent=2))
        else:
            _print_table(pictures)

    return work


def _print_table(pictures: Sequence[listing.Picture]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("image", "tag", "id", "digest", "platforms"):
        table.add_column(heading.upper(), no_wrap=True)
    table.add_column("SIZE", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in pictures:
        plain = listing.to_plain(one)
        notes = " ".join(["pinned"] * one.image.is_pinned + ([one.problem] if one.problem else []))
        table.add_row(
            plain["repository"] or one.image.name,
            plain["tag"] or "-",
            short(one.id),
            short(one.image.target.digest),
            " ".join(plain["platforms"]),
            megabytes(one.size),
            notes,
        )
    # A pipe has no width; names must not be cut to that of an old terminal.
    Console(width=None if sys.stdout.isatty() else 400).print(table)


def import_image(file: str, *, name: str, platform: str, all_platforms: bool, pin: bool, maximum: int) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        wish = archives.Wish(_platform(platform), all_platforms, name, _labels(pin))
        with _opened(file) as source, Transfers() as progress:
            images = await archives.import_archive(store, source, wish, Limits(unpacked=maximum), progress)
        for image in images:
            _tell("imported", image)

    return work


def export_images(names: Sequence[str], target: Path) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        images = [await listing.find(store, name) for name in names]
        with Transfers() as progress:
            await archives.export(store, images, target, progress)
        print(f"wrote {target}: {target.stat().st_size} bytes")

    return work


def image_config(
    *,
    entrypoint: str,
    command: str,
    environment: Sequence[str],
    user: str,
    workdir: str,
    labels: Sequence[str],
    ports: Sequence[str],
    volumes: Sequence[str],
    stop_signal: str,
) -> oci.ImageConfig:
    """The options of ``build`` as an image's configuration. Raises BadOption."""
    own = {name for name, _ in pairs("--env", environment)}
    default = [one for one in oci.ImageConfig().environment if one.partition("=")[0] not in own]
    if not workdir.startswith("/"):
        raise BadOption(f"--workdir {workdir}: a path that begins with / is needed")
    return oci.ImageConfig(
        entrypoint=words_of("--entrypoint", entrypoint),
        command=words_of("--cmd", command),
        environment=(*default, *environment),
        directory=workdir,
        user=user,
        stop_signal=stop_signal,
        ports=tuple(port_of(one) for one in ports),
        volumes=tuple(volumes),
        labels=dict(pairs("--label", labels)),
    )


def words_of(option: str, text: str) -> tuple[str, ...]:
    """A command as a JSON list, as in Dockerfiles, or as words of a shell. Raises BadOption."""
    try:
        if not text.lstrip().startswith("["):
            return tuple(shlex.split(text))
        words = json.loads(text)
    except ValueError as error:
        raise BadOption(f"{option} {text}: {error}") from error
    if not all(isinstance(word, str) for word in words):
        raise BadOption(f"{option} {text}: a list of strings is needed")
    return tuple(words)


def port_of(text: str) -> str:
    """``80`` as ``80/tcp``. Raises BadOption."""
    number, _, protocol = text.partition("/")
    if not (number.isdigit() and 0 < int(number) < 65536 and protocol in ("", "tcp", "udp", "sctp")):
        raise BadOption(f"--port {text}: write PORT or PORT/tcp, PORT/udp, PORT/sctp")
    return f"{number}/{protocol or 'tcp'}"


def pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """``NAME=VALUE`` each. Raises BadOption."""
    split = [text.partition("=") for text in texts]
    if bad := [text for text, (name, equals, _) in zip(texts, split, strict=True) if not name or not equals]:
        raise BadOption(f"{option} {bad[0]}: write NAME=VALUE")
    return [(name, value) for name, _, value in split]


def build_image(
    directory: Path,
    name: str,
    config: oci.ImageConfig,
    *,
    annotations: Sequence[str],
    platform: str,
    keep_owners: bool,
    pin: bool,
) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        if not directory.is_dir():
            raise BadOption(f"{directory}: there is no such directory")
        whole = with_tag(name)
        with Transfers() as progress:
            image = await oci.build(
                store, directory, whole, config, platform=_platform(platform), labels=_labels(pin),
                annotations=dict(pairs("--annotation", annotations)), keep_owners=keep_owners, progress=progress,
            )  # fmt: skip
        _tell("built", image)

    return work


def pull_image(name: str, access: Access, *, platform: str, all_platforms: bool, pin: bool, maximum: int) -> Work:
    async def work(place: Place) -> None:
        reference = parse(name)
        wish = archives.Wish(_platform(platform), all_platforms, labels=_labels(pin))
        registry = await access.to(reference.registry, place.hosts)
        with Transfers() as progress:
            image = await transfer.pull(place.store, reference, registry, wish, Limits(unpacked=maximum), progress)
        _tell("pulled", image)

    return work


def push_image(name: str, target: str, access: Access) -> Work:
    async def work(place: Place) -> None:
        image = await listing.find(place.store, name)
        reference = parse(target or image.name)
        registry = await access.to(reference.registry, place.hosts)
        with Transfers() as progress:
            pushed = await transfer.push(place.store, image, reference, registry, progress)
        print(f"pushed {reference} {pushed.digest}")

    return work


def inspect_image(name: str) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        found = await listing.picture(store, await listing.find(store, name), Platform.here())
        print(json.dumps(listing.in_full(found), indent=2))

    return work


def remove_images(names: Sequence[str]) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        # All are looked up before the first goes: a slip of the pen removes nothing.
        for image in [await listing.find(store, name) for name in names]:
            for gone in await listing.remove(store, image):
                print(f"removed {gone}")

    return work


def tag_image(name: str, other: str) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        _tell("tagged", await listing.tag(store, await listing.find(store, name), other))

    return work


def pin_image(name: str, *, off: bool) -> Work:
    async def work(place: Place) -> None:
        store = place.store
        image = await listing.find(store, name)
        await store.put(StoredImage(image.name, image.target, {PINNED: "" if off else "pinned"}))
        _tell("unpinned" if off else "pinned", image)

    return work


def short(digest: str) -> str:
    """Twelve digits, as ``docker images`` shows."""
    return digest.partition(":")[2][:12] or "-"


def megabytes(size: int) -> str:
    """Decimal, as ``docker images`` and ``crictl images`` show."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g}{unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.3g}GB"


def _tell(done: str, image: StoredImage) -> None:
    print(f"{done} {image.name} {image.target.digest}")


def _platform(text: str) -> Platform:
    return Platform.parse(text) if text else Platform.here()


def _labels(pin: bool) -> dict[str, str]:
    return {PINNED: "pinned"} if pin else {}


def _opened(file: str) -> BinaryIO:
    """A file, or standard input. Raises BadOption."""
    if file == "-":
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise BadOption(f"{file}: {error.strerror}") from error
