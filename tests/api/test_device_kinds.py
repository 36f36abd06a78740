"""resource.k8s.io: claims, classes and slices."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.kinds import changed, made, problems, row

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import KINDS

REQUEST = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
RESULT = {"request": "gpu", "driver": "gpu.example.com", "pool": "n1", "device": "d1"}
ALLOCATED = {"allocation": {"devices": {"results": [RESULT]}}}
CONSUMER = {"resource": "pods", "name": "p", "uid": "u"}


def claim(*requests: dict[str, Any], **devices: Any) -> dict[str, Any]:
    return {"spec": {"devices": {"requests": list(requests) or [REQUEST], **devices}}}


def exactly(**one: Any) -> dict[str, Any]:
    return claim({"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com", **one}})


def slice_(*devices: dict[str, Any], **spec: Any) -> dict[str, Any]:
    pool = {"name": "n1", "resourceSliceCount": 1}
    whole = {"driver": "gpu.example.com", "pool": pool, "nodeName": "n1", "devices": list(devices)}
    return {"spec": {**whole, **spec}}


def status_problems(status: dict[str, Any], before: dict[str, Any]) -> list[str]:
    old = {**made(r.RESOURCECLAIMS, claim()), "status": before}
    return [str(one) for one in KINDS[r.RESOURCECLAIMS].validate_status({**old, "status": status}, old)]


def test_good_objects_have_no_problems() -> None:
    constraint = {"requests": ["gpu"], "matchAttribute": "gpu.example.com/numa"}
    assert problems(r.RESOURCECLAIMS, claim(REQUEST, constraints=[constraint])) == []
    assert problems(r.RESOURCECLAIMTEMPLATES, {"spec": claim()}) == []
    assert problems(r.DEVICECLASSES, {"spec": {"selectors": [{"cel": {"expression": "true"}}]}}) == []
    device = {"name": "d1", "attributes": {"model": {"string": "a"}}, "capacity": {"memory": {"value": "1Gi"}}}
    assert problems(r.RESOURCESLICES, slice_(device)) == []


def test_one_device_is_asked_for_unless_all_are() -> None:
    (request,) = made(r.RESOURCECLAIMS, claim())["spec"]["devices"]["requests"]
    assert (request["exactly"]["allocationMode"], request["exactly"]["count"]) == ("ExactCount", 1)
    (request,) = made(r.RESOURCECLAIMS, exactly(allocationMode="All"))["spec"]["devices"]["requests"]
    assert "count" not in request["exactly"]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (claim({"name": "gpu"}), "spec.devices.requests[0]: Required value: exactly one of `exactly` or "
         "`firstAvailable` is required"),
        (claim(REQUEST, REQUEST), 'spec.devices.requests[1]: Duplicate value: "gpu"'),
        (exactly(deviceClassName=""), "spec.devices.requests[0].exactly.deviceClassName: Required value"),
        (exactly(allocationMode="All", count=2), "spec.devices.requests[0].exactly.count: Invalid value: 2: must not "
         "be specified when allocationMode is 'All'"),
        (exactly(selectors=[{}]), "spec.devices.requests[0].exactly.selectors[0].cel: Required value"),
        (exactly(tolerations=[{"operator": "Exists", "value": "a"}]), "spec.devices.requests[0].exactly.tolerations[0]."
         'value: Invalid value: "a": must be empty for operator `Exists`'),
        (claim(REQUEST, config=[{"requests": ["other"], "opaque": {"driver": "a.com", "parameters": {}}}]),
         'spec.devices.config[0].requests[0]: Invalid value: "other": must be the name of a request in the claim or '
         "the name of a request and a subrequest separated by '/'"),
        (claim(REQUEST, constraints=[{"matchAttribute": "numa"}]), "spec.devices.constraints[0].matchAttribute: "
         'Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash'),
        (claim(*({"name": f"r{n}", "exactly": REQUEST["exactly"]} for n in range(33))),
         "spec.devices.requests: Too many: 33: must have at most 32 items"),
    ],
)  # fmt: skip
def test_a_bad_claim_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert problems(r.RESOURCECLAIMS, obj) == [expected]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (slice_(nodeName=None), "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, "
         "`perDeviceNodeSelection` is required"),
        (slice_(allNodes=True), 'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, '
         "`nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"),
        (slice_({"name": "d", "attributes": {"v": {"version": "1"}}}), "spec.devices[0].attributes[v].version: Invalid "
         'value: "1": must be a string compatible with semver.org spec 2.0.0'),
        (slice_({"name": "d", "attributes": {"v": {}}}),
         'spec.devices[0].attributes[v]: Invalid value: "": exactly one value must be specified'),
        (slice_({"name": "d"}, {"name": "d"}), 'spec.devices[1]: Duplicate value: "d"'),
        (slice_(pool={"name": "n1"}),
         "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"),
    ],
)  # fmt: skip
def test_a_bad_slice_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert problems(r.RESOURCESLICES, obj) == [expected]


def test_claims_stay_as_they_are_and_slices_stay_where_they_are() -> None:
    (problem,) = changed(r.RESOURCECLAIMS, exactly(count=2), claim())[1]
    assert problem.startswith("spec: Invalid value: ") and problem.endswith(": field is immutable")
    assert changed(r.RESOURCESLICES, slice_(nodeName="n2"), slice_())[1] == [
        'spec.nodeName: Invalid value: "n2": field is immutable'
    ]
    assert changed(r.RESOURCESLICES, slice_({"name": "d"}), slice_())[0]["metadata"]["generation"] == 2


def test_a_claim_is_reserved_only_once_it_is_allocated() -> None:
    assert status_problems({**ALLOCATED, "reservedFor": [CONSUMER]}, {}) == []
    assert status_problems({"reservedFor": [CONSUMER]}, {}) == [
        "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
    ]
    other = {"allocation": {"devices": {"results": [{**RESULT, "device": "d2"}]}}}
    (problem,) = status_problems(other, ALLOCATED)
    assert problem.startswith("status.allocation: ") and problem.endswith("field is immutable")
    status = {**ALLOCATED, "devices": [{**RESULT, "device": "d2"}]}
    assert status_problems(status, ALLOCATED) == [
        'status.devices[0]: Invalid value: "gpu.example.com/n1/d2": must be an allocated device in the claim'
    ]


def test_tables_read_as_in_kubernetes() -> None:
    assert row(r.RESOURCECLAIMS, claim())["State"] == "pending"
    assert row(r.RESOURCECLAIMS, claim(), **ALLOCATED, reservedFor=[CONSUMER])["State"] == "allocated,reserved"
    shown = row(r.RESOURCESLICES, slice_())
    assert (shown["Node"], shown["Driver"], shown["Pool"]) == ("n1", "gpu.example.com", "n1")
