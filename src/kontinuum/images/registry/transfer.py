"""Pulling images into a store, and pushing them from it.

    pull:  resolve ─▶ documents ─▶ blobs, several at once, each gone on with where it broke off ─▶ admit ─▶ name
    push:  blobs that are not there (mounted from another repository if one has them) ─▶ manifests ─▶ tag

What was fetched is kept by a lease until the image has its name, and half a blob stays for the next attempt, of this
command or of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.foundation.tasks import all_of
from kontinuum.images.archives import Progress, Wish, admit
from kontinuum.images.bridge import bridged
from kontinuum.images.layers import Limits
from kontinuum.images.manifests import (
    INDEXES,
    BadImage,
    Descriptor,
    choose,
    document_of,
    images_of,
    media_type_of,
    parse_index,
    parse_manifest,
)
from kontinuum.images.references import Reference
from kontinuum.images.registry.client import PULL, PUSH, Repository
from kontinuum.images.registry.credentials import Credentials
from kontinuum.images.registry.errors import (
    AccessDenied,
    NotInRegistry,
    RangeUnknown,
    RegistryFailed,
    RegistryRefused,
)
from kontinuum.images.registry.hosts import Endpoint, endpoints
from kontinuum.images.store import (
    AlreadyThere,
    BadContent,
    Busy,
    ImageStore,
    StoredImage,
    index_references,
    read_all,
    ref_of,
    references,
    write_all,
)

T = TypeVar("T")
SOURCE = "containerd.io/distribution.source."
"""Label of content, with the registry's name behind it: the repositories there that have it, separated by commas."""
ATTEMPTS = 6
RETRY = Backoff(initial=0.3, maximum=5.0)
PIECE = 16 << 20
"""Bytes of a blob that are uploaded by one request; after a failure no more than this is sent again."""


@dataclass(frozen=True, slots=True)
class Registry:
    """How registries are reached."""

    clock: Clock
    hosts: Path | None = None
    """containerd's ``certs.d``."""
    credentials: Credentials | None = None
    plain_http: bool = False
    at_once: int = 3
    """Blobs that are transferred side by side."""


async def pull(
    store: ImageStore, reference: Reference, registry: Registry, wish: Wish, limits: Limits, progress: Progress
) -> StoredImage:
    """Bring an image into the store under its name.

    Raises NotInRegistry, AccessDenied, RegistryFailed, RegistryRefused, BadImage, BadLayer, BadContent, StoreFailed;
    then the store has the image as it had it before.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(store.lease())
        bridge = await stack.enter_async_context(bridged())
        places = await _open(stack, registry, reference, "pull")
        pulling = _Pulling(store, places, registry, reference, progress)
        root, document = await pulling.resolve()
        await pulling.fetch(root, document, wish)
        await admit(store, root, wish, limits, bridge, progress)
        image = StoredImage(str(reference), replace(root, annotations={}), wish.labels)
        await store.put(image)
        return image


async def _open(stack: AsyncExitStack, registry: Registry, reference: Reference, doing: str) -> list[Repository]:
    found = [
        one
        for one in endpoints(reference.registry, registry.hosts, plain_http=registry.plain_http)
        if doing in one.capabilities
    ]
    if not found:
        raise RegistryRefused(f"{reference.registry}: its hosts.toml knows no place to {doing}")
    actions = PUSH if doing == "push" else PULL
    own = default_hosts(reference.registry, found)
    return [
        # A mirror is somebody else: it does not learn our password for the registry itself.
        await stack.enter_async_context(
            Repository(one, reference.repository, registry.credentials if one in own else None, actions=actions)
        )
        for one in found
    ]


def default_hosts(registry: str, found: Sequence[Endpoint]) -> list[Endpoint]:
    """Of a registry's endpoints those that are the registry itself: the last, and whoever has its name."""
    return [one for one in found if one is found[-1] or one.host == registry]


class _Transfer:
    """An image on its way between a store and a registry, in either direction."""

    def __init__(self, store: ImageStore, registry: Registry, reference: Reference, progress: Progress) -> None:
        self._store = store
        self._clock = registry.clock
        self._reference = reference
        self._progress = progress
        self._slots = asyncio.Semaphore(registry.at_once)


