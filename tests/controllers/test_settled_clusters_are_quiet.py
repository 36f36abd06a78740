"""In a settled cluster of everything nobody writes for an hour of virtual time, but who has something to do then.

Whoever writes what is written already, or takes back what another has just done, is seen here: his writes have no end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.controllers import days
from tests.controllers.cluster import Cluster, deployment, running
from tests.controllers.days import create, labelled, service
from tests.controllers.source import Source
from tests.controllers.storage import bindings
from tests.controllers.test_autoscalers import autoscaler, web
from tests.controllers.test_cron_jobs import cron_job
from tests.controllers.test_jobs import job
from tests.controllers.test_volumes_are_attached import MANAGED, Storage, attachments, offer, user

from kontinuum.api.kubernetes.resources import (
    CRONJOBS,
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    JOBS,
    NODES,
    PODS,
    RESOURCEQUOTAS,
    SERVICES,
)
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object
from kontinuum.client.transport.port import Request
from kontinuum.controllers.lib.loadbalancers import addresses_of
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.tasks import cancel

HOUR = 3600.0
HALF = 1800.0
RUN_SECONDS = 120.0
"""A scheduled run and everything after it is over in this time."""


async def workloads(cluster: Cluster) -> None:
    await create(cluster, (DEPLOYMENTS, deployment("plain")))
    for day in (days.replication_controller, days.daemon_set, days.stateful_set, days.garbage):
        await day(cluster)


async def services(cluster: Cluster) -> None:
    for day in (days.endpoints, days.mirroring):
        await day(cluster)
    await create(cluster, (SERVICES, {**service("balanced"), "metadata": labelled("balanced")}))
    await cluster.client.patch(SERVICES, "balanced", {"spec": {"type": "LoadBalancer"}}, namespace="default")


async def limits(cluster: Cluster) -> None:
    """The quota covers what comes and goes here; the budget covers pods that stay."""
    for day in (days.quota, days.budget):
        await day(cluster)
    hard = {"cpu": "100", "pods": "100", "persistentvolumeclaims": "5", "count/jobs.batch": "20"}
    await create(cluster, (RESOURCEQUOTAS, {"metadata": labelled("all"), "spec": {"hard": hard}}))


async def volumes(cluster: Cluster) -> None:
    for name in cluster.nodes.names:
        await cluster.client.patch(NODES, name, {"metadata": {"annotations": {MANAGED: "true"}}})
    await offer(cluster, "v")
    await create(cluster, (PODS, user("mounts", "v", "node-0")))


def named_job(name: str, image: str, **spec: Any) -> Object:
    made = job(**spec)
    labels = {"batch.kubernetes.io/controller-uid": name, "job-name": name}
    template = {"metadata": {"labels": labels}, "spec": made["spec"]["template"]["spec"]}
    template["spec"] = {**template["spec"], "containers": [{"name": "main", "image": image}]}
    selected = {"selector": {"matchLabels": labels}, "template": template}
    return {**made, "metadata": labelled(name), "spec": {**made["spec"], **selected}}


async def jobs(cluster: Cluster) -> None:
    """One that runs on and on, one that has succeeded, one that has failed, and one that must not begin."""
    cluster.exits |= {"good:1": lambda pod: 0, "bad:1": lambda pod: 1, "work:1": lambda pod: 0}
    await create(
        cluster,
        (JOBS, named_job("runs", "service:1", parallelism=2, completions=2)),
        (JOBS, named_job("done", "good:1", completions=2)),
        (JOBS, named_job("failed", "bad:1", backoffLimit=0)),
        (JOBS, named_job("waits", "good:1", suspend=True)),
    )
    suspended = cron_job("* * * * *", suspend=True)
    await create(cluster, (CRONJOBS, {**suspended, "metadata": labelled("suspended")}))


async def autoscaled(cluster: Cluster) -> None:
    """Every pod uses the half of a CPU that its autoscaler is to keep it at."""
    Source(cluster)
    await create(cluster, (DEPLOYMENTS, web()), (HORIZONTALPODAUTOSCALERS, autoscaler(low=3)))


def assert_alive(cluster: Cluster) -> None:
    """What is quiet has done its work: a cluster in which nothing works is quiet too."""
    assert len(cluster.ready_pods()) > 15
    assert bindings(cluster) == {"c-v": "v"} and attachments(cluster) == {"node-0": True}
    [balanced] = [one for one in cluster.everything(SERVICES) if one["metadata"]["name"] == "balanced"]
    assert addresses_of(balanced) == ["192.0.2.1"]
    ended = {one["metadata"]["name"]: is_true(one, "Complete") or is_true(one, "Failed")
             for one in cluster.everything(JOBS) if "app" in one["metadata"]["labels"]}  # fmt: skip
    assert {"runs": False, "done": True, "failed": True, "waits": False}.items() <= ended.items()
    [scaled] = cluster.everything(HORIZONTALPODAUTOSCALERS)
    assert scaled["status"]["currentReplicas"] == 3 and is_true(scaled, "ScalingActive")
    used = {one["metadata"]["name"]: one["status"]["used"] for one in cluster.everything(RESOURCEQUOTAS)}
    assert used["all"]["persistentvolumeclaims"] == "1"


def test_nobody_writes_in_a_settled_cluster_but_a_schedule_that_is_due() -> None:
    written: list[tuple[float, Request]] = []

    async def main() -> None:
        async with running(ControllersSettings(load_balancer_pool="192.0.2.1-192.0.2.9")) as cluster:

            def note(request: Request) -> None:
                """Also what is refused afterwards: who tries in vain for ever is not quiet."""
                if request.is_write:
                    written.append((cluster.clock.time(), request))

            cluster.faults.refuse = note
            storage = Storage(cluster)
            attacher = asyncio.create_task(storage.run())
            for part in (workloads, services, limits, volumes, jobs, autoscaled):
                await part(cluster)
            await create(cluster, (CRONJOBS, cron_job("*/30 * * * *", successfulJobsHistoryLimit=1)))
            await cluster.settle(60)
            await cancel(attacher)
            # Until just after a run, so that the next hour has two; the first of them is followed by a removal.
            await cluster.settle(HALF - cluster.clock.time() % HALF + RUN_SECONDS)
            assert_alive(cluster)
            before = len(written)
            assert before > 150
            await cluster.settle(HOUR)
            assert_alive(cluster)
            hour = written[before:]
            idle = [(one.method, one.path) for at, one in hour if at % HALF > RUN_SECONDS]
            assert idle == [], "somebody writes though nothing has changed"
            others = [one.path for _, one in hour if "tick" not in one.path + one.body.decode()]
            assert [path for path in others if not path.startswith("/api/v1/namespaces/default/resourcequotas/")] == []
            assert sum(one.method == "POST" and one.path.endswith("/jobs") for _, one in hour) == 2

    virtual_time.run(main)
