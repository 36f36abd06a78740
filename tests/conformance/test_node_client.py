"""@kubernetes/client-node, from npm, with its informer."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.conformance.cluster import Cluster

pytestmark = pytest.mark.every_store

HERE = Path(__file__).parent / "node"
BUILD = Path(__file__).parents[2] / "build"
FILES = ("package.json", "package-lock.json", "life.js")


@pytest.fixture(scope="session")
def program() -> Path:
    """The program with its packages beside it, as the lock file names them; the next run finds them there."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    digest = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    directory = BUILD / f"node-{digest[:12]}"
    if not directory.exists():
        BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD, ignore_cleanup_errors=True) as made:
            for name in FILES:
                shutil.copy(HERE / name, made)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
            installed = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=300, check=False)
            assert installed.returncode == 0, installed.stderr
            Path(made).rename(directory)
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
