"""GET of a collection's changes, as they happen.

resourceVersion N            every change after N; 410 if N is too long ago
resourceVersion "" or "0"    first an ADDED for everything there is, then every change
sendInitialEvents            the same, and a bookmark that says when the first part is over (KEP-3157)
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import replies, versions
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.connections import notice_leaving
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.events import Entry, watch_frame
from kontinuum.apiserver.late_selection import Late, chosen, late
from kontinuum.apiserver.presenting import Form, form_of
from kontinuum.apiserver.reading import NOT_OLDER, invalid_options, parse_version
from kontinuum.apiserver.verbs.list import selection_of
from kontinuum.apiserver.watcher import Seen, Watcher

Encode = Callable[[Sequence[Seen]], Awaitable[list[bytes]]]
BATCH = 500
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


async def watch(context: Context, served: Served, call: Call) -> StreamResponse:
    """Stream until the timeout, the client's leaving, or the watcher's lagging. Raises ApiError 400, 422, 504."""
    asked = selection_of(served, call)
    needed = late(served, asked)
    selection = asked if needed is None else needed.wide
    initial = _wants_initial_events(call)
    version = parse_version(call.query.get("resourceVersion", ""))
    deadline = context.clock.monotonic() + _seconds(context, call)
    if version:
        await context.wait_revision(version)
    elif call.query.get("resourceVersion", "") == "" or initial:
        await context.catch_up()
    form = form_of(context, call, served)
    # From here to the watcher's registration nothing is awaited, so no change falls in between.
    entries: list[Entry] = []
    since = version or context.feed.applied
    if initial or (version == 0 and "sendInitialEvents" not in call.query):
        since = context.feed.applied
        entries = list(served.cache.select(selection))
    watcher = served.cache.watch(selection, after=since, limit=context.settings.watch_queue)

    def last() -> bytes:
        """What follows the objects there are; made after them, since the first object of a table is another."""
        if watcher is None:
            return _too_old(version, served.cache.oldest)
        if initial and call.flag("allowWatchBookmarks"):
            return bookmark(served, form, since, {INITIAL_EVENTS_END: "true"})
        return b""

    first = _first_pieces(served, form, entries, needed, last)
    encode = _encoder(served, call, form, needed)
    try:
        return await _stream(context, served, call, form, watcher, first, encode, deadline)
    finally:
        if watcher is not None:
            served.cache.watchers.discard(watcher)
            watcher.end()


async def _first_pieces(
    served: Served, form: Form, entries: list[Entry], needed: Late | None, last: Callable[[], bytes]
) -> AsyncIterator[bytes]:
    """The objects there are, as events, encoded as they are sent so that a big beginning never exists at once."""
    frames: list[bytes] = []
    size = 0
    for some in _batches(entries):
        for value in await versions.present(served.converter, [entry.value for entry in some]):
            if needed is not None and not needed.matches(value):
                continue
            frames.append(watch_frame("ADDED", form(value)))
            size += len(frames[-1])
            if size > replies.PIECE:
                piece = b"".join(frames)
                # Not kept while the piece is sent.
                frames, size = [], 0
                yield piece
    yield b"".join([*frames, last()])


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Few enough to be converted together, should they need a conversion."""
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]


async def _stream(
    context: Context,
    served: Served,
    call: Call,
    form: Form,
    watcher: Watcher | None,
    first: AsyncIterator[bytes],
    encode: Encode,
    deadline: float,
) -> StreamResponse:
    response = StreamResponse(headers=replies.headers(call.audit_id, call.warnings))
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    try:
        try:
            async for piece in first:
                if piece:
                    await replies.send(call.request, response, piece)
                    await asyncio.sleep(0)
            if call.seat is not None:
                call.seat.leave()
            if watcher is not None:
                await _follow(context, served, call, form, watcher, response, encode, deadline)
        except ApiError as error:  # An object cannot be converted to the version that is watched.
            await response.write(watch_frame("ERROR", orjson.dumps(error.to_status())))
        await response.write_eof()
    except ConnectionError:
        pass  # The client has gone; there is nobody to tell.
    except Exception:
        # Half a stream has been sent, so the only way left to report an error is to break it off.
        if call.request.transport is not None:
            call.request.transport.close()
        raise
    return response


