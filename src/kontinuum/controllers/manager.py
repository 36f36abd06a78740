"""All controllers in one process: shared informers, one task per reconciler, each restarted alone if it falls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import structlog

from kontinuum.client.election import leading
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.controllers.context import Context, Reconciler
from kontinuum.controllers.reconcilers.attachdetach import AttachDetachReconciler
from kontinuum.controllers.reconcilers.bootstrap_tokens import BootstrapSigner, TokenCleaner
from kontinuum.controllers.reconcilers.certificate_requests import certificate_reconcilers
from kontinuum.controllers.reconcilers.clusterrole_aggregation import ClusterRoleAggregationReconciler
from kontinuum.controllers.reconcilers.cronjob import CronJobReconciler
from kontinuum.controllers.reconcilers.daemonset import DaemonSetReconciler
from kontinuum.controllers.reconcilers.deployment import DeploymentReconciler
from kontinuum.controllers.reconcilers.disruption import DisruptionReconciler
from kontinuum.controllers.reconcilers.endpoints import EndpointsReconciler
from kontinuum.controllers.reconcilers.endpointslice import EndpointSliceReconciler
from kontinuum.controllers.reconcilers.endpointslicemirroring import EndpointSliceMirroringReconciler
from kontinuum.controllers.reconcilers.ephemeral import EphemeralVolumesReconciler
from kontinuum.controllers.reconcilers.expansion import ExpansionReconciler
from kontinuum.controllers.reconcilers.garbage import GarbageCollector
from kontinuum.controllers.reconcilers.horizontalpodautoscaler import HorizontalPodAutoscalerReconciler
from kontinuum.controllers.reconcilers.host_path import HostPathProvisioner
from kontinuum.controllers.reconcilers.isolation_classes import IsolationClassesReconciler
from kontinuum.controllers.reconcilers.job import JobReconciler
from kontinuum.controllers.reconcilers.namespace import NamespaceReconciler
from kontinuum.controllers.reconcilers.node import NodeReconciler
from kontinuum.controllers.reconcilers.nodeipam import NodeIpamReconciler
from kontinuum.controllers.reconcilers.persistentvolume import PersistentVolumeReconciler
from kontinuum.controllers.reconcilers.podgc import PodGarbageCollector
from kontinuum.controllers.reconcilers.replicaset import ReplicaSetReconciler, ReplicationControllerReconciler
from kontinuum.controllers.reconcilers.resource_quota import ResourceQuotaReconciler
from kontinuum.controllers.reconcilers.resourceclaim import ResourceClaimReconciler
from kontinuum.controllers.reconcilers.root_ca import RootAuthoritiesReconciler
from kontinuum.controllers.reconcilers.service_addresses import ServiceAddressesReconciler
from kontinuum.controllers.reconcilers.serviceaccount import ServiceAccountReconciler
from kontinuum.controllers.reconcilers.servicecidr import ServiceCidrReconciler
from kontinuum.controllers.reconcilers.stale_disruption import StaleDisruptionReconciler
from kontinuum.controllers.reconcilers.statefulset import StatefulSetReconciler
from kontinuum.controllers.reconcilers.storage_protection import protections
from kontinuum.controllers.reconcilers.tokens import TokensReconciler
from kontinuum.controllers.reconcilers.ttl import TimeToLiveReconciler
from kontinuum.controllers.reconcilers.unused_tokens import UnusedTokensReconciler
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.tasks import restarting

log = structlog.get_logger(__name__)

LEASE = "kube-controller-manager"


Maker = Callable[[Context], Reconciler]


async def run(client: Client, clock: Clock, settings: ControllersSettings) -> None:
    """Run the controllers until cancelled; with ``settings.elect``, only while holding the Lease. Raises Refused."""
    chosen(available(settings), settings.enabled)
    await leading(client, clock, settings, lease=LEASE, work=lambda leader: work(leader, clock, settings))


async def work(client: Client, clock: Clock, settings: ControllersSettings) -> None:
    """Run the enabled controllers until cancelled, whoever else does."""
    context = Context(client, clock, settings)
    reconcilers = assemble(context)
    async with asyncio.TaskGroup() as group:
        for recorder in context.recorders.values():
            group.create_task(restarting("events", recorder.run, clock=clock))
        for informer in (*context.informers.values(), *context.selections):
            group.create_task(restarting(f"informer {informer.resource.plural}", informer.run, clock=clock))
        for reconciler, needs in reconcilers:
            group.create_task(_run_when_synced(reconciler, needs, clock))
        group.create_task(_look_again([one for one, _ in reconcilers], clock, settings.look_again_seconds))


def assemble(context: Context) -> list[tuple[Reconciler, list[Informer]]]:
    """The enabled reconcilers, in no particular order, because they meet only through the API; and what each reads."""
    makers = available(context.settings)
    assembled = []
    for name in chosen(makers, context.settings.enabled):
        own = context.of_one()
        assembled.append((makers[name](own), own.needs))
    return assembled


def available(settings: ControllersSettings) -> dict[str, Maker]:
    """How each controller is made that these settings give what it needs, by name."""
    makers: dict[str, Maker] = {
        one.name: one
        for one in (
            DeploymentReconciler,
            ReplicaSetReconciler,
            ReplicationControllerReconciler,
            StatefulSetReconciler,
            DaemonSetReconciler,
            JobReconciler,
            CronJobReconciler,
            BootstrapSigner,
            ClusterRoleAggregationReconciler,
            TimeToLiveReconciler,
            TokenCleaner,
            DisruptionReconciler,
            HorizontalPodAutoscalerReconciler,
            EndpointSliceReconciler,
            EndpointsReconciler,
            EndpointSliceMirroringReconciler,
            NamespaceReconciler,
            GarbageCollector,
            ServiceAccountReconciler,
            NodeReconciler,
            PersistentVolumeReconciler,
            AttachDetachReconciler,
            HostPathProvisioner,
            EphemeralVolumesReconciler,
            ExpansionReconciler,
            PodGarbageCollector,
            ResourceClaimReconciler,
            ResourceQuotaReconciler,
            ServiceCidrReconciler,
            StaleDisruptionReconciler,
            UnusedTokensReconciler,
        )
    }
    if settings.root_ca:
        makers[RootAuthoritiesReconciler.name] = RootAuthoritiesReconciler
    if settings.cluster_cidrs:
        makers[NodeIpamReconciler.name] = NodeIpamReconciler
    if settings.load_balancer_pool:
        makers[ServiceAddressesReconciler.name] = ServiceAddressesReconciler
    if settings.service_account_key:
        makers[TokensReconciler.name] = TokensReconciler
    if settings.isolation_classes:
        makers[IsolationClassesReconciler.name] = IsolationClassesReconciler
    return makers | protections() | certificate_reconcilers(settings)


def chosen(names: Collection[str], enabled: Sequence[str]) -> list[str]:
    """Those of ``names`` that ``enabled`` says, by kube-controller-manager's rules for ``--controllers``.

    ``-NAME`` switches one off, ``*`` means all that are not named; Kubernetes' endings in ``-controller`` may be left
    out or written. Raises Refused for a name that nobody has.
    """
    said = {one.removeprefix("-").removesuffix("-controller"): not one.startswith("-") for one in enabled}
    if unknown := said.keys() - {"*", *(name.removesuffix("-controller") for name in names)}:
        known = ", ".join(sorted(names))
        raise Refused(f"controllers.enabled: no controller is named {', '.join(sorted(unknown))}; there are {known}")
    others = said.get("*", False)
    return [name for name in names if said.get(name.removesuffix("-controller"), others)]


async def _run_when_synced(reconciler: Reconciler, needs: Sequence[Informer], clock: Clock) -> None:
    """A server that does not serve (or let us read) one kind keeps from working only those who cannot do without."""
    for informer in needs:
        await informer.wait_synced()
    log.info("a controller is working", controller=reconciler.name)
    await restarting(reconciler.name, reconciler.run, clock=clock)


async def _look_again(reconcilers: Sequence[Reconciler], clock: Clock, seconds: float) -> None:
    """What nobody told us of, we find by looking: every so often, at everything."""
    while True:
        await clock.sleep(seconds)
        for reconciler in reconcilers:
            reconciler.look_again()