class _Pulling(_Transfer):
    def __init__(
        self,
        store: ImageStore,
        places: Sequence[Repository],
        registry: Registry,
        reference: Reference,
        progress: Progress,
    ) -> None:
        super().__init__(store, registry, reference, progress)
        self._places = places
        self._seen: set[str] = set()

    async def resolve(self) -> tuple[Descriptor, bytes]:
        able = [one for one in self._places if "resolve" in one.endpoint.capabilities or self._reference.digest]
        return await self._anywhere(able, lambda place: place.manifest(self._reference.object))

    async def fetch(self, root: Descriptor, document: bytes, wish: Wish) -> None:
        """Everything below ``root`` that is wanted."""
        if root.media_type in INDEXES:
            listed = parse_index(document, str(self._reference))
            wanted = images_of(listed) if wish.all_platforms else [choose(listed, wish.platform, str(self._reference))]
            await all_of(self._fetch_listed(one, wish) for one in wanted)
            await write_all(self._store, root, document, index_references(wanted))
            return
        manifest = parse_manifest(document, str(self._reference))
        fresh = {one.digest: one for one in manifest.children if one.digest not in self._seen}
        self._seen |= set(fresh)
        await all_of(map(self._blob, fresh.values()))
        await write_all(self._store, root, document, references(manifest))

    async def _fetch_listed(self, one: Descriptor, wish: Wish) -> None:
        found, document = await self._anywhere(self._places, lambda place: place.manifest(one.digest))
        if (found.digest, found.size) != (one.digest, one.size):
            raise BadImage(f"{one.digest}: {found.size} bytes came, {one.size} were promised")
        if one.media_type in INDEXES and found.media_type in INDEXES:
            raise BadImage(f"{self._reference}: an index in an index is nothing that is run")
        await self.fetch(found, document, wish)

    async def _anywhere(self, places: Sequence[Repository], ask: Callable[[Repository], Awaitable[T]]) -> T:
        """The answer of the first place that has one. What went wrong at the registry itself counts most."""
        error: KontinuumError = RegistryRefused(f"{self._reference}: there is nobody to ask")
        for place in places:
            try:
                return await _patiently(self._clock, lambda place=place: ask(place))  # type: ignore[misc]
            except (NotInRegistry, AccessDenied, RegistryFailed, RegistryRefused) as failed:
                error = failed
        raise error

    async def _blob(self, one: Descriptor) -> None:
        async with self._slots:
            self._progress(one.digest[7:19], 0, one.size)
            label = {f"{SOURCE}{self._reference.registry}": self._reference.repository}
            try:
                await self._anywhere(self._places, lambda place: self._download(place, one))
            except AlreadyThere:
                self._progress(one.digest[7:19], one.size, one.size)
            await self._store.label(one.digest, label)

    async def _download(self, place: Repository, one: Descriptor) -> None:
        """One attempt, from where the last has ended. Raises Retryable if another may go on with it."""
        ref = ref_of(one)
        try:
            async with self._store.writer(ref, digest=one.digest, size=one.size) as writer:
                self._progress(one.digest[7:19], writer.offset, one.size)
                source = place.foreign if one.is_foreign and one.urls else place.blob
                if writer.offset < one.size:
                    async with aclosing(source(one, writer.offset)) as parts:  # type: ignore[type-var]
                        async for part in parts:
                            await writer.write(part)
                            self._progress(one.digest[7:19], len(part), one.size)
                if writer.offset < one.size:
                    raise RegistryFailed(f"{one.digest}: it ended after {writer.offset} of {one.size} bytes")
                await writer.commit({})
        except RangeUnknown:
            await self._store.abort(ref)
            raise
        except BadContent as error:
            # What lay there from before may be what is wrong: the next attempt begins anew.
            await self._store.abort(ref)
            raise RegistryFailed(f"{self._reference}: {one.digest}: something else came: {error}") from error


async def _patiently(clock: Clock, work: Callable[[], Awaitable[T]]) -> T:
    """Again and again, as long as that may help."""
    for attempt in range(ATTEMPTS):
        try:
            return await work()
        except (RegistryFailed, Busy) as error:
            last: Retryable = error
            await clock.sleep(RETRY.delay(attempt))
    raise last


# Pushing


async def push(
    store: ImageStore, image: StoredImage, reference: Reference, registry: Registry, progress: Progress
) -> Descriptor:
    """Bring an image, with every platform whose content is here, to where ``reference`` says.

    Raises as ``pull``, and BadImage if nothing of it is here.
    """
    async with AsyncExitStack() as stack:
        [place, *_] = await _open(stack, registry, reference, "push")
        pushing = _Pushing(store, place, registry, reference, progress)
        await pushing.push(image.target, reference.object)
        return image.target


