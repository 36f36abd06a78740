"""@kubernetes/client-node, from npm, with its informer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conformance.cluster import Cluster

pytestmark = pytest.mark.every_store

HERE = Path(__file__).parent / "node"
FILES = ("package.json", "package-lock.json", "life.js")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with its packages beside it, as the lock file names them."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    directory = tmp_path_factory.mktemp("node")
    for name in FILES:
        shutil.copy(HERE / name, directory)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    installed = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    assert installed.returncode == 0, installed.stderr
    return directory / "life.js"


def test_the_node_clients_informer_sees_the_life_of_an_object(cluster: Cluster, namespace: str, program: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = ["node", str(program), namespace]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["seen"] == [["add", "1"], ["update", "2"], ["update", "3"], ["delete", "3"]]
    assert "Apply" in told["managers"]
    assert told["refused"] == 404
