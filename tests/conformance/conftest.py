"""One cluster for all clients of this directory; each test uses a namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cluster import Cluster, Kubectl, kubectl_parameters, kubectl_programs
from tests.conformance.hollow import HollowNode

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
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
def namespace(cluster: Cluster, home: Path) -> str:
    """A namespace that nobody else uses."""
    name = f"test-{next(_numbers)}"
    newest_kubectl(cluster, home, "default")("create", "namespace", name)
    return name


@pytest.fixture(params=kubectl_parameters())
def kubectl(request: pytest.FixtureRequest, cluster: Cluster, home: Path, namespace: str) -> Kubectl:
    """Each version of kubectl, in ``namespace``."""
    return Kubectl(request.param, cluster, home, namespace)


@pytest.fixture
def any_kubectl(cluster: Cluster, home: Path, namespace: str) -> Kubectl:
    """The newest kubectl that is installed, in ``namespace``."""
    return newest_kubectl(cluster, home, namespace)


def newest_kubectl(cluster: Cluster, home: Path, namespace: str) -> Kubectl:
    return Kubectl(kubectl_programs()[-1], cluster, home, namespace)
