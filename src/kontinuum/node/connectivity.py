"""The network of one machine, as a process of its own: Services, policies, DNS and ways, kept as the API says.

    informers ──▶ proxy  ──┐
              ──▶ policy ──┴──▶ one nftables table
              ──▶ overlay ──▶ routes and tunnels to other nodes' pods
              ──▶ dns ──▶ answers

Apart from the agent, because a name is asked for in every connection that pods make: it must not wait behind the start
of a hundred pods. What is in the kernel stays when we end, and is replaced by whoever follows us, in one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

import structlog

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, NAMESPACES, NETWORKPOLICIES, NODES, PODS, SERVICES
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.client.informer import Change, Handler, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.priority import step_forward
from kontinuum.node import network
from kontinuum.node.dns import service as dns_service
from kontinuum.node.dns.dns import Dns
from kontinuum.node.filter_table import FilterTable
from kontinuum.node.overlay.overlay import Overlay
from kontinuum.node.overlay.overlay import trim as trim_node
from kontinuum.node.policy import rules as policy_rules
from kontinuum.node.policy.policy import Policies, trim
from kontinuum.node.proxy.endpoints import Place
from kontinuum.node.proxy.health import Figures, HttpServer, is_eligible
from kontinuum.node.proxy.proxy import BY_SERVICE, Proxy, service_of
from kontinuum.node.proxy.rules import Networks, frame
from kontinuum.node.ruleset import Ruleset
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

ZONE = "topology.kubernetes.io/zone"
HEALTH_PORT = 10256
"""kube-proxy's, asked by load balancers."""


async def run(client: Client, clock: Clock, settings: NodeSettings) -> None:
    """Keep this machine's network until cancelled.

    Raises NftablesMissing, TransactionRefused if the kernel lacks what the rules need, ProgramFailed, OSError.
    """
    # We are asked in every connection, and need a millisecond each time.
    step_forward("names and Services wait their turn behind busy pods")
    await network.prepare(settings)
    networks = networks_of(settings)
    services = Informer(client, SERVICES, clock=clock)
    slices = Informer(client, ENDPOINTSLICES, clock=clock, indexes={BY_SERVICE: service_of})
    nodes = Informer(client, NODES, clock=clock, trim=trim_node)
    pods = Informer(client, PODS, clock=clock, trim=trim)
    namespaces = Informer(client, NAMESPACES, clock=clock, metadata_only=True)
    policies = Informer(client, NETWORKPOLICIES, clock=clock)
    informers = (services, slices, nodes, pods, namespaces, policies)
    ruleset = Ruleset(network.table(settings), frame(networks) | policy_rules.frame())
    table = FilterTable(network.table(settings), ruleset, clock)
    proxy = Proxy(services, slices, table, Place(settings.name), networks, clock)
    judge = Policies(pods, namespaces, policies, table, settings, clock)
    dns = Dns(services, slices, namespaces, settings, clock)
    async with contextlib.AsyncExitStack() as stack:
        # Before the group, so that it happens after the group's end.
        stack.callback(table.close)
        stack.push_async_callback(dns.stop)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for informer in informers:
            group.create_task(informer.run())
        for informer in informers:
            await informer.wait_synced()
        nodes.add_handler(_moves(proxy, settings.name))
        if settings.proxy:
            proxy.fill()
        judge.fill()
        await table.replace()
        log.info("the packet filter is in force", table=table.name, services=len(services.all_keys()))
        group.create_task(table.look_after())
        group.create_task(judge.run())
        if settings.address and settings.address not in settings.gateways:
            # A node that only its own machine reaches has no others beside it.
            group.create_task(Overlay(nodes, settings, settings.address).run())
        if settings.dns:
            port = await dns.start()
            group.create_task(dns_service.keep(client, clock, settings, port))
        if settings.proxy:
            group.create_task(proxy.run())
            await _serve_health(proxy.figures, settings)


def networks_of(settings: NodeSettings) -> Networks:
    """The cluster's networks, as the packet filter needs to know them."""
    pods = settings.pod_networks
    outside = [one for one in pods if not _is_in(one, settings.cluster_networks)]
    own = (*settings.gateways, *settings.dns_addresses)
    return Networks(
        pods=pods,
        cluster=(*settings.cluster_networks, *outside),
        services=settings.service_networks,
        masquerade=settings.masquerade,
        closed=own if settings.address in settings.gateways else (),
    )


def _is_in(network_: str, wider: tuple[str, ...]) -> bool:
    found = ipaddress.ip_network(network_)
    return any(
        found.version == one.version and found.network_address in one and found.prefixlen >= one.prefixlen
        for one in map(ipaddress.ip_network, wider)
    )


def _moves(proxy: Proxy, name: str) -> Handler:
    def on_node(change: Change, node: Object, _: Object | None) -> None:
        if name_of(node) == name:
            proxy.move(Place(name, labels_of(node).get(ZONE, "")))
            proxy.figures.is_eligible = change != "deleted" and is_eligible(node)

    return on_node


async def _serve_health(figures: Figures, settings: NodeSettings) -> None:
    """kube-proxy's health and metrics, on the node's own address; somebody else may serve there already."""
    server = HttpServer(figures.answer)
    try:
        await server.start(settings.address or settings.gateways[0], HEALTH_PORT)
    except OSError as error:
        log.warning("the proxy's health is not served", port=HEALTH_PORT, error=str(error))
