"""storage.k8s.io and scheduling.k8s.io: defaults, what is refused and in which words, what may change, tables."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.kinds import changed, made, problems, row

from kontinuum.api.kubernetes import resources as r

CLASS = {"provisioner": "csi.example.com"}
ATTACHMENT = {"spec": {"attacher": "csi.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "v"}}}


def node(**driver: Any) -> dict[str, Any]:
    return {"spec": {"drivers": [{"name": "csi.example.com", "nodeID": "n1", **driver}]}}


def priority(name: str, value: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "value": value, **more}


def test_good_objects_have_no_problems() -> None:
    assert problems(r.STORAGECLASSES, CLASS) == []
    assert problems(r.CSIDRIVERS, {"spec": {}}) == []
    assert problems(r.CSINODES, node(topologyKeys=["zone"])) == []
    assert problems(r.CSISTORAGECAPACITIES, {"storageClassName": "fast", "capacity": "1Gi"}) == []
    assert problems(r.VOLUMEATTACHMENTS, ATTACHMENT) == []
    assert problems(r.VOLUMEATTRIBUTESCLASSES, {"driverName": "csi.example.com", "parameters": {"a": "b"}}) == []
    assert problems(r.PRIORITYCLASSES, priority("high", 1_000_000_000)) == []
    assert problems(r.PRIORITYCLASSES, priority("system-node-critical", 2_000_001_000)) == []


def test_defaults_are_those_of_kubernetes() -> None:
    stored = made(r.STORAGECLASSES, CLASS)
    assert (stored["reclaimPolicy"], stored["volumeBindingMode"]) == ("Delete", "Immediate")
    assert made(r.CSIDRIVERS, {})["spec"] == {
        "attachRequired": True, "podInfoOnMount": False, "storageCapacity": False, "requiresRepublish": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"], "seLinuxMount": False,
    }  # fmt: skip
    assert made(r.VOLUMEATTACHMENTS, {**ATTACHMENT, "status": {"attached": True}})["status"] == {"attached": False}
    assert made(r.PRIORITYCLASSES, priority("a", 1))["preemptionPolicy"] == "PreemptLowerPriority"


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (r.STORAGECLASSES, {}, "provisioner: Required value"),
        (r.STORAGECLASSES, {**CLASS, "reclaimPolicy": "Recycle"},
         'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'),
        (r.STORAGECLASSES, {**CLASS, "volumeBindingMode": "Later"},
         'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"'),
        (r.STORAGECLASSES, {**CLASS, "parameters": {"a": "b" * 300_000}},
         "parameters: Too long: may not be more than 262144 bytes"),
        (r.STORAGECLASSES, {**CLASS, "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone"}]}]},
         "allowedTopologies[0].matchLabelExpressions[0].values: Required value"),
        (r.CSIDRIVERS, {"spec": {"volumeLifecycleModes": ["Forever"]}},
         'spec.volumeLifecycleModes: Unsupported value: "Forever": supported values: "Persistent", "Ephemeral"'),
        (r.CSIDRIVERS, {"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 60}]}},
         "spec.tokenRequests[0].expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"),
        (r.CSINODES, node(nodeID=""), "spec.drivers[0].nodeID: Required value"),
        (r.CSINODES, node(allocatable={"count": -1}),
         "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0"),
        (r.CSISTORAGECAPACITIES, {"storageClassName": "fast", "capacity": "-1"},
         'capacity: Invalid value: "-1": must be greater than or equal to 0'),
        (r.VOLUMEATTACHMENTS, {"spec": {**ATTACHMENT["spec"], "source": {}}}, "spec.source: Required value: must "
         "specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        (r.VOLUMEATTRIBUTESCLASSES, {"driverName": "a"},
         "parameters: Required value: must contain at least one key/value pair"),
        (r.PRIORITYCLASSES, priority("a", 1_000_000_001),
         "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
        (r.PRIORITYCLASSES, priority("system-mine", 1), "metadata.name: Forbidden: priority class names with "
         "'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class"),
        (r.PRIORITYCLASSES, priority("a", 1, preemptionPolicy="Maybe"),
         'preemptionPolicy: Unsupported value: "Maybe": supported values: "PreemptLowerPriority", "Never"'),
    ],
)  # fmt: skip
def test_a_bad_object_is_refused(resource: Any, obj: dict[str, Any], expected: str) -> None:
    assert problems(resource, obj) == [expected]


@pytest.mark.parametrize(
    ("resource", "old", "new", "expected"),
    [
        (r.STORAGECLASSES, CLASS, {"provisioner": "b.com"}, "provisioner: Forbidden: updates to provisioner are "
         "forbidden."),
        (r.STORAGECLASSES, CLASS, {**CLASS, "parameters": {"a": "b"}}, "parameters: Forbidden: updates to parameters "
         "are forbidden."),
        (r.STORAGECLASSES, CLASS, {**CLASS, "volumeBindingMode": "WaitForFirstConsumer"},
         'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable'),
        (r.CSIDRIVERS, {"spec": {}}, {"spec": {"attachRequired": False}},
         "spec.attachedRequired: Invalid value: false: field is immutable"),
        (r.PRIORITYCLASSES, priority("a", 1), priority("a", 2), "value: Forbidden: may not be changed in an update."),
        (r.VOLUMEATTRIBUTESCLASSES, {"driverName": "a", "parameters": {"a": "b"}},
         {"driverName": "b", "parameters": {"a": "b"}}, "driverName: Forbidden: updates to driverName are forbidden."),
    ],
)  # fmt: skip
def test_what_may_not_change_does_not(resource: Any, old: dict[str, Any], new: dict[str, Any], expected: str) -> None:
    assert changed(resource, old, old)[1] == []
    assert changed(resource, new, old)[1] == [expected]


def test_a_nodes_drivers_may_come_and_go_but_not_change() -> None:
    assert changed(r.CSINODES, {"spec": {"drivers": []}}, node())[1] == []
    assert changed(r.CSINODES, node(allocatable={"count": 5}), node(allocatable={"count": 4}))[1] == []
    assert "field is immutable" in changed(r.CSINODES, node(nodeID="n2"), node())[1][0]


def test_a_driver_counts_what_may_change() -> None:
    new, errors = changed(r.CSIDRIVERS, {"spec": {"requiresRepublish": True}}, {"spec": {}})
    assert (errors, new["metadata"]["generation"]) == ([], 1)


def test_tables_read_as_in_kubernetes() -> None:
    marked = {"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, **CLASS}
    assert row(r.STORAGECLASSES, marked) == {
        "Name": "x (default)", "Provisioner": "csi.example.com", "ReclaimPolicy": "Delete",
        "VolumeBindingMode": "Immediate", "AllowVolumeExpansion": False, "Age": "65s",
    }  # fmt: skip
    assert row(r.CSIDRIVERS, {"spec": {}})["TokenRequests"] == "<unset>"
    assert row(r.CSINODES, node())["Drivers"] == 1
    assert row(r.CSISTORAGECAPACITIES, {"storageClassName": "fast"})["Capacity"] == "<unset>"
    shown = row(r.VOLUMEATTACHMENTS, ATTACHMENT)
    assert (shown["PV"], shown["Node"], shown["Attached"]) == ("v", "n1", False)
    shown = row(r.PRIORITYCLASSES, priority("a", 7, globalDefault=True))
    assert (shown["Value"], shown["Global-Default"], shown["PreemptionPolicy"]) == (7, True, "PreemptLowerPriority")
