"""A pod is treated the same whether its spec has been seen before or not, and a patched object whoever looks at it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import CONFIGMAPS, DEPLOYMENTS, JOBS, LEASES, NODES, PODS, SERVICES
from kontinuum.api.kubernetes.validation import metadata, names
from kontinuum.api.kubernetes.validation.pods import validate_pod_spec
from kontinuum.api.kubernetes.warnings.objects import warnings_of
from kontinuum.api.kubernetes.warnings.pods import of_pod
from kontinuum.api.machinery import managed_fields
from kontinuum.api.machinery.comparing import _created, compare
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.fieldsets import Fields
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy, merge_patch
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation.familiar import Known

ANYTHING: Any = st.sampled_from([None, True, False, 0, 1, 1.0, -1, 2**40, "", "a", "1000m", "1Gi", "1024Mi", [], {}])
NAMES = st.sampled_from(["main", "side", "", "Not a name"])
PARTS: Any = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | ANYTHING,
        "image": st.sampled_from(["image", "image:1"]) | ANYTHING,
        "resources": st.fixed_dictionaries(
            {}, optional={side: st.dictionaries(st.sampled_from(["cpu", "memory"]), ANYTHING) for side in
                          ("limits", "requests")},
        ) | ANYTHING,
        "env": st.lists(st.fixed_dictionaries({}, optional={"name": NAMES, "value": ANYTHING}), max_size=2) | ANYTHING,
        "nonsense": ANYTHING,
    },
)  # fmt: skip
SPECS: Any = st.fixed_dictionaries(
    {},
    optional={
        "containers": st.lists(PARTS, max_size=2) | ANYTHING,
        "hostNetwork": ANYTHING,
        "terminationGracePeriodSeconds": ANYTHING,
        "nodeSelector": st.dictionaries(NAMES, ANYTHING, max_size=1) | ANYTHING,
        "restartPolicy": st.sampled_from(["Always", "Sometimes"]) | ANYTHING,
        "overhead": st.dictionaries(st.just("cpu"), ANYTHING),
        "nonsense": ANYTHING,
    },
)
POD = KINDS[PODS]


def outcome(work: Any, obj: Object) -> tuple[Any, Object]:
    """What becomes of ``obj``: its unknown fields, or the words of the refusal."""
    try:
        return work(obj), obj
    except ApiError as error:
        return error.message, {}


@given(SPECS)
def test_a_spec_is_judged_each_time_alike(spec: Any) -> None:
    pod = {"metadata": {"name": "a"}, "spec": spec}
    try:
        POD.conform(pod)
    except ApiError:
        return
    POD.default(pod)
    problems = validate_pod_spec(pod["spec"], "spec")
    warned, shape = [*of_pod(pod)], POD.shape
    for _ in range(2):
        again = copy(pod)
        assert POD.validate_spec(again) == problems
        assert warnings_of(PODS, again, None) == warned
        assert managed_fields.changes_between(None, again, shape).added["f:spec"] == _created(
            pod["spec"], shape.below("spec")
        )
        assert again == pod


TEXTS = st.sampled_from(["a", "a/b", "not a key", "", "orphan", "foregroundDeletion"])
METADATA: Any = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "Not a name"])},
    optional={
        "labels": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "annotations": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "finalizers": st.lists(TEXTS, max_size=2),
        "ownerReferences": st.lists(
            st.fixed_dictionaries({"uid": TEXTS}, optional={"kind": TEXTS, "controller": st.booleans()}), max_size=2
        ),
    },
)


@given(METADATA, st.booleans())
def test_metadata_is_judged_each_time_alike(meta: Object, qualified: bool) -> None:
    def found() -> list[FieldError]:
        return metadata.validate(
            copy(meta), namespaced=False, check_name=names.dns_subdomain, qualified_finalizers=qualified
        )

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Known, "written", lambda self, value: b"")
        expected = found()
    assert [found(), found()] == [expected, expected]


TIMES = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", None])
CONDITIONS: Any = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Ready", "Initialized", "PodScheduled"])},
        optional={"status": st.sampled_from(["True", "False"]), "lastTransitionTime": TIMES, "reason": ANYTHING},
    )
    | ANYTHING,
    max_size=4,
)
ADDRESSES: Any = st.lists(st.fixed_dictionaries({"ip": st.sampled_from(["10.0.0.1", "10.0.0.2"])}), max_size=2)
STATUSES: Any = st.fixed_dictionaries(
    {},
    optional={
        "conditions": CONDITIONS | ANYTHING,
        "podIPs": ADDRESSES | ANYTHING,
        "hostIPs": ADDRESSES,
        "phase": ANYTHING,
        "containerStatuses": st.lists(PARTS, max_size=2),
    },
)


@given(STATUSES, STATUSES)
def test_a_change_is_seen_each_time_alike(old: Object, new: Object) -> None:
    def seen() -> tuple[Fields, Fields, Fields]:
        found = compare({"status": copy(old)}, {"status": copy(new)}, POD.shape)
        return found.added, found.modified, found.removed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Known, "written", lambda self, value: b"")
        expected = seen()
    assert [seen(), seen()] == [expected, expected]


OWN_METADATA: Any = st.dictionaries(
    st.sampled_from([*managed_fields.UNTRACKED_METADATA, "labels", "annotations", "finalizers"]),
    ANYTHING | st.dictionaries(NAMES, NAMES, max_size=2),
    max_size=5,
)


@given(st.sampled_from(["kind", "data"]), ANYTHING, OWN_METADATA, OWN_METADATA)
def test_what_the_server_writes_is_nobodys_change(field: str, value: Any, before: Object, after: Object) -> None:
    old, new = {"kind": "a", "metadata": before}, {"kind": "a", field: value, "metadata": after}
    found = managed_fields.changes_between(old, new, POD.shape)
    assert found == compare(managed_fields._ownable(old), managed_fields._ownable(new), POD.shape)


STORED: dict[Any, Object] = {
    PODS: {"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "1"}}}]}, "status": {"phase": "a"}},
    DEPLOYMENTS: {"spec": {"replicas": 1, "selector": {}}, "status": {"replicas": 1}},
    CONFIGMAPS: {"data": {"a": "b"}, "immutable": True},
    NODES: {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}, "status": {"capacity": {"cpu": "4"}}},
    LEASES: {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}},
    SERVICES: {"spec": {"ports": [{"port": 80}]}},
    JOBS: {
        "spec": {"parallelism": 1},
        "status": {"conditions": [{"type": "a", "status": "True", "reason": "", "message": ""}]},
    },
}
WRITTEN: Any = st.dictionaries(
    st.sampled_from(["metadata", "spec", "status", "data", "immutable", "nonsense"]),
    SPECS
    | ANYTHING
    | st.fixed_dictionaries({"conditions": st.lists(st.dictionaries(NAMES, ANYTHING, max_size=2), max_size=2)}),
    max_size=2,
)


@given(st.sampled_from([*STORED]), WRITTEN)
def test_only_what_a_patch_has_written_needs_to_be_looked_at(resource: Any, patch: Any) -> None:
    kind = KINDS[resource]
    head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {"name": "a", "labels": {"a": "b"}}}
    stored = head | copy(STORED[resource])
    assert kind.conform(copy(stored)) == []
    patched = merge_patch(stored, patch)
    expected = outcome(kind.conform, copy(patched))
    assert outcome(lambda obj: kind.conform_parts(obj, frozenset(patch)), copy(patched)) == expected
