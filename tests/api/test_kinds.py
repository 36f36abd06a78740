"""What each kind keeps, counts, lets itself be selected by, and shows in a table."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import KINDS, lookup
from kontinuum.api.kubernetes.qos import qos_class
from kontinuum.api.kubernetes.schema import definition
from kontinuum.api.kubernetes.tables import human_duration
from kontinuum.api.machinery.patches import copy
from kontinuum.foundation.clock import rfc3339

NOW = 1_700_000_000.0


def row(resource: Any, obj: dict[str, Any]) -> dict[str, Any]:
    kind = KINDS[resource]
    meta = {"name": "x", "namespace": "default", "creationTimestamp": rfc3339(NOW - 65), **obj.get("metadata", {})}
    cells = kind.cells({**obj, "metadata": meta}, NOW)
    return dict(zip([column.name for column in kind.columns], cells, strict=True))


def waiting(reason: str) -> dict[str, Any]:
    return {"name": "a", "state": {"waiting": {"reason": reason}}}


def ended(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "a", "state": {"terminated": {"exitCode": code, "reason": reason}}, **more}


RUNNING = {"name": "a", "ready": True, "state": {"running": {}}}


@pytest.mark.parametrize(
    ("pod", "ready", "word"),
    [
        ({"status": {"phase": "Pending"}}, "0/1", "Pending"),
        ({"status": {"phase": "Running", "containerStatuses": [RUNNING]}}, "1/1", "Running"),
        ({"status": {"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]}}, "0/1",
         "CrashLoopBackOff"),
        ({"status": {"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}}, "0/1", "Completed"),
        ({"status": {"phase": "Failed", "containerStatuses": [ended(3)]}}, "0/1", "ExitCode:3"),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, "0/1", "Evicted"),
        ({"status": {"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing")]}}, "0/1", "Init:0/1"),
        ({"status": {"phase": "Pending", "initContainerStatuses": [ended(1, "Error")]}}, "0/1", "Init:Error"),
        ({"status": {"phase": "Pending", "initContainerStatuses": [waiting("ImagePullBackOff")]}}, "0/1",
         "Init:ImagePullBackOff"),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
          "status": {"phase": "Running", "containerStatuses": [RUNNING]}}, "1/1", "Terminating"),
    ],
)  # fmt: skip
def test_a_pods_status_is_one_word(pod: dict[str, Any], ready: str, word: str) -> None:
    pod["spec"] = {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}
    shown = row(r.PODS, pod)
    assert (shown["Ready"], shown["Status"], shown["Age"]) == (ready, word, "65s")


def test_restarts_say_when_the_last_one_was() -> None:
    status = {**RUNNING, "restartCount": 2, "lastState": {"terminated": {"finishedAt": rfc3339(NOW - 300)}}}
    shown = row(r.PODS, {"spec": {"containers": [{}]}, "status": {"phase": "Running", "containerStatuses": [status]}})
    assert shown["Restarts"] == "2 (5m ago)"


def test_tables_read_as_kubectl_users_know_them() -> None:
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}  # fmt: skip
    shown = row(r.DEPLOYMENTS, {"spec": spec, "status": {"readyReplicas": 1, "updatedReplicas": 2}})
    assert list(shown.values()) == ["x", "1/2", 2, 0, "65s", "c", "i", "a=b"]
    ports = [{"port": 80, "protocol": "TCP"}, {"port": 443, "nodePort": 30000, "protocol": "TCP"}]
    shown = row(r.SERVICES, {"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": ports}})
    assert list(shown.values()) == ["x", "NodePort", "10.0.0.1", "<none>", "80/TCP,443:30000/TCP", "65s", "<none>"]
    labels = {"node-role.kubernetes.io/worker": ""}
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1"}}
    shown = row(r.NODES, {"metadata": {"labels": labels}, "spec": {"unschedulable": True}, "status": ready})
    assert list(shown.values())[:5] == ["x", "Ready,SchedulingDisabled", "worker", "65s", "v1"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"), (3600 * 3 + 60, "3h1m"), (3600 * 47, "47h"),
     (86400 * 2, "2d"), (86400 * 3 + 7200, "3d2h"), (86400 * 100, "100d"), (86400 * 800, "2y70d"), (-5, "<invalid>")],
)  # fmt: skip
def test_ages_are_short(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize("resource", KINDS, ids=lambda one: one.plural)
def test_every_kind_fills_every_column_and_selectable_field(resource: Any) -> None:
    kind = KINDS[resource]
    obj = {"metadata": {"name": "x", "namespace": "default"}}
    assert len(kind.cells(obj, NOW)) == len(kind.columns)
    assert set(kind.fields(obj)) == set(kind.selectable)
    assert lookup(resource.group, resource.version, resource.plural) is kind


def test_generation_counts_changes_of_spec_alone() -> None:
    kind = KINDS[r.DEPLOYMENTS]
    old = {"metadata": {"name": "x", "generation": 3}, "spec": {"replicas": 1}, "status": {"replicas": 1}}
    for change, generation in (
        ({"spec": {"replicas": 2}}, 4),
        ({"status": {"replicas": 9}}, 3),
        ({"metadata": {"name": "x", "labels": {"a": "b"}}}, 3),
        ({"metadata": {"name": "x", "annotations": {"a": "b"}}}, 4),
    ):
        new = copy({**old, **change})
        kind.prepare_update(new, old)
        assert new["metadata"]["generation"] == generation
        assert new["status"] == {"replicas": 1}


def test_a_status_update_changes_nothing_but_the_status() -> None:
    kind = KINDS[r.DEPLOYMENTS]
    old = {"metadata": {"name": "x", "generation": 3, "labels": {"a": "b"}}, "spec": {"replicas": 1}}
    new = {"metadata": {"name": "x", "generation": 9}, "spec": {"replicas": 5}, "status": {"replicas": 1}}
    kind.prepare_status_update(new, old)
    assert new == {**old, "status": {"replicas": 1}}


def test_a_pod_is_born_pending_with_its_quality_of_service() -> None:
    pod = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}, "status": {"phase": "Running"}}
    KINDS[r.PODS].prepare_create(pod)
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert pod["metadata"] == {"name": "x", "generation": 1}


def test_quality_of_service_follows_requests_and_limits() -> None:
    both = {"cpu": "1", "memory": "1Gi"}
    assert qos_class({"containers": [{"resources": {"limits": both, "requests": both}}]}) == "Guaranteed"
    assert qos_class({"containers": [{"resources": {"limits": both, "requests": {**both, "cpu": "1000m"}}}]}) == (
        "Guaranteed"
    )
    assert qos_class({"containers": [{"resources": {"limits": both}}, {"resources": {}}]}) == "Burstable"
    assert qos_class({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}) == "Burstable"
    assert qos_class({"containers": [{}]}) == "BestEffort"


@pytest.mark.parametrize("resource", [each for each in KINDS if "status" in each.subresources and not each.stored_as])
def test_a_new_status_has_all_that_clients_require_of_it(resource: Any) -> None:
    kind = KINDS[resource]
    assert definition(kind.definition.fields["status"].definition).required <= kind.initial_status.keys()


def test_a_resource_is_told_from_others_by_its_facts_and_names_itself_by_them() -> None:
    again = replace(r.DEPLOYMENTS)
    assert again is not r.DEPLOYMENTS and again == r.DEPLOYMENTS and {again: 1}[r.DEPLOYMENTS] == 1
    assert (again.api_version, again.qualified, again.list_kind) == ("apps/v1", "deployments.apps", "DeploymentList")
    other = replace(again, group="example.com", plural="copies")
    assert other != again and other not in {again}
    assert (other.api_version, other.qualified) == ("example.com/v1", "copies.example.com")
