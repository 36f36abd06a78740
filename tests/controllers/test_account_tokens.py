"""Secrets that hold service accounts' tokens, and the tokens that machines join with."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest
from tests.controllers.cluster import Cluster, scenario

from kontinuum.api.kubernetes.resources import CLUSTERROLES, CONFIGMAPS, SECRETS, SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.controllers.lib import bootstrap
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import rfc3339

TYPE = "kubernetes.io/service-account-token"


@pytest.fixture
def settings(tmp_path: Path) -> ControllersSettings:
    jwt.ensure_key(tmp_path / "sa.key")
    (tmp_path / "ca.crt").write_text("authorities")
    return ControllersSettings(service_account_key=str(tmp_path / "sa.key"), root_ca=str(tmp_path / "ca.crt"))


def token_secret(name: str = "t", account: str = "builder", **annotations: str) -> Object:
    named = {"kubernetes.io/service-account.name": account, **annotations}
    return {"metadata": {"name": name, "namespace": "default", "annotations": named}, "type": TYPE}


async def make_account(cluster: Cluster, name: str = "builder") -> Object:
    return await cluster.client.create(SERVICEACCOUNTS, {"metadata": {"name": name, "namespace": "default"}})


def secrets(cluster: Cluster) -> dict[str, Object]:
    return {name_of(one): one for one in cluster.everything(SECRETS)}


def test_a_secret_is_filled_for_its_account(settings: ControllersSettings) -> None:
    async def main(cluster: Cluster) -> None:
        account = await make_account(cluster)
        await cluster.client.create(SECRETS, token_secret())
        await cluster.client.create(SECRETS, {"metadata": {"name": "other", "namespace": "default"}, "type": "Opaque"})
        await cluster.settle(10)
        found = secrets(cluster)["t"]
        data = {key: b64decode(value).decode() for key, value in found["data"].items()}
        assert (data["namespace"], data["ca.crt"]) == ("default", "authorities")
        key = jwt.load_signing_key(Path(settings.service_account_key))
        assert jwt.verify(data["token"], [key.public]) == {
            "iss": "kubernetes/serviceaccount",
            "sub": "system:serviceaccount:default:builder",
            "kubernetes.io/serviceaccount/namespace": "default",
            "kubernetes.io/serviceaccount/secret.name": "t",
            "kubernetes.io/serviceaccount/service-account.name": "builder",
            "kubernetes.io/serviceaccount/service-account.uid": account["metadata"]["uid"],
        }
        uid = annotations_of(found)["kubernetes.io/service-account.uid"]
        assert uid == account["metadata"]["uid"]
        assert "data" not in secrets(cluster)["other"]
        # What somebody takes away comes back; a token that is there stays.
        await cluster.client.patch(SECRETS, "t", {"data": {"ca.crt": "b2xk"}}, namespace="default")
        await cluster.settle(10)
        assert secrets(cluster)["t"]["data"] == found["data"]

    scenario(main, settings)


def test_tokens_go_with_their_account_and_never_pass_to_its_successor(settings: ControllersSettings) -> None:
    async def main(cluster: Cluster) -> None:
        await make_account(cluster)
        await cluster.client.create(SECRETS, token_secret())
        await cluster.client.create(SECRETS, token_secret("orphan", "nobody"))
        stranger = {"kubernetes.io/service-account.uid": "another"}
        await cluster.client.create(SECRETS, token_secret("stranger", **stranger))
        await cluster.settle(10)
        assert set(secrets(cluster)) == {"t"}
        await cluster.kill_controllers()
        await cluster.client.delete(SERVICEACCOUNTS, "builder", namespace="default")
        await make_account(cluster)
        cluster.start_controllers()
        await cluster.settle(10)
        assert not secrets(cluster)

    scenario(main, settings)


def test_without_a_key_such_secrets_are_left_alone() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(SECRETS, token_secret())
        await cluster.settle(10)
        assert set(secrets(cluster)) == {"t"}

    scenario(main)


def bootstrap_token(token_id: str, expires: float | None = None, **data: str) -> Object:
    said = {"token-id": token_id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **data}
    if expires is not None:
        said["expiration"] = rfc3339(expires)
    return {
        "metadata": {"name": f"bootstrap-token-{token_id}", "namespace": "kube-system"},
        "type": bootstrap.TYPE,
        "data": {key: b64encode(value.encode()).decode() for key, value in said.items()},
    }


def is_signed(data: dict[str, str], token_id: str) -> bool:
    header, content, digest = data[f"jws-kubeconfig-{token_id}"].split(".")
    assert content == "" and urlsafe_b64decode(header + "==") == f'{{"alg":"HS256","kid":"{token_id}"}}'.encode()
    body = urlsafe_b64encode(data["kubeconfig"].encode()).decode().rstrip("=")
    wanted = hmac.new(b"0123456789abcdef", f"{header}.{body}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(wanted).decode().rstrip("=") == digest


def test_good_tokens_sign_the_clusters_address_and_are_removed_when_they_are_over() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(SECRETS, bootstrap_token("aaaaaa", cluster.clock.time() + 600))
        await cluster.client.create(SECRETS, bootstrap_token("bbbbbb"))
        await cluster.client.create(SECRETS, bootstrap_token("cccccc", **{"usage-bootstrap-signing": "false"}))
        await cluster.client.create(SECRETS, bootstrap_token("dddddd", expiration="soon"))
        metadata = {"name": "cluster-info", "namespace": "kube-public"}
        await cluster.client.create(CONFIGMAPS, {"metadata": metadata, "data": {"kubeconfig": "here: we are"}})
        await cluster.settle(10)

        def signed() -> dict[str, str]:
            found = cluster.api.storage.get(CONFIGMAPS, "kube-public/cluster-info")
            assert found is not None
            return dict(found["data"])

        assert set(signed()) == {"kubeconfig", "jws-kubeconfig-aaaaaa", "jws-kubeconfig-bbbbbb"}
        assert is_signed(signed(), "aaaaaa") and is_signed(signed(), "bbbbbb")
        assert set(secrets(cluster)) == {f"bootstrap-token-{one * 6}" for one in "abc"}
        moved = {"data": {"kubeconfig": "moved"}}
        await cluster.client.patch(CONFIGMAPS, "cluster-info", moved, namespace="kube-public")
        await cluster.settle(10)
        assert is_signed(signed(), "aaaaaa")
        await cluster.settle(600)
        assert set(signed()) == {"kubeconfig", "jws-kubeconfig-bbbbbb"}
        assert set(secrets(cluster)) == {f"bootstrap-token-{one * 6}" for one in "bc"}

    scenario(main)


def test_a_sum_of_roles_follows_them() -> None:
    def role(name: str, verb: str, **labels: str) -> Object:
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]
        return {"metadata": {"name": name, "labels": labels}, "rules": rules}

    async def main(cluster: Cluster) -> None:
        def verbs(name: str) -> list[str]:
            found = cluster.api.storage.get(CLUSTERROLES, name)
            assert found is not None
            return [rule["verbs"][0] for rule in found.get("rules") or ()]

        rule = {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}
        await cluster.client.create(CLUSTERROLES, {"metadata": {"name": "sum"}, "aggregationRule": rule})
        await cluster.client.create(CLUSTERROLES, role("b", "get", to="sum"))
        await cluster.client.create(CLUSTERROLES, role("a", "list", to="sum"))
        await cluster.client.create(CLUSTERROLES, role("same", "get", to="sum"))
        await cluster.client.create(CLUSTERROLES, role("else", "delete", to="other"))
        await cluster.settle(5)
        assert verbs("sum") == ["list", "get"]
        await cluster.client.patch(CLUSTERROLES, "sum", {"rules": []})
        await cluster.client.patch(CLUSTERROLES, "else", {"metadata": {"labels": {"to": "sum"}}})
        await cluster.settle(5)
        assert verbs("sum") == ["list", "get", "delete"]
        await cluster.client.delete(CLUSTERROLES, "a")
        await cluster.settle(5)
        assert verbs("sum") == ["get", "delete"]

    scenario(main)


def test_who_has_no_tokens_to_sign_does_not_load_what_signs() -> None:
    """It is a fifth of an idle controllers' process."""
    code = "import sys, kontinuum.controllers.manager; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
