"""A node that only says what a node would say: every pod is bound to it and reported as running, or as done.

For clients that wait for pods where no pod needs to run.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.watch import Watch


class HollowNode:
    """A context manager. Pods with restartPolicy Never have succeeded at once, others are ready for ever."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = kubernetes.config.new_client_from_config(str(kubeconfig))
        self._core = kubernetes.client.CoreV1Api(self._api)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> HollowNode:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        self._api.rest_client.pool_manager.clear()
        self._api.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for event in Watch().stream(self._core.list_pod_for_all_namespaces, timeout_seconds=1):
                try:
                    self._answer(event["object"])
                except ApiException as error:
                    # The pod changed or went meanwhile; the next event tells.
                    assert error.status in (404, 409, 422), error

    def _answer(self, pod: Any) -> None:
        name, namespace = pod.metadata.name, pod.metadata.namespace
        if pod.metadata.deletion_timestamp:
            self._core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        elif not pod.spec.node_name:
            target = {"apiVersion": "v1", "kind": "Node", "name": "hollow"}
            binding = {"metadata": {"name": name}, "target": target}
            self._core.create_namespaced_pod_binding(name, namespace, binding, _preload_content=False)
        elif pod.status.phase == "Pending":
            self._core.patch_namespaced_pod_status(name, namespace, {"status": _status(pod)})


def _status(pod: Any) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    is_job = pod.spec.restart_policy == "Never"
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    containers = [
        {
            "name": one.name,
            "image": one.image,
            "imageID": "",
            "ready": not is_job,
            "restartCount": 0,
            "state": ended if is_job else {"running": {"startedAt": now}},
        }
        for one in pod.spec.containers
    ]
    conditions = [
        {"type": kind, "status": "False" if is_job else "True", "lastTransitionTime": now}
        for kind in ("ContainersReady", "Ready")
    ]
    return {
        "phase": "Succeeded" if is_job else "Running",
        "startTime": now,
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": conditions,
        "containerStatuses": containers,
    }
