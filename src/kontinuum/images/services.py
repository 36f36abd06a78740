"""containerd's own services for content, images, leases, snapshots and diffs, over gRPC: ``store.ImageStore``.

No maintained Python stubs exist; ``containerd_v1.txt`` lists the messages that are used, and a test holds every field
number against the descriptors that the installed containerd carries.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Self

import grpc

from kontinuum.foundation import grpc_calls, protobuf_table
from kontinuum.foundation.clock import Clock, rfc3339
from kontinuum.images.containerd import CRI_NAMESPACE
from kontinuum.images.manifests import BadImage, Descriptor, Manifest, chain_ids
from kontinuum.images.store import CHUNK, AlreadyThere, BadContent, Busy, StoreAway, StoredImage, StoreFailed, Writer

PACKAGE = "kontinuum.containerd.v1"
CALL_SECONDS = 60.0
UNPACK_SECONDS = 1800.0
LEASE_SECONDS = 24 * 3600.0
"""A lease that its owner could not give back ends by itself."""
SNAPSHOTTER = "overlayfs"


class _NotFound(StoreFailed):
    pass


def read_table() -> str:
    return resources.files(__package__).joinpath("containerd_v1.txt").read_text()


_PROTOCOL = protobuf_table.load(PACKAGE, read_table())
_MESSAGES, _NUMBERS, CALLS = _PROTOCOL.messages, _PROTOCOL.numbers, _PROTOCOL.calls
_STREAMS: grpc_calls.Streams = {"Content.Read": "unary_stream", "Content.Write": "stream_stream"}


class Containerd:
    """See ``store.ImageStore``."""

    def __init__(self, socket: Path, clock: Clock, *, namespace: str = CRI_NAMESPACE) -> None:
        self._clock = clock
        options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=options)
        self._metadata = [("containerd-namespace", namespace)]
        self._calls = grpc_calls.on_channel(self._channel, CALLS, _STREAMS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def _call(self, name: str, /, *, seconds: float = CALL_SECONDS, **fields: Any) -> Any:
        try:
            return await self._calls[name](CALLS[name].request(**fields), timeout=seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        lease = f"kontinuum-{secrets.token_hex(8)}"
        expiry = rfc3339(self._clock.time() + LEASE_SECONDS)
        await self._call("Leases.Create", id=lease, labels={"containerd.io/gc.expire": expiry})
        before, self._metadata = self._metadata, [*self._metadata, ("containerd-lease", lease)]
        try:
            yield
        finally:
            self._metadata = before
            # Synchronously: what a failed command has left is gone when the command has ended.
            with suppress(StoreFailed):
                await self._call("Leases.Delete", id=lease, sync=True)

    # -- content

    async def size(self, digest: str) -> int | None:
        try:
            return int((await self._call("Content.Info", digest=digest)).info.size)
        except _NotFound:
            return None

    async def labels(self, digest: str) -> Mapping[str, str]:
        return dict((await self._call("Content.Info", digest=digest)).info.labels)

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        if labels:
            info = {"digest": digest, "labels": labels}
            paths = [f"labels.{key}" for key in labels]
            await self._call("Content.Update", info=info, update_mask={"paths": paths})

    async def read(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        request = CALLS["Content.Read"].request(digest=digest, offset=offset)
        try:
            async for part in self._calls["Content.Read"](request, metadata=self._metadata):
                yield part.data
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error

    @asynccontextmanager
    async def writer(self, ref: str, *, digest: str = "", size: int = 0) -> AsyncIterator[Writer]:
        stream = self._calls["Content.Write"](metadata=self._metadata)
        writer = _ContentWriter(stream, ref, digest, size)
        try:
            await writer.begin()
            yield writer
            stream.cancel() if not writer.is_committed else await stream.done_writing()
        except BadContent:
            stream.cancel()
            await self.abort(ref)
            raise
        except BaseException:
            stream.cancel()
            raise

    async def abort(self, ref: str) -> None:
        with suppress(_NotFound):
            await self._call("Content.Abort", ref=ref)

    # -- images

    async def images(self) -> list[StoredImage]:
        return [_image(one) for one in (await self._call("Images.List")).images]

    async def image(self, name: str) -> StoredImage | None:
        try:
            return _image((await self._call("Images.Get", name=name)).image)
        except _NotFound:
            return None

    async def put(self, image: StoredImage) -> None:
        target = {
            "media_type": image.target.media_type,
            "digest": image.target.digest,
            "size": image.target.size,
            "annotations": image.target.annotations,
        }
        message = {"name": image.name, "target": target, "labels": dict(image.labels)}
        try:
            await self._call("Images.Create", image=message)
        except AlreadyThere:
            paths = ["target", *(f"labels.{key}" for key in image.labels)]
            await self._call("Images.Update", image=message, update_mask={"paths": paths})

    async def remove(self, name: str) -> bool:
        try:
            await self._call("Images.Delete", name=name, sync=True)
        except _NotFound:
            return False
        return True

    # -- file systems

    async def unpack(self, manifest: Manifest, diff_ids: Sequence[str]) -> None:
        chain, parent = chain_ids(diff_ids), ""
        for layer, diff_id, name in zip(manifest.layers, diff_ids, chain, strict=True):
            if not await self._has_snapshot(name):
                await self._unpack_layer(layer, diff_id, name=name, parent=parent)
            parent = name
        if chain:
            # The configuration keeps the snapshots, as those that containerd has unpacked itself.
            await self.label(manifest.config.digest, {f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}": chain[-1]})

    async def _has_snapshot(self, name: str) -> bool:
        try:
            await self._call("Snapshots.Stat", snapshotter=SNAPSHOTTER, key=name)
        except _NotFound:
            return False
        return True

    async def _unpack_layer(self, layer: Descriptor, diff_id: str, *, name: str, parent: str) -> None:
        key = f"extract-{secrets.token_hex(8)} {name}"
        labels = {"containerd.io/snapshot.ref": name}
        try:
            prepared = await self._call(
                "Snapshots.Prepare", snapshotter=SNAPSHOTTER, key=key, parent=parent, labels=labels
            )
        except AlreadyThere:
            return
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._remove_snapshot, key)
            diff = {"media_type": layer.media_type, "digest": layer.digest, "size": layer.size}
            answer = await self._call("Diff.Apply", seconds=UNPACK_SECONDS, diff=diff, mounts=prepared.mounts)
            if answer.applied.digest != diff_id:
                raise BadContent(f"layer {layer.digest}: it unpacks to {answer.applied.digest}, not to {diff_id}")
            with suppress(AlreadyThere):
                await self._call("Snapshots.Commit", snapshotter=SNAPSHOTTER, name=name, key=key, labels=labels)
                stack.pop_all()
        await self.label(layer.digest, {"containerd.io/uncompressed": diff_id})

    async def _remove_snapshot(self, key: str) -> None:
        with suppress(_NotFound):
            await self._call("Snapshots.Remove", snapshotter=SNAPSHOTTER, key=key)


class _ContentWriter:
    """One stream of the content service: an answer comes for each request."""

    def __init__(self, stream: Any, ref: str, digest: str, size: int) -> None:
        self._stream = stream
        self._ref = ref
        self._digest = digest
        self._size = size
        self._offset = 0
        self.is_committed = False

    @property
    def offset(self) -> int:
        return self._offset

    async def begin(self) -> None:
        answer = await self._send("STAT", total=self._size, expected=self._digest)
        self._offset = answer.offset

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            answer = await self._send("WRITE", offset=self._offset, data=part)
            self._offset = answer.offset

    async def commit(self, labels: Mapping[str, str]) -> str:
        answer = await self._send(
            "COMMIT", offset=self._offset, total=self._size or self._offset, expected=self._digest, labels=labels
        )
        self.is_committed = True
        return str(answer.digest)

    async def _send(self, action: str, **fields: Any) -> Any:
        request = CALLS["Content.Write"].request(action=_NUMBERS[action], ref=self._ref, **fields)
        try:
            await self._stream.write(request)
            answer = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error
        if answer is grpc.aio.EOF:
            raise StoreFailed(f"writing {self._ref}: containerd ended the stream")
        return answer


def _image(message: Any) -> StoredImage:
    target = message.target
    descriptor = Descriptor(target.media_type, target.digest, target.size, dict(target.annotations))
    created = message.created_at.seconds + message.created_at.nanos / 1e9
    return StoredImage(message.name, descriptor, dict(message.labels), created)


def _translated(error: grpc.aio.AioRpcError) -> Exception:
    details = error.details() or str(error.code())
    match error.code():
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyThere(details)
        case grpc.StatusCode.NOT_FOUND:
            return _NotFound(details)
        case grpc.StatusCode.FAILED_PRECONDITION if "unexpected commit" in details:
            return BadContent(details)
        case grpc.StatusCode.UNAVAILABLE if "locked" in details:
            return Busy(details)
        case grpc.StatusCode.UNAVAILABLE:
            return StoreAway(f"containerd does not answer: {details}")
        case grpc.StatusCode.INVALID_ARGUMENT:
            return BadImage(details)
        case _:
            return StoreFailed(details)
