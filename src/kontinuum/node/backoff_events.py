"""Tells a pod's owner, once per wait, that something is being waited for after a failure."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.node import pods
from kontinuum.node.tools import Recorder


class BackoffEvents:
    """Reads the waiting reasons of each status that is published."""

    def __init__(self, events: Recorder) -> None:
        self._events = events
        self._told: dict[str, str] = {}

    def tell(self, pod: Object, status: Object) -> None:
        for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            waiting = one["state"].get("waiting") or {}
            said = f"{waiting.get('reason', '')} {waiting.get('message', '')}"
            if self._told.get(one["name"]) == said:
                continue
            self._told[one["name"]] = said
            part = pods.field_path(pod, one["name"])
            if waiting.get("reason") == "CrashLoopBackOff":
                message = f"Back-off restarting failed container {one['name']} in pod {pods.describe(pod)}"
                self._events.event(pod, "Warning", "BackOff", message, field_path=part)
            elif waiting.get("reason") == "ImagePullBackOff":
                container = pods.find_container(pod, one["name"]) or {}
                message = f'Back-off pulling image "{container.get("image")}"'
                self._events.event(pod, "Normal", "BackOff", message, field_path=part)
                self._events.event(pod, "Warning", "Failed", "Error: ImagePullBackOff", field_path=part)