class _Pushing(_Transfer):
    def __init__(
        self, store: ImageStore, place: Repository, registry: Registry, reference: Reference, progress: Progress
    ) -> None:
        super().__init__(store, registry, reference, progress)
        self._place = place

    async def push(self, root: Descriptor, name: str) -> None:
        """Children first: a registry takes no manifest whose blobs it has not."""
        if await self._store.size(root.digest) is None:
            raise BadImage(f"{root.digest}: its content is not here")
        document = await read_all(self._store, root)
        kind = media_type_of(document_of(document, root.digest), root.media_type)
        if kind in INDEXES:
            listed = images_of(parse_index(document, root.digest))
            for one in listed:
                if await self._store.size(one.digest) is None:
                    raise BadImage(
                        f"{one.platform}: this platform's image is not here, and without it the registry takes no "
                        "index; pull with --all-platforms first"
                    )
            for one in listed:
                await self.push(one, one.digest)
        else:
            children = {one.digest: one for one in parse_manifest(document, root.digest).children}
            await all_of(self._blob(one) for one in children.values() if not (one.is_foreign and one.urls))
        await _patiently(self._clock, lambda: self._place.put_manifest(name, kind, document))

    async def _blob(self, one: Descriptor) -> None:
        async with self._slots:
            self._progress(one.digest[7:19], 0, one.size)
            if await self._store.size(one.digest) is None:
                raise BadImage(f"{one.digest}: this layer's content is not here; pull the image again")
            if not await _patiently(self._clock, lambda: self._place.has(one)):
                await self._upload(one)
            label = f"{SOURCE}{self._reference.registry}"
            known = [two for two in (await self._store.labels(one.digest)).get(label, "").split(",") if two]
            if self._reference.repository not in known:
                known.append(self._reference.repository)
                await self._store.label(one.digest, {label: ",".join(known)})
            self._progress(one.digest[7:19], one.size, one.size)

    async def _upload(self, one: Descriptor) -> None:
        known = (await self._store.labels(one.digest)).get(f"{SOURCE}{self._reference.registry}", "").split(",")
        elsewhere = next((two for two in known if two and two != self._reference.repository), "")
        location = await self._begin(one, elsewhere)
        if not location:
            return
        if one.size <= PIECE:
            body = self._body(one, 0, one.size)
            await _patiently(self._clock, lambda: self._whole(one, location, body))
            return
        await self._in_pieces(one, location)

    async def _begin(self, one: Descriptor, elsewhere: str) -> str:
        try:
            return await _patiently(self._clock, lambda: self._place.begin_upload(one, elsewhere))
        except (AccessDenied, NotInRegistry):
            if not elsewhere:
                raise
            # We may not read there any more.
            return await _patiently(self._clock, lambda: self._place.begin_upload(one))

    async def _whole(self, one: Descriptor, location: str, body: Callable[[], AsyncIterator[bytes]]) -> None:
        try:
            await self._place.finish_upload(location, one, body)
        except (NotInRegistry, RangeUnknown) as error:
            # The upload is gone, perhaps because it had ended well and only the answer was lost.
            if not await self._place.has(one):
                fresh = await self._place.begin_upload(one)
                if fresh:
                    await self._place.finish_upload(fresh, one, body)
            del error

    async def _in_pieces(self, one: Descriptor, location: str) -> None:
        sent, failures = 0, 0
        while sent < one.size:
            size = min(PIECE, one.size - sent)
            try:
                location = await self._place.upload_piece(location, sent, size, self._body(one, sent, size))
                sent, failures = sent + size, 0
            except RegistryFailed:
                failures += 1
                if failures >= ATTEMPTS:
                    raise
                await self._clock.sleep(RETRY.delay(failures))
                location, sent = await self._where(one, location)
        await _patiently(self._clock, lambda: self._place.finish_upload(location, one))

    async def _where(self, one: Descriptor, location: str) -> tuple[str, int]:
        """Where to go on after a failure; from the beginning if the registry has forgotten."""
        try:
            return await _patiently(self._clock, lambda: self._place.uploaded(location))
        except (NotInRegistry, RegistryRefused):
            return await _patiently(self._clock, lambda: self._place.begin_upload(one)), 0

    def _body(self, one: Descriptor, offset: int, size: int) -> Callable[[], AsyncIterator[bytes]]:
        async def parts() -> AsyncIterator[bytes]:
            left = size
            async with aclosing(self._store.read(one.digest, offset)) as source:  # type: ignore[type-var]
                async for part in source:
                    yield part[:left]
                    left -= len(part[:left])
                    if not left:
                        return

        return parts
