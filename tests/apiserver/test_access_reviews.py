"""Reviews of access answer what the request itself would have been answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.people import grant, rule, serving_people
from tests.apiserver.serving import CONFIGMAPS, Certificates

REVIEWS = "/apis/authorization.k8s.io/v1"
ACCOUNT = "system:serviceaccount:default:builder"
GROUPS = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"]


def question(verb: str, namespace: str = "default", name: str = "") -> dict[str, Any]:
    asked = {"verb": verb, "resource": "configmaps", "version": "v1", "namespace": namespace, "name": name}
    return {"resourceAttributes": asked, "user": ACCOUNT, "groups": GROUPS}


@pytest.mark.behaviour("SubjectReview should support SubjectReview API operations")
async def test_a_review_of_an_account_says_what_the_account_is_then_answered(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with serving_people(certificates, tmp_path, {ACCOUNT: ()}) as everybody:
        admin = everybody.admin
        await admin.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "builder"}})
        await grant(everybody, ACCOUNT, rule("list get", "configmaps"), namespace="default")
        tries = {
            "list": await admin.call("GET", CONFIGMAPS, None, impersonate_user=ACCOUNT),
            "create": await admin.call(
                "POST", CONFIGMAPS, {"metadata": {"name": "c"}}, impersonate_user=ACCOUNT
            ),
        }  # fmt: skip
        for verb, tried in tries.items():
            review = await admin.create(f"{REVIEWS}/subjectaccessreviews", {"spec": question(verb)})
            assert review.code == 201 and review.body["status"]["allowed"] is (tried.code < 300), (verb, tried.body)
            local = await admin.create(
                f"{REVIEWS}/namespaces/default/localsubjectaccessreviews",
                {"metadata": {"namespace": "default"}, "spec": question(verb)},
            )
            assert local.code == 201 and local.body["status"]["allowed"] is (tried.code < 300)
        assert tries["list"].code == 200 and tries["create"].code == 403


async def test_a_local_review_is_about_its_own_namespace(certificates: Certificates, tmp_path: Path) -> None:
    async with serving_people(certificates, tmp_path, {}) as everybody:
        path = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
        refused = await everybody.admin.create(path, {"spec": question("get", namespace="kube-system")})
        assert refused.code == 422
        assert [cause["field"] for cause in refused.body["details"]["causes"]] == ["spec.resourceAttributes.namespace"]
