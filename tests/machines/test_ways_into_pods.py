"""Ways from a user's machine into a pod: a forwarded port, and the API server as a proxy."""

from __future__ import annotations

import contextlib
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kubectls import newest_kubectl
from tests.machines.platform import CLASSES, Platform

pytestmark = pytest.mark.machine
EXAMPLE = Path(__file__).parents[2] / "examples/one-api/one-api.yaml"
PAGE = "One API, every isolation class"


@contextlib.contextmanager
def forwarded(platform: Platform, target: str, ports: str) -> Iterator[int]:
    """The local port at which kubectl listens."""
    command = [str(newest_kubectl()), "--kubeconfig", str(platform.kubeconfig), "port-forward", target, ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Forwarding from 127.0.0.1:"), line
            yield int(line.split(":")[1].split(" ")[0])
        finally:
            process.kill()


def run_example(platform: Platform, isolation_class: str) -> None:
    platform.kubectl("apply", "-f", str(EXAMPLE))
    platform.kubectl("rollout", "status", f"deployment/web-{isolation_class}", "--timeout=90s", timeout=100)


@pytest.mark.parametrize("isolation_class", CLASSES)
def test_a_pods_port_is_forwarded(platform: Platform, isolation_class: str) -> None:
    run_example(platform, isolation_class)
    with forwarded(platform, f"deployment/web-{isolation_class}", ":80") as port:
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as page:
                assert PAGE in page.read().decode()


@pytest.mark.parametrize("isolation_class", CLASSES)
def test_a_pod_answers_through_the_api_server(platform: Platform, isolation_class: str) -> None:
    run_example(platform, isolation_class)
    for found in platform.list("pods", labels=f"app=web-{isolation_class}"):
        path = f"/api/v1/namespaces/default/pods/{found['metadata']['name']}:80/proxy/"
        assert PAGE in platform.kubectl("get", "--raw", path).stdout
