"""Kubernetes' defaults appear where a manifest leaves something out."""

from __future__ import annotations

from typing import Any

import pytest

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.machinery.patches import copy


def defaulted(resource: Any, **obj: Any) -> Any:
    obj.setdefault("metadata", {"name": "x"})
    KINDS[resource].default(obj)
    return obj


def test_a_minimal_pod_gets_what_a_real_api_server_answers() -> None:
    assert defaulted(r.PODS, spec={"containers": [{"name": "a", "image": "nginx"}]})["spec"] == {
        "containers": [
            {
                "name": "a",
                "image": "nginx",
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "resources": {},
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "enableServiceLinks": True,
    }


def test_a_pod_with_limits_as_a_whole_requests_what_its_containers_do_or_as_much() -> None:
    """KEP-2837, and ``defaultPodRequests`` of Kubernetes' API."""

    def requests(whole: dict[str, Any], *of_containers: dict[str, Any]) -> Any:
        containers = [
            {"name": f"c{number}", "image": "i", "resources": one} for number, one in enumerate(of_containers)
        ]
        pod = defaulted(r.PODS, spec={"containers": containers, "resources": whole})
        return pod["spec"]["resources"].get("requests")

    limits = {"limits": {"cpu": "2", "memory": "1Gi"}}
    assert requests(copy(limits), {}) == {"cpu": "2", "memory": "1Gi"}
    some = {"requests": {"cpu": "300m"}}
    assert requests(copy(limits), copy(some), copy(some)) == {"cpu": "600m", "memory": "1Gi"}
    assert requests({**copy(limits), "requests": {"cpu": "1"}}, copy(some)) == {"cpu": "1", "memory": "1Gi"}
    assert requests({}, copy(some)) is None


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("localhost:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0123", "IfNotPresent"),
    ],
)
def test_only_tags_that_may_move_are_always_pulled(image: str, policy: str) -> None:
    pod = defaulted(r.PODS, spec={"containers": [{"name": "a", "image": image}]})
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


@pytest.mark.parametrize("kept", [{}, {"preStop": {"sleep": {"seconds": 1}}}])
def test_a_stop_signal_is_dropped_as_by_a_cluster_without_alpha_features(kept: dict[str, Any]) -> None:
    container = {"name": "a", "image": "nginx", "lifecycle": {**kept, "stopSignal": "SIGUSR1"}}
    pod = {"containers": [copy(container)], "initContainers": [copy(container)]}
    deployment = defaulted(r.DEPLOYMENTS, spec={"template": {"spec": copy(pod)}})
    for spec in (defaulted(r.PODS, spec=pod)["spec"], deployment["spec"]["template"]["spec"]):
        for one in (*spec["containers"], *spec["initContainers"]):
            assert one.get("lifecycle", {}) == kept


def test_probes_volumes_and_ports_are_filled_in() -> None:
    probe = {"httpGet": {"port": 80}, "periodSeconds": 3}
    spec = {
        "containers": [{"name": "a", "readinessProbe": probe, "ports": [{"containerPort": 80}]}],
        "volumes": [{"name": "e"}, {"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {}}],
        "hostNetwork": True,
    }
    filled = defaulted(r.PODS, spec=spec)["spec"]
    assert filled["containers"][0]["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 3,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert filled["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert filled["volumes"] == [
        {"name": "e", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
        {"name": "s", "secret": {"defaultMode": 420}},
    ]


def test_limits_become_requests_in_pods_but_not_in_templates() -> None:
    containers = [{"name": "a", "resources": {"limits": {"cpu": "1"}}}]
    pod = defaulted(r.PODS, spec={"containers": copy(containers)})
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    deployment = defaulted(r.DEPLOYMENTS, spec={"template": {"spec": {"containers": copy(containers)}}})
    assert "requests" not in deployment["spec"]["template"]["spec"]["containers"][0]["resources"]


def test_a_deployment_rolls_by_quarters() -> None:
    spec = defaulted(r.DEPLOYMENTS, spec={})["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert defaulted(r.DEPLOYMENTS, spec={"replicas": 0})["spec"]["replicas"] == 0


def test_a_secrets_plain_texts_become_data() -> None:
    secret = defaulted(r.SECRETS, data={"a": "eA=="}, stringData={"a": "y", "b": "z"})
    assert (secret["data"], secret["type"], "stringData" in secret) == ({"a": "eQ==", "b": "eg=="}, "Opaque", False)


def test_a_namespace_is_labelled_with_its_name_and_born_active() -> None:
    namespace = defaulted(r.NAMESPACES, metadata={"name": "n"}, status={"phase": "Terminating"})
    KINDS[r.NAMESPACES].prepare_create(namespace)
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    assert (namespace["spec"], namespace["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


@pytest.mark.parametrize("resource", KINDS, ids=lambda one: one.plural)
def test_defaulting_twice_changes_nothing_more(resource: Any) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    specs = {
        "pods": template["spec"],
        "services": {"ports": [{"port": 80}], "type": "LoadBalancer"},
        "deployments": {"template": template},
        "replicasets": {"template": template},
    }
    once = defaulted(resource, spec=copy(specs.get(resource.plural, {})))
    again = copy(once)
    KINDS[resource].default(again)
    assert again == once
