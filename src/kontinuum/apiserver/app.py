"""The API server: builds its parts in order, listens, and takes them down again in reverse.

start:  store ─▶ caches ─▶ feed filled ─▶ system objects ─▶ custom resources ─▶ listen
stop:   /readyz fails ─▶ no new connections ─▶ watches end ─▶ requests finish ─▶ feed ends
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from aiohttp.web_protocol import RequestHandler

from kontinuum.api.kubernetes.conversion import CONVERSIONS
from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import housekeeping, listener
from kontinuum.apiserver.admission.plugins import all_plugins
from kontinuum.apiserver.admission.policies.reporting import report_types
from kontinuum.apiserver.aggregation.aggregation import Aggregation
from kontinuum.apiserver.audit.audit import Audit, audit_of
from kontinuum.apiserver.authn.assemble import Identity, identity_of
from kontinuum.apiserver.authn.lookup import CachedObjects
from kontinuum.apiserver.authn.serviceaccounts.tracking import keep_tracking
from kontinuum.apiserver.authz.assemble import authorizer_of, rbac_of
from kontinuum.apiserver.authz.reconciliation import reconcile_defaults
from kontinuum.apiserver.bootstrap import create_system_objects
from kontinuum.apiserver.catalog import Catalog, Served
from kontinuum.apiserver.connections import Connections, Limits
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.custom.definitions import Definitions
from kontinuum.apiserver.documents import Documents
from kontinuum.apiserver.encryption import encryption
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.fairness.fairness import Fairness
from kontinuum.apiserver.feed import Feed
from kontinuum.apiserver.flowcontrol import create_flow_objects, keep_flow_objects
from kontinuum.apiserver.handler import Handler
from kontinuum.apiserver.health import Health
from kontinuum.apiserver.metrics import RequestMetrics
from kontinuum.apiserver.nodes import Nodes
from kontinuum.apiserver.quota.books import Books
from kontinuum.apiserver.services.own import create_service_range, keep_own_service
from kontinuum.apiserver.services.repair import repair_for_ever
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.apiserver.strategy import strategy_of
from kontinuum.apiserver.usage import serving as usage
from kontinuum.apiserver.usage.collector import collect_for_ever
from kontinuum.apiserver.versions import PureConverter
from kontinuum.apiserver.watchcache import WatchCache
from kontinuum.foundation.addresses import bind_early, listening_at, split_listen
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.sockets import allow_open_files, listen_unix
from kontinuum.foundation.tasks import cancel, restarting
from kontinuum.store.port import Store

log = structlog.get_logger(__name__)

STOP_SECONDS = 5.0
"""How long requests may finish after a stop was asked for."""
HANDSHAKE_SECONDS = 10.0
"""How long a client may take to agree on TLS."""
OTHER_FILES = 256
"""Descriptors that the server needs beside its clients' connections."""
WAITING_PART = 0.25
"""Of the time that a request may take, how much it may wait for its turn."""
FAREWELL_SECONDS = 5.0
"""How long it may take to end it."""


