"""Secrets that hold tokens, on a real server: what the controller puts in there opens the door."""

from __future__ import annotations

from base64 import b64decode

import kubernetes
from kubernetes.dynamic import DynamicClient
from tests.conformance.cluster import Cluster
from tests.conformance.objects import Objects, wait_until

TYPE = "kubernetes.io/service-account-token"


def test_a_token_of_a_secret_is_its_accounts(cluster: Cluster, dynamic: DynamicClient, namespace: str) -> None:
    accounts, secrets = (Objects(dynamic, "v1", kind, namespace) for kind in ("ServiceAccount", "Secret"))
    accounts.create({"metadata": {"name": "builder"}})
    named = {"kubernetes.io/service-account.name": "builder"}
    secrets.create({"metadata": {"name": "t", "annotations": named}, "type": TYPE})
    wait_until(lambda: "token" in (secrets.get("t").get("data") or {}))
    token = b64decode(secrets.get("t")["data"]["token"]).decode()
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    configuration.cert_file = configuration.key_file = None
    configuration.api_key = {"authorization": f"Bearer {token}"}
    with kubernetes.client.ApiClient(configuration) as api:
        review = kubernetes.client.AuthenticationV1Api(api).create_self_subject_review({})
    assert review.status.user_info.username == f"system:serviceaccount:{namespace}:builder"
    accounts.delete("builder")
    wait_until(lambda: secrets.is_gone("t"))
