"""All controllers in one process: shared informers, one task per reconciler, each restarted alone if it falls."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence

import structlog

from kontinuum.client.election import Election
from kontinuum.client.rest import Client
from kontinuum.controllers.context import Context, Reconciler
from kontinuum.controllers.reconcilers.certificate_requests import certificate_reconcilers
from kontinuum.controllers.reconcilers.cronjob import CronJobReconciler
from kontinuum.controllers.reconcilers.daemonset import DaemonSetReconciler
from kontinuum.controllers.reconcilers.deployment import DeploymentReconciler
from kontinuum.controllers.reconcilers.disruption import DisruptionReconciler
from kontinuum.controllers.reconcilers.endpoints import EndpointsReconciler
from kontinuum.controllers.reconcilers.endpointslice import EndpointSliceReconciler
from kontinuum.controllers.reconcilers.endpointslicemirroring import EndpointSliceMirroringReconciler
from kontinuum.controllers.reconcilers.garbage import GarbageCollector
from kontinuum.controllers.reconcilers.isolation_classes import IsolationClassesReconciler
from kontinuum.controllers.reconcilers.job import JobReconciler
from kontinuum.controllers.reconcilers.namespace import NamespaceReconciler
from kontinuum.controllers.reconcilers.node import NodeReconciler
from kontinuum.controllers.reconcilers.persistentvolume import PersistentVolumeReconciler
from kontinuum.controllers.reconcilers.podgc import PodGarbageCollector
from kontinuum.controllers.reconcilers.replicaset import ReplicaSetReconciler, ReplicationControllerReconciler
from kontinuum.controllers.reconcilers.resource_quota import ResourceQuotaReconciler
from kontinuum.controllers.reconcilers.root_ca import RootAuthoritiesReconciler
from kontinuum.controllers.reconcilers.serviceaccount import ServiceAccountReconciler
from kontinuum.controllers.reconcilers.statefulset import StatefulSetReconciler
from kontinuum.controllers.reconcilers.storage_protection import protections
from kontinuum.controllers.reconcilers.ttl import TimeToLiveReconciler
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.tasks import restarting

log = structlog.get_logger(__name__)

LEASE = "kube-controller-manager"


async def run(client: Client, clock: Clock, settings: ControllersSettings) -> None:
    """Run every controller until cancelled; with ``settings.elect``, only while holding the Lease."""
    if not settings.elect:
        await work(client, clock, settings)
        return
    identity = settings.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}"
    election = Election(client, clock, name=LEASE, identity=identity)
    try:
        await election.run(lambda: work(client, clock, settings))
    finally:
        # We are being stopped: shielded, because the next process should not wait for the Lease to run out.
        await asyncio.shield(election.release())


async def work(client: Client, clock: Clock, settings: ControllersSettings) -> None:
    """Run every controller until cancelled, whoever else does."""
    context = Context(client, clock, settings)
    reconcilers = assemble(context)
    async with asyncio.TaskGroup() as group:
        for recorder in context.recorders.values():
            group.create_task(restarting("events", recorder.run, clock=clock))
        for informer in (*context.informers.values(), *context.selections):
            group.create_task(restarting(f"informer {informer.resource.plural}", informer.run, clock=clock))
        for informer in (*context.informers.values(), *context.selections):
            await informer.wait_synced()
        log.info("controllers are working", controllers=[one.name for one in reconcilers])
        for reconciler in reconcilers:
            group.create_task(restarting(reconciler.name, reconciler.run, clock=clock))
        group.create_task(_look_again(reconcilers, clock, settings.look_again_seconds))


def assemble(context: Context) -> list[Reconciler]:
    """Every reconciler, in no particular order: they meet only through the API."""
    makers: list[Callable[[Context], Reconciler]] = [
        DeploymentReconciler,
        ReplicaSetReconciler,
        ReplicationControllerReconciler,
        StatefulSetReconciler,
        DaemonSetReconciler,
        JobReconciler,
        CronJobReconciler,
        TimeToLiveReconciler,
        DisruptionReconciler,
        EndpointSliceReconciler,
        EndpointsReconciler,
        EndpointSliceMirroringReconciler,
        NamespaceReconciler,
        GarbageCollector,
        ServiceAccountReconciler,
        NodeReconciler,
        PersistentVolumeReconciler,
        PodGarbageCollector,
        ResourceQuotaReconciler,
    ]
    if context.settings.root_ca:
        makers.append(RootAuthoritiesReconciler)
    if context.settings.isolation_classes:
        makers.append(IsolationClassesReconciler)
    return [*(make(context) for make in makers), *protections(context), *certificate_reconcilers(context)]


async def _look_again(reconcilers: Sequence[Reconciler], clock: Clock, seconds: float) -> None:
    """What nobody told us of, we find by looking: every so often, at everything."""
    while True:
        await clock.sleep(seconds)
        for reconciler in reconcilers:
            reconciler.look_again()
