"""Every namespace has the API server's authorities, whatever somebody does to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.cluster import Cluster, scenario

from kontinuum.api.kubernetes.resources import CONFIGMAPS, NAMESPACES
from kontinuum.controllers.reconcilers.root_ca import ABOUT, DESCRIPTION, plan
from kontinuum.controllers.settings import ControllersSettings

NAMESPACE = {"metadata": {"name": "shop"}}


def published(**more: Any) -> dict[str, Any]:
    metadata = {"name": "kube-root-ca.crt", "namespace": "shop", "annotations": {ABOUT: DESCRIPTION}}
    return {"metadata": metadata, "data": {"ca.crt": "PEM"}, **more}


def test_a_new_namespace_gets_them() -> None:
    wanted = plan(NAMESPACE, None, "PEM")
    assert wanted is not None
    assert (wanted["metadata"]["namespace"], wanted["data"]) == ("shop", {"ca.crt": "PEM"})


@pytest.mark.parametrize("data", [{}, {"ca.crt": "old"}, {"ca.crt": "PEM", "more": "x"}])
def test_what_was_changed_is_put_right_and_keeps_its_version(data: dict[str, str]) -> None:
    found = published(data=data)
    found["metadata"]["resourceVersion"] = "7"
    wanted = plan(NAMESPACE, found, "PEM")
    assert wanted is not None
    assert (wanted["data"], wanted["metadata"]["resourceVersion"]) == ({"ca.crt": "PEM"}, "7")


def test_nothing_is_written_where_all_is_right_or_the_namespace_ends() -> None:
    assert plan(NAMESPACE, published(), "PEM") is None
    assert plan({"metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, None, "PEM") is None
    assert plan(None, None, "PEM") is None


@pytest.mark.behaviour("ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace")
def test_every_namespace_gets_them_and_gets_them_back(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("PEM")

    async def main(cluster: Cluster) -> None:
        def told() -> dict[str, Any]:
            found = cluster.api.storage.get(CONFIGMAPS, "shop/kube-root-ca.crt")
            assert found is not None
            return found["data"]  # type: ignore[no-any-return]

        await cluster.client.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await cluster.settle(5)
        assert told() == {"ca.crt": "PEM"}
        await cluster.client.delete(CONFIGMAPS, "kube-root-ca.crt", namespace="shop")
        await cluster.settle(5)
        assert told() == {"ca.crt": "PEM"}
        await cluster.client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "x"}}, namespace="shop")
        await cluster.settle(5)
        assert told() == {"ca.crt": "PEM"}

    scenario(main, ControllersSettings(root_ca=str(tmp_path / "ca.crt")))
