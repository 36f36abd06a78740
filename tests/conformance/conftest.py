"""One cluster for all clients of this directory; each test uses a namespace of its own.

Tests that are marked ``every_store`` run once more on etcd, in the machine tests, with the newest kubectl only: which
versions of kubectl understand us does not depend on where objects are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import kubernetes
import pytest
from kubernetes.dynamic import DynamicClient
from tests.conformance.cluster import STORES, Cluster, Kubectl, running_on
from tests.conformance.hollow import HollowNode
from tests.kubectls import kubectl_parameters, newest_kubectl

_numbers = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" not in metafunc.fixturenames:
        return
    first, *others = STORES
    chosen = [pytest.param(first)]
    if metafunc.definition.get_closest_marker("every_store"):
        chosen += [pytest.param(one, marks=pytest.mark.machine) for one in others]
    metafunc.parametrize("cluster", chosen, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    newest = newest_kubectl()

    def is_wanted(item: pytest.Item) -> bool:
        chosen = getattr(item, "callspec", None)
        if chosen is None or item.get_closest_marker("every_store") is None:
            return True
        program = chosen.params.get("kubectl") or chosen.params.get("every_kubectl") or newest
        return chosen.params["cluster"] == STORES[0] or program == newest

    items[:] = [item for item in items if is_wanted(item)]


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_on(getattr(request, "param", STORES[0]), tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clients keep what they have learned about the server."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def hollow(cluster: Cluster) -> Iterator[HollowNode]:
    """A node that reports every pod as running."""
    with HollowNode(cluster.kubeconfig) as node:
        yield node


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """A namespace that nobody else uses."""
    name = f"test-{next(_numbers)}"
    cluster.add_namespace(name)
    return name


@pytest.fixture(params=kubectl_parameters())
def kubectl(request: pytest.FixtureRequest, cluster: Cluster, home: Path, namespace: str) -> Kubectl:
    """Each kubectl that is not ancient, in ``namespace`` (tests/kubectls.py)."""
    return Kubectl(request.param, cluster, home, namespace)


@pytest.fixture
def any_kubectl(cluster: Cluster, home: Path, namespace: str) -> Kubectl:
    """The newest kubectl that is installed, in ``namespace``."""
    return Kubectl(newest_kubectl(), cluster, home, namespace)


@pytest.fixture
def dynamic(cluster: Cluster, tmp_path: Path) -> Iterator[DynamicClient]:
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        yield DynamicClient(client, cache_file=str(tmp_path / "discovery"))
        client.rest_client.pool_manager.clear()
