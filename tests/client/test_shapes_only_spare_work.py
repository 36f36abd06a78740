"""What a follower keeps of an object is the same whether all of it was decoded or only what its shape names."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from kontinuum.api.machinery.objects import Object
from kontinuum.client.rest import _shaped_event
from kontinuum.client.shapes import METADATA, Shape, each, events, shape
from kontinuum.controllers.lib import trims
from kontinuum.hollow import words
from kontinuum.scheduler import reading

FOLLOWERS = {
    "controllers": (trims.POD, trims.trim_pod),
    "scheduler": (reading.POD, reading.trim_pod),
    "hollow nodes": (words.POD, words.trim),
}
AMOUNTS = ({}, {"cpu": "1"}, {"cpu": "2"}, {"memory": "1Gi"})
SPEC_FIELDS = (
    "nodeName", "schedulerName", "schedulingGates", "nodeSelector", "tolerations", "overhead", "priority", "hostname",
    "preemptionPolicy", "topologySpreadConstraints", "subdomain", "resourceClaims", "restartPolicy", "dnsPolicy",
)  # fmt: skip
STATUS_FIELDS = (
    "phase", "conditions", "startTime", "nominatedNodeName", "podIP", "podIPs", "resourceClaimStatuses", "qosClass",
    "allocatedResources", "resources", "hostIP",
)  # fmt: skip


class Pods:
    """Pods that nobody would write: any field may be there or not."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def pod(self) -> Object:
        metadata = {**self.some(*METADATA), "name": "a", "ownerReferences": self.many(self.owner)}
        spec = {
            **self.some(*SPEC_FIELDS), "containers": [self.container(), *self.many(self.container)],
            **self.maybe("initContainers", self.many(self.container)), **self.maybe("volumes", self.many(self.volume)),
            **self.maybe("resources", self.resources()), **self.maybe("affinity", {"podAffinity": {"a": "b"}}),
        }  # fmt: skip
        status = {
            **self.some(*STATUS_FIELDS), **self.maybe("containerStatuses", self.many(self.container_status)),
            **self.maybe("initContainerStatuses", self.many(self.container_status)),
        }  # fmt: skip
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, **self.maybe("status", status)}

    def some(self, *names: str) -> Object:
        values = ("", "a", 1, None, ["a"], {"a": {"b": 1}})
        return {name: self._chance.choice(values) for name in (*names, "unheardOf") if self._chance.random() < 0.6}

    def maybe(self, name: str, value: Any) -> Object:
        return {name: value} if self._chance.random() < 0.6 else {}

    def many(self, make: Any) -> list[Object]:
        return [make() for _ in range(self._chance.randrange(3))]

    def owner(self) -> Object:
        return {**self.some("uid", "name"), **self.maybe("controller", self._chance.random() < 0.5)}

    def resources(self) -> Object:
        return {**self.maybe("requests", self._chance.choice(AMOUNTS)), **self.some("limits", "claims")}

    def container(self) -> Object:
        ports = [{"name": self._chance.choice(("", "http")), "containerPort": 80}]
        return {
            "name": "main", **self.some("image", "restartPolicy", "command", "env"),
            **self.maybe("resources", self.resources()), **self.maybe("ports", ports),
        }  # fmt: skip

    def volume(self) -> Object:
        return {**self.some("name", "ephemeral", "image", "projected", "iscsi"), **self.maybe(
            "persistentVolumeClaim", {"claimName": "a"}
        )}  # fmt: skip

    def container_status(self) -> Object:
        state = {**self.maybe("terminated", {"exitCode": 1}), **self.maybe("running", {"startedAt": "a"})}
        return {
            "name": "main", **self.some("restartCount", "ready"), **self.maybe("state", state),
            **self.maybe("resources", self.resources()),
            **self.maybe("allocatedResources", self._chance.choice(AMOUNTS)),
        }  # fmt: skip


def through(of: Shape, event: Object) -> Object | None:
    """The event's object as it is decoded by the shape; None if it is not of it."""
    found = _shaped_event(orjson.dumps(event), events(of))
    return found.object if found is not None else None


@pytest.mark.parametrize("follower", FOLLOWERS)
def test_what_is_kept_of_a_pod_does_not_depend_on_its_shape(follower: str) -> None:
    of, trim = FOLLOWERS[follower]
    pods = Pods(seed=1)
    for pod in (pods.pod() for _ in range(300)):
        with_owners = {**pod, "metadata": {**pod["metadata"], "managedFields": [{"manager": "somebody"}]}}
        shaped = through(of, {"type": "MODIFIED", "object": with_owners})
        assert shaped is not None
        kept, wanted = trim(shaped), trim(pod)
        kept["metadata"].pop("unheardOf", None), wanted["metadata"].pop("unheardOf", None)
        assert kept == wanted


@pytest.mark.parametrize("follower", FOLLOWERS)
def test_an_error_is_never_taken_for_an_object(follower: str) -> None:
    of, _ = FOLLOWERS[follower]
    error = {"kind": "Status", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410}
    assert through(of, {"type": "ERROR", "object": error}) is None
    assert through(of, {"type": "ERROR", "object": {"code": 410}}) is None


def test_what_has_another_shape_is_left_to_be_decoded_as_a_whole() -> None:
    of = shape("kind", metadata=shape("name"), things=each("name"))
    assert through(of, {"type": "ADDED", "object": {"things": "none"}}) is None
    assert through(of, {"type": "ADDED"}) is None
    assert through(of, {"type": "ADDED", "object": None}) is None
    assert through(of, {"type": "ADDED", "object": {"things": None, "metadata": None}}) is not None
    cut = through(of, {"type": "ADDED", "object": {"kind": "K", "things": [{"name": "a", "b": 1}], "other": 2}})
    assert cut == {"kind": "K", "things": [{"name": "a"}]}
