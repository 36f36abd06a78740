"""The official client's models, which refuse an object that lacks what it must have, take every kind of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException
from tests.apiserver.every_kind import SAMPLES
from tests.conformance.cluster import Cluster

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.openapi_paths import group_words

pytestmark = pytest.mark.every_store


@pytest.fixture(scope="module")
def official(cluster: Cluster) -> Iterator[kubernetes.client.ApiClient]:
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        yield client
        client.rest_client.pool_manager.clear()


@pytest.fixture(scope="module")
def place(official: kubernetes.client.ApiClient) -> str:
    """One namespace for all: each object has its kind to itself."""
    core = kubernetes.client.CoreV1Api(official)
    return str(core.create_namespace({"metadata": {"generateName": "typed-"}}).metadata.name)


def api_of(client: kubernetes.client.ApiClient, resource: Resource) -> Any:
    """The class that the generator made of a group version, e.g. ``RbacAuthorizationV1Api``."""
    name = f"{group_words(resource.group)}{resource.version.capitalize()}Api"
    return getattr(kubernetes.client, name)(client)


def snake(kind: str) -> str:
    """``horizontal_pod_autoscaler``, ``csi_driver``, ``api_service``: as the generator writes kinds in method names."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()


@pytest.mark.parametrize(
    "resource", [one for one in KINDS if one.stored], ids=lambda one: f"{one.qualified}-{one.version}"
)
def test_a_kind_is_created_read_listed_and_deleted(
    official: kubernetes.client.ApiClient, place: str, resource: Resource
) -> None:
    api, kind = api_of(official, resource), snake(resource.kind)
    sample = SAMPLES[resource.qualified]
    text = json.dumps(sample.body if resource.version != "v1" or resource.group != "autoscaling" else SCALER)
    body = {"metadata": {"name": sample.name}, **json.loads(text.replace('"NS"', json.dumps(place)))}
    scope, where = ("namespaced_", (place,)) if resource.namespaced else ("", ())
    try:
        made = getattr(api, f"create_{scope}{kind}")(*where, body)
        assert made.metadata.uid and type(made).__name__.endswith(resource.kind)
        read = getattr(api, f"read_{scope}{kind}")(sample.name, *where)
        assert read.metadata.uid == made.metadata.uid
        listed = getattr(api, f"list_{scope}{kind}")(*where, field_selector=f"metadata.name={sample.name}")
        assert [one.metadata.uid for one in listed.items] == [made.metadata.uid]
    finally:
        try:
            getattr(api, f"delete_{scope}{kind}")(sample.name, *where)
        except ApiException as error:
            assert error.status == 404, error


SCALER = {
    "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}},
}