class ApiServer:
    """Serves ``store`` as a Kubernetes API. The store is the caller's to open and close."""

    def __init__(self, store: Store, settings: ServerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._context = _context(encryption.wrapped(store, settings.encryption), settings, clock)
        self._aggregation = Aggregation(self._context)
        self._health = Health(self._context)
        self._definitions = Definitions(self._context)
        self._tasks: list[asyncio.Task[Any]] = []
        self._listening: list[asyncio.Server] = []
        self._audit: Audit | None = None
        self._http: Connections | None = None
        self._identity: Identity | None = None
        self.address = ""
        """``https://HOST:PORT`` once started."""

    async def start(self) -> None:
        """Listen; returns when requests are answered. Raises ListenRefused, BadTokenFile, StoreFull, AddressTaken."""
        tls = listener.tls_context(self._settings)
        host, port = split_listen(self._settings.listen)
        feed = self._context.feed
        self._identity = identity_of(self._settings, self._clock, CachedObjects(self._context))
        self._context.identity = self._identity
        await encryption.check(self._context.store)
        self._repeat("store feed", feed.run)
        await feed.wait_filled()
        await create_system_objects(self._context)
        await create_service_range(self._context)
        await create_flow_objects(self._context)
        await reconcile_defaults(self._context)
        await self._aggregation.create_objects()
        await self._definitions.settle()
        self._repeat("custom resources", self._definitions.run)
        documents = Documents(self._context.catalog, self._aggregation.elsewhere)
        self._audit = audit_of(self._settings.audit, self._clock)
        handler = Handler(
            self._context,
            self._context.catalog.routes,
            authenticate=self._context.identity.authenticate,
            aggregation=self._aggregation,
            documents=documents,
            health=self._health,
            settled=self._definitions.settled,
            requests=RequestMetrics(),
            fairness=self._fairness(),
            audit=self._audit,
        )
        self._http = Connections(handler, _limits(self._settings))
        self._repeat("slow clients", self._http.watch_over)
        port = await self._listen(tls, self._http, host, port)
        self.address = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._start_housekeeping(tls)
        works = self._context.identity.works() | self._aggregation.works(documents.forget)
        for name, work in works.items():
            self._repeat(name, work)
        if self._identity.uses is not None:
            self._repeat("uses of tokens in Secrets", lambda: keep_tracking(self._context))
        self._repeat("own service", lambda: keep_own_service(self._context, host=host, port=port))
        log.info("serving the API", address=self.address, revision=feed.applied)

    async def stop(self) -> None:
        """Answer what has been asked and end. Safe to call when not started."""
        self._health.is_stopping = True
        for listening in self._listening:
            listening.close()
        for served in self._context.served.values():
            served.cache.end_watches()
        await self._context.nodes.close()
        await self._aggregation.close()
        await self._context.quotas.close()
        if self._http is not None:
            await _close_connections(self._http)
        for listening in self._listening:
            await listening.wait_closed()
        if self._audit is not None:
            await self._audit.close()
            self._audit = None
        await cancel(*self._tasks)
        self._tasks.clear()
        await self._definitions.close()
        if self._identity is not None:
            await self._identity.close()
        await self._context.admission.close()

    def answering(self) -> asyncio.BufferedProtocol:
        """The server's end of one more connection, for who connects without a network. The server has started."""
        assert self._http is not None, "it has started"
        return self._http.accept()

    @property
    def connections(self) -> list[RequestHandler]:
        """The connections that are open now."""
        return self._http.connections if self._http is not None else []

    @property
    def shared_objects(self) -> list[tuple[Entry, Object]]:
        """What admission looks at, and the entries that it was decoded from."""
        return self._context.decoded.kept()

    async def run(self) -> None:
        """Start, serve until cancelled, stop."""
        try:
            await self.start()
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def _listen(self, tls: ssl.SSLContext, http: Connections, host: str, port: int) -> int:
        """Accept connections at every address that the settings name. Returns the port, if the system chose it."""
        create_server = partial(
            asyncio.get_running_loop().create_server, http.accept, ssl=tls, backlog=1024,
            ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=FAREWELL_SECONDS,
        )  # fmt: skip
        with listening_at(self._settings.listen):
            self._listening.append(await create_server(host, port))
        port = int(self._listening[0].sockets[0].getsockname()[1])
        if self._settings.socket is not None:
            await self._listen_locally(http, self._settings.socket)
        own = self._settings.pods_address
        if own and own != host:
            with listening_at(f"[{own}]:{port}" if ":" in own else f"{own}:{port}"):
                self._listening.append(await create_server(sock=bind_early(own, port)))
        return port

    async def _listen_locally(self, http: Connections, path: Path) -> None:
        """For this machine's own parts: nobody else can reach the socket, so that nothing has to be encrypted.

        Raises OSError, PathTooLong.
        """
        accept = partial(http.accept, is_local=True)
        listening = await asyncio.get_running_loop().create_unix_server(accept, sock=listen_unix(path), backlog=1024)
        self._listening.append(listening)

    def _fairness(self) -> Fairness:
        served, settings = self._context.served, self._settings
        return Fairness(
            served[PRIORITYLEVELCONFIGURATIONS].cache,
            served[FLOWSCHEMAS].cache,
            self._clock,
            seats=settings.maximum_in_flight,
            wait_seconds=settings.request_timeout_seconds * WAITING_PART,
        )

    def _start_housekeeping(self, tls: ssl.SSLContext) -> None:
        context = self._context
        if self._settings.metrics_seconds:
            self._repeat("usage of nodes and pods", lambda: collect_for_ever(context))
        if self._settings.compaction_seconds:
            self._repeat("compaction", lambda: housekeeping.compact_history(context))
        self._repeat("flow schemas", lambda: keep_flow_objects(context))
        self._repeat("service repair", lambda: repair_for_ever(context))
        self._repeat("policy types", lambda: report_types(context))
        self._repeat("quota ledgers", lambda: housekeeping.forget_ledgers(context))
        self._repeat("event expiry", lambda: housekeeping.expire_events(context))
        self._repeat("memory", lambda: housekeeping.return_memory(context))
        if self._settings.encryption is not None:
            keys = self._settings.encryption
            self._repeat("keys", lambda: encryption.follow_configuration(context.store, keys, self._clock))
        self._repeat("certificates", lambda: housekeeping.follow_certificates(context, tls))

    def _repeat(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(restarting(name, work, clock=self._clock), name=name))


def _context(store: Store, settings: ServerSettings, clock: Clock) -> Context:
    served: dict[Resource, Served] = {}
    for resource, kind in KINDS.items():
        fields_of = kind.fields if kind.selectable else None
        read = kind.read_for_selection or kind.selectable
        if resource.stored_as is not None:
            cache = served[resource.stored_as].cache
        else:
            cache = WatchCache(resource, fields_of=fields_of, read=read, history=settings.history_events)
        served[resource] = Served(resource, kind, strategy_of(resource), cache, _converter(resource))
    if settings.metrics_seconds:
        served |= {one.resource: one for one in usage.served()}
    caches = {one.layout.prefix: one.cache for one in served.values() if one.resource.stored}
    feed = Feed(store, caches, clock, replay=settings.history_replay)
    rules = rbac_of(served)
    authorizer = authorizer_of(settings, served, rules)
    catalog = Catalog(served)
    return Context(
        store=store,
        settings=settings,
        clock=clock,
        catalog=catalog,
        feed=feed,
        admission=all_plugins(authorizer, rules, settings, clock, catalog),
        authorizer=authorizer,
        nodes=Nodes(settings),
        quotas=Books(catalog.served, clock),
    )


def _limits(settings: ServerSettings) -> Limits:
    # Without a descriptor no connection could be accepted, and none be told so.
    most = settings.maximum_connections
    return Limits(
        header_seconds=settings.header_timeout_seconds,
        idle_seconds=settings.idle_timeout_seconds,
        stalled_seconds=settings.stalled_timeout_seconds,
        most=min(most, allow_open_files(most + OTHER_FILES) - OTHER_FILES),
    )


def _converter(resource: Resource) -> PureConverter | None:
    conversion = CONVERSIONS.get(resource)
    return PureConverter(resource.api_version, conversion) if conversion is not None else None


async def _close_connections(http: Connections) -> None:
    """Let requests finish for a while, then close every connection."""
    http.pre_shutdown()
    transports = [one.transport for one in http.connections]
    await http.shutdown(STOP_SECONDS)
    for transport in transports:
        # A TLS connection that is only closed waits for a farewell that a silent client never sends. Debian 12's
        # asyncio (3.11.2) stumbles over one that has ended meanwhile.
        if isinstance(transport, asyncio.Transport):
            with contextlib.suppress(AttributeError):
                transport.abort()
    await asyncio.sleep(0)
