"""Every container sees its account's token, the API's CA and its namespace, unless somebody declines."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Api, pod

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"


def container(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "localhost/nginx:1", **more}


async def created(api: Api, name: str = "p", **spec: Any) -> dict[str, Any]:
    answer = await api.create(PODS, pod(name, **spec))
    assert answer.code == 201, answer.body
    made: dict[str, Any] = answer.body["spec"]
    return made


def token_mounts(spec: dict[str, Any]) -> list[str]:
    containers = [*spec.get("initContainers", ()), *spec["containers"]]
    return [
        one["name"]
        for one in containers
        if any(mount["mountPath"] == PLACE and mount.get("readOnly") for mount in one.get("volumeMounts", ()))
    ]


async def test_every_container_gets_the_projected_volume(api: Api) -> None:
    spec = await created(api, initContainers=[container("first")], containers=[container("a"), container("b")])
    assert token_mounts(spec) == ["first", "a", "b"]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-") and len(volume["name"]) == len("kube-api-access-") + 5
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }


@pytest.mark.parametrize(
    ("of_pod", "of_account", "is_mounted"),
    [
        (None, None, True), (None, True, True), (None, False, False),
        (True, None, True), (True, True, True), (True, False, True),
        (False, None, False), (False, True, False), (False, False, False),
    ],
)  # fmt: skip
async def test_the_pods_word_counts_more_than_its_accounts(
    api: Api, of_pod: bool | None, of_account: bool | None, is_mounted: bool
) -> None:
    account: dict[str, Any] = {"metadata": {"name": "builder"}}
    if of_account is not None:
        account["automountServiceAccountToken"] = of_account
    await api.create(ACCOUNTS, account)
    given = {} if of_pod is None else {"automountServiceAccountToken": of_pod}
    spec = await created(api, serviceAccountName="builder", **given)
    assert bool(token_mounts(spec)) is bool(spec.get("volumes")) is is_mounted


async def test_what_a_container_mounts_there_itself_stays(api: Api) -> None:
    own = [{"name": "mine", "mountPath": PLACE}]
    containers = [container("a", volumeMounts=own), container("b")]
    spec = await created(api, containers=containers, volumes=[{"name": "mine", "emptyDir": {}}])
    assert token_mounts(spec) == ["b"]
    assert spec["containers"][0]["volumeMounts"] == own


async def test_a_pod_that_brings_the_volume_keeps_it(api: Api) -> None:
    volume = {"name": "kube-api-access-own", "emptyDir": {}}
    spec = await created(api, volumes=[volume])
    assert [one["name"] for one in spec["volumes"]] == ["kube-api-access-own"]
    assert spec["containers"][0]["volumeMounts"][0]["name"] == "kube-api-access-own"


async def test_pods_of_one_template_are_equal(api: Api) -> None:
    one, other = [await created(api, name, containers=[container("a")]) for name in ("one", "other")]
    assert one == other, "what is found out about one must hold for the next: its validation is a sixth of a creation"


async def test_the_accounts_pull_secrets_become_the_pods(api: Api) -> None:
    await api.create(ACCOUNTS, {"metadata": {"name": "builder"}, "imagePullSecrets": [{"name": "registry"}]})
    assert (await created(api, serviceAccountName="builder"))["imagePullSecrets"] == [{"name": "registry"}]
    own = [{"name": "own"}]
    assert (await created(api, "q", serviceAccountName="builder", imagePullSecrets=own))["imagePullSecrets"] == own


async def test_an_account_that_does_not_exist_is_forbidden_in_kubernetes_words(api: Api) -> None:
    refused = await api.create(PODS, pod("p", serviceAccountName="nobody"))
    assert (refused.code, refused.body["message"]) == (
        403,
        'pods "p" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found',
    )


async def test_a_strict_account_allows_only_the_secrets_it_lists(api: Api) -> None:
    annotations = {"kubernetes.io/enforce-mountable-secrets": "true"}
    account = {"metadata": {"name": "strict", "annotations": annotations}, "secrets": [{"name": "mine"}]}
    await api.create(ACCOUNTS, account)

    def volumes(name: str) -> list[dict[str, Any]]:
        return [{"name": "v", "secret": {"secretName": name}}]

    assert await created(api, serviceAccountName="strict", volumes=volumes("mine"))
    refused = await api.create(PODS, pod("q", serviceAccountName="strict", volumes=volumes("other")))
    assert refused.body["message"] == (
        'pods "q" is forbidden: volume with secret.secretName="other" is not allowed because service account strict '
        "does not reference that secret"
    )


async def test_a_mirror_pod_has_no_account(api: Api) -> None:
    mirror = pod("m", nodeName="n1")
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "abc"}
    answer = await api.create(PODS, mirror)
    assert answer.code == 201, answer.body
    assert "volumes" not in answer.body["spec"]
    mirror["metadata"]["name"] = "n"
    mirror["spec"]["serviceAccountName"] = "default"
    refused = await api.create(PODS, mirror)
    assert refused.body["message"] == 'pods "n" is forbidden: a mirror pod may not reference service accounts'