async def _follow(
    context: Context,
    served: Served,
    call: Call,
    form: Form,
    watcher: Watcher,
    response: StreamResponse,
    encode: Encode,
    deadline: float,
) -> None:
    clock = context.clock
    marks = call.flag("allowWatchBookmarks")
    every = context.settings.bookmark_seconds if marks else math.inf
    next_mark = clock.monotonic() + every
    # A watch that waits keeps all that belongs to its connection, 100 KB.
    notice_leaving(call.request, watcher.end)
    while not watcher.ended:
        now = clock.monotonic()
        if now >= deadline:
            break
        await watcher.wait_events(min(deadline - now, max(0.01, next_mark - now)))
        # Read before the queue: a bookmark may only promise what has been sent.
        applied = context.feed.applied
        frames = await encode(watcher.take())
        if clock.monotonic() >= next_mark and not watcher.ended:
            frames.append(bookmark(served, form, applied))
            next_mark = clock.monotonic() + every
        for piece in replies.in_pieces(frames):
            await replies.send(call.request, response, piece)
    if marks and not watcher.ended:
        applied = context.feed.applied
        frames = await encode(watcher.take())
        for piece in replies.in_pieces([*frames, bookmark(served, form, applied)]):
            await replies.send(call.request, response, piece)


def _encoder(served: Served, call: Call, form: Form, needed: Late | None) -> Encode:
    """How this watcher's events become lines. Plain objects share one encoding among all watchers."""
    converter, plain = served.converter, call.output.form == "objects"

    async def encode(seen: Sequence[Seen]) -> list[bytes]:
        if needed is not None:
            return [watch_frame(type_, form(value)) for type_, value in await chosen(needed, seen)]
        if converter is None and plain:
            return [event.frame(type_) for type_, event in seen]
        if converter is not None and plain:
            return await versions.frames(converter, seen)
        values = [event.object_for(type_) for type_, event in seen]
        if converter is not None:
            values = await versions.values_of(converter, seen)
        return [watch_frame(type_, form(value)) for (type_, _), value in zip(seen, values, strict=True)]

    return encode


def bookmark(served: Served, form: Form, revision: int, annotations: dict[str, str] | None = None) -> bytes:
    """A frame that only says how far the watch is, in the form of the others, which is what the client can read."""
    metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    resource = served.resource
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return watch_frame("BOOKMARK", form(orjson.dumps(obj)))


def _too_old(version: int, oldest: int) -> bytes:
    """410 as an event: once a watch is accepted, Kubernetes reports errors in its stream."""
    error = status.expired(f"too old resource version: {version} ({oldest})")
    return watch_frame("ERROR", orjson.dumps(error.to_status()))


def _wants_initial_events(call: Call) -> bool:
    """Raises ApiError 400, and 422 for combinations that Kubernetes refuses (``ValidateListOptions``)."""
    path, match = "resourceVersionMatch", call.query.get("resourceVersionMatch", "")
    is_asked = "sendInitialEvents" in call.query
    causes = []
    if is_asked and match != NOT_OLDER:
        causes.append(fields.forbidden(path, f"sendInitialEvents requires setting {path} to {NOT_OLDER}"))
    if match and not is_asked:
        causes.append(fields.forbidden(path, f"{path} is forbidden for watch unless sendInitialEvents is provided"))
    if match not in ("", NOT_OLDER):
        causes.append(fields.not_supported(path, match, (NOT_OLDER,)))
    if match and call.query.get("continue"):
        causes.append(fields.forbidden(path, f"{path} is forbidden when continue is provided"))
    if causes:
        raise invalid_options(causes)
    return call.flag("sendInitialEvents")


def _seconds(context: Context, call: Call) -> float:
    # Spread, so that watches which began together do not all end together.
    return call.number("timeoutSeconds") or context.settings.watch_minimum_seconds * (1 + random.random())
