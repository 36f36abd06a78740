"""The members of an etcd cluster, and the one that we talk to: the next one's turn comes when it does not answer.

A channel to each member, opened when it is first needed. Streams live on the member that they were opened at; when a
request has found that member silent, its streams are ended too, so that watchers do not wait for a dead one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog

from kontinuum.foundation import grpc_calls
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.errors import Broken
from kontinuum.store.etcd.access import Access
from kontinuum.store.etcd.errors import AccessDenied, LoggedOut, Unanswered, Unsent, explain
from kontinuum.store.etcd.messages import CALLS, MESSAGES
from kontinuum.store.port import StoreUnavailable

log = structlog.get_logger(__name__)

ATTEMPT_SECONDS = 3.0
"""One member may take this long to answer before the next one is asked; an election takes one to two seconds."""
AGAIN = Backoff(initial=0.02, maximum=0.5, jitter=0.2)
OPTIONS = [
    # A range of large values is one message; etcd bounds requests, not answers.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A watch at a host that has vanished would wait for TCP's own patience. etcd refuses pings below five seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Two stores in one process must not share a connection: one that is closed would take the other's streams along.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]
# A member that has lost its leader would keep a watch open and silent for ever, unless it is asked to end it.
HAS_LEADER = ("hasleader", "true")


class Member:
    """One member's channel and the streams that are open on it."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.endpoint = endpoint
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(endpoint, options=OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(endpoint, credentials, options=OPTIONS)
        self._calls = grpc_calls.on_channel(self._channel, CALLS, {"Watch": "stream_stream"})
        self._streams: set[Stream] = set()

    async def ask(self, name: str, request: Any, *, seconds: float, token: str) -> Any:
        """One request. Raises what ``errors.explain`` makes of the failure."""
        metadata = (HAS_LEADER, ("token", token)) if token else (HAS_LEADER,)
        try:
            return await self._calls[name](request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise explain(name, self.endpoint, error) from error

    def open_watch(self, token: str) -> Stream:
        metadata = (HAS_LEADER, ("token", token)) if token else (HAS_LEADER,)
        stream = Stream(self, self._calls["Watch"](metadata=metadata))
        self._streams.add(stream)
        return stream

    def forget(self, stream: Stream) -> None:
        self._streams.discard(stream)

    def end_streams(self) -> None:
        for stream in list(self._streams):
            stream.abandon()

    async def close(self) -> None:
        self.end_streams()
        await self._channel.close()


class Stream:
    """A stream of watch responses; ends with an error, or when it is closed."""

    def __init__(self, member: Member, call: Any) -> None:
        self.member = member
        self._call = call
        self._abandoned = False

    async def send(self, request: Any) -> None:
        """Raises Unanswered."""
        async with self._explaining():
            await self._call.write(request)

    async def receive(self) -> Any:
        """The next response. Raises Unanswered and whatever else ``errors.explain`` knows."""
        async with self._explaining():
            response = await self._call.read()
        if response is grpc.aio.EOF:
            raise Unanswered(f"watching: etcd at {self.member.endpoint} has ended the stream")
        return response

    def abandon(self) -> None:
        """Make whoever waits for a response see Unanswered."""
        self._abandoned = True
        self._call.cancel()

    def close(self) -> None:
        self._call.cancel()
        self.member.forget(self)

    def _explaining(self) -> _Explaining:
        return _Explaining(self)

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned


class _Explaining:
    """Turns gRPC's errors inside the block into the store's."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        endpoint = self._stream.member.endpoint
        if isinstance(error, grpc.aio.AioRpcError):
            raise explain("watching", endpoint, error) from error
        if isinstance(error, asyncio.InvalidStateError):
            raise Unanswered(f"watching: the stream from etcd at {endpoint} has ended") from error
        if isinstance(error, asyncio.CancelledError) and self._stream.is_abandoned:
            # gRPC says the same of a stream that we cancelled as of a task that somebody cancelled.
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise Unanswered(f"watching: etcd at {endpoint} does not answer any more") from error


class Members:
    """See the module. Used from one event loop."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._credentials = _credentials(access)
        self._members: list[Member | None] = [None] * len(access.endpoints)
        self._turn = 0
        self._token = ""
        self._logging_in = asyncio.Lock()
        self._closed = False

    @property
    def patience_seconds(self) -> float:
        return self._access.patience_seconds

    async def ask(self, name: str, request: Any) -> Any:
        """Ask until some member answers; only for requests that may be repeated.

        Raises StoreUnavailable when none has answered for ``patience_seconds``, and what etcd refuses with.
        """
        end = asyncio.get_running_loop().time() + self._access.patience_seconds
        failures = 0
        while True:
            try:
                return await self.ask_once(name, request, end=end)
            except Unanswered as error:
                await self.pause(failures, end=end, error=error)
                failures += 1

    async def ask_once(self, name: str, request: Any, *, end: float) -> Any:
        """Ask the member whose turn it is, once. A member that does not answer loses its turn.

        Raises Unsent, Unanswered, and what etcd refuses with.
        """
        member = self._current()
        seconds = max(0.05, min(ATTEMPT_SECONDS, end - asyncio.get_running_loop().time()))
        token = await self._logged_in(member, seconds)
        try:
            return await member.ask(name, request, seconds=seconds, token=token)
        except LoggedOut:
            if not self._access.user:
                raise AccessDenied(f"{name}: etcd at {member.endpoint} asks for a user and a password") from None
            if self._token == token:
                self._token = ""
            raise Unsent(f"{name}: etcd at {member.endpoint} has forgotten that we logged in") from None
        except Unanswered as error:
            if self._closed:
                raise StoreUnavailable("the store has been closed") from error
            self._pass_turn(member, str(error))
            raise

    async def pause(self, failures: int, *, end: float, error: Unanswered) -> None:
        """Wait before the next try; raises StoreUnavailable with the last ``error`` when ``end`` has come."""
        delay = AGAIN.delay(failures // len(self._members))
        if asyncio.get_running_loop().time() + delay >= end:
            raise StoreUnavailable(
                f"{error}; nor has any other of {len(self._members)} within {self._access.patience_seconds:g} s"
            ) from error
        await asyncio.sleep(delay)

    async def watch(self, create: Any) -> AsyncIterator[Any]:
        """Responses to one watch at one member. Raises Unanswered when the member must be given up."""
        member = self._current()
        stream = member.open_watch(await self._logged_in(member, ATTEMPT_SECONDS))
        try:
            await stream.send(MESSAGES["WatchRequest"](create_request=create))
            while True:
                yield await stream.receive()
        except LoggedOut as error:
            self._token = ""
            raise Unanswered(str(error)) from error
        except Unanswered as error:
            if self._closed:
                raise StoreUnavailable("the store has been closed") from error
            if not stream.is_abandoned:
                self._pass_turn(member, str(error))
            raise
        finally:
            stream.close()

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(member.close() for member in self._members if member is not None))

    def _current(self) -> Member:
        if self._closed:
            raise StoreUnavailable("the store has been closed")
        member = self._members[self._turn]
        if member is None:
            member = self._members[self._turn] = Member(self._access.endpoints[self._turn], self._credentials)
        return member

    def _pass_turn(self, member: Member, reason: str) -> None:
        if len(self._members) > 1 and self._members[self._turn] is member:
            self._turn = (self._turn + 1) % len(self._members)
            log.warning("asking the next member of etcd", given_up=member.endpoint, reason=reason)
            member.end_streams()

    async def _logged_in(self, member: Member, seconds: float) -> str:
        """A token, if we have a user. Raises Unsent, AccessDenied."""
        if not self._access.user or self._token:
            return self._token
        async with self._logging_in:
            if not self._token:
                request = MESSAGES["AuthenticateRequest"](name=self._access.user, password=self._access.password)
                try:
                    self._token = (await member.ask("Authenticate", request, seconds=seconds, token="")).token
                except Unanswered as error:
                    self._pass_turn(member, str(error))
                    raise Unsent(str(error)) from error
        return self._token


def _credentials(access: Access) -> grpc.ChannelCredentials | None:
    if not access.is_encrypted:
        return None
    try:
        return grpc.ssl_channel_credentials(
            root_certificates=access.authority.read_bytes() if access.authority else None,
            private_key=access.key.read_bytes() if access.key else None,
            certificate_chain=access.certificate.read_bytes() if access.certificate else None,
        )
    except OSError as error:
        raise Broken(f"etcd: {error.filename}: {error.strerror}") from error
