"""A document is called sound if, and nearly only if, bringing it into its kind's structure would change nothing."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes import soundness
from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import (
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    EVENTS_V1,
    LEASES,
    NETWORKPOLICIES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    VALIDATINGADMISSIONPOLICIES,
)
from kontinuum.api.kubernetes.schema import Definition, Type, definition
from kontinuum.api.kubernetes.structure import Mismatch, _conform_fields, _soundness, conform_to
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy

SHAPES = [
    KINDS[resource].definition
    for resource in (
        CUSTOMRESOURCEDEFINITIONS, DEPLOYMENTS, ENDPOINTSLICES, EVENTS_V1, LEASES, NETWORKPOLICIES, NODES, PODS,
        SECRETS, SERVICES, VALIDATINGADMISSIONPOLICIES,
    )
]  # fmt: skip
ANYTHING: Any = st.sampled_from(
    [None, True, False, 0, 1, 1.0, 1.5, -1, 2**31, 2**63, -(2**63), "", "a", [], {}, [None]]
)
RIGHT: dict[str, Any] = {
    "string": st.sampled_from(["", "a", "é"]),
    "bool": st.booleans(),
    "int32": st.sampled_from([0, 1, -(2**31), 2**31 - 1]),
    "int64": st.sampled_from([0, 1, -(2**63), 2**63 - 1]),
    "double": st.sampled_from([0, 1.5, 2**64 - 1]),
    "bytes": st.sampled_from(["", "YQ==", "YQ"]),
    "time": st.sampled_from(
        ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00.5+01:00", "2026-01-01", "9999-99-99T99:99:99Z"]
    ),
    "micro-time": st.sampled_from(["2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:00Z"]),
    "quantity": st.sampled_from(["1", "500m", "0.5", "1024Mi", "1Gi", "1e3", 1, 0.5, "", "x"]),
    "int-or-string": st.sampled_from([80, 2**63, "http"]),
    "any": ANYTHING,
}


@st.composite
def documents(draw: Any, shape: Definition, depth: int = 7) -> Object:
    """A few fields of the definition, mostly of the right type, seldom one that it does not have."""
    names = draw(st.lists(st.sampled_from(sorted(shape.fields)), max_size=3, unique=True)) if shape.fields else []
    doc = {name: draw(values(shape.fields[name], depth - 1)) for name in names}
    for name in draw(st.sampled_from([(), (), soundness.ALWAYS.get(shape.name, ()), ("nonsense",)])):
        doc[name] = "a"
    return doc


@st.composite
def values(draw: Any, kind: Type, depth: int) -> Any:
    if draw(st.integers(0, 24)) == 0:
        return draw(ANYTHING)
    if depth <= 0:
        return {} if kind.form in ("object", "map") else draw(RIGHT.get(kind.form, ANYTHING))
    if kind.form == "object":
        return draw(documents(definition(kind.definition), depth))
    if kind.element is None:
        return draw(RIGHT[kind.form])
    some = [draw(values(kind.element, depth - 1)) for _ in range(draw(st.integers(0, 2)))]
    return some if kind.form == "list" else {f"key{place}": one for place, one in enumerate(some)}


@st.composite
def shaped(draw: Any) -> tuple[Definition, Object]:
    shape = draw(st.sampled_from(SHAPES))
    return shape, draw(documents(shape))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are made before anything has come often, and of whatever comes."""
    monkeypatch.setattr(soundness, "OFTEN", 0)
    monkeypatch.setattr(soundness, "MOST", 10**6)


def written(doc: Object) -> bytes:
    """Tells 1 from true and from 1.0, and one order of fields from another."""
    return orjson.dumps(doc)


@given(shaped())
def test_what_is_sound_is_left_as_it_is(case: tuple[Definition, Object]) -> None:
    shape, doc = case
    before = copy(doc)
    if _soundness.is_sound(doc, shape):
        assert _conform_fields(doc, shape) == []
    else:
        assert written(doc) == written(before), "looking changes nothing"
        return
    assert written(doc) == written(before)


def is_beyond(value: Any, kind: Type, above: tuple[str, ...] = ()) -> bool:
    """Whether something in it is always walked through: bytes, what contains itself, empty lists in lists."""
    if kind.form == "object":
        name = kind.definition
        fields = definition(name).fields
        return name in above or any(is_beyond(one, fields[key], (*above, name)) for key, one in value.items())
    if kind.element is None:
        return kind.form == "bytes"
    some = value.values() if isinstance(value, dict) else value
    return any(
        one == [] or (one == {} and kind.element.form == "map") or is_beyond(one, kind.element, above) for one in some
    )


@given(shaped())
def test_what_has_its_structure_is_found_sound(case: tuple[Definition, Object]) -> None:
    shape, doc = case
    try:
        _conform_fields(doc, shape)
    except Mismatch:
        return
    assert _soundness.is_sound(doc, shape) or is_beyond(doc, Type("object", definition=shape.name))


def test_what_comes_seldom_has_no_type_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "OFTEN", 2)
    asked = soundness.Soundness(lambda form, text: True)
    lease = KINDS[LEASES].definition
    assert [asked.is_sound({"spec": {"renewTime": "now"}}, lease) for _ in range(3)] == [False, False, True]


def test_whoever_sends_ever_other_fields_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "MOST", 3)
    asked = soundness.Soundness(lambda form, text: True)
    shape = KINDS[PODS].definition
    for names in permutations(("kind", "apiVersion", "metadata", "spec")):
        asked.is_sound({name: {} for name in names}, shape)
        assert not asked.is_sound({name: {} for name in (*names, f"unknown-{names}")}, shape)
    assert len(asked._asked) <= 3 and len(asked._uppermost) <= 3
    assert not any("unknown" in str(name) for these in asked._asked for name in these)
    assert not asked.is_sound({"status": {}}, shape), "it is walked through"


def test_a_condition_is_sound_with_all_that_typed_clients_need() -> None:
    shape = definition("io.k8s.apimachinery.pkg.apis.meta.v1.Condition")
    condition: Object = {"type": "Ready", "status": "True"}
    assert not _soundness.is_sound(condition, shape)
    assert conform_to(condition, shape) == []
    assert condition == {"type": "Ready", "status": "True", "reason": "", "message": ""}
    assert _soundness.is_sound(condition, shape)
