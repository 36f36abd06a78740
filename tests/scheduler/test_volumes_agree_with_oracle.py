"""Where a pod's claims can be, decided for all nodes at once, is what is decided for each node by itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.storage import claim, only_on, storage_class, volume
from tests.scheduler.cluster import a_node, a_pod

from kontinuum.api.kubernetes.binding import SELECTED_NODE, annotate, matches
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.client.informer import Cache
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage import matching
from kontinuum.scheduler.storage.state import Storage
from kontinuum.scheduler.storage.wishes import Wishes, read_wishes

NODES = [a_node(f"n{number}", labels={"zone": f"z{number % 2}"}) for number in range(4)]
OFFER = st.fixed_dictionaries(
    {
        "size": st.integers(1, 4),
        "node": st.sampled_from([None, "n0", "n1", "n2", "n3"]),
        "modes": st.sampled_from([["ReadWriteOnce"], ["ReadWriteOnce", "ReadOnlyMany"]]),
        "claim": st.sampled_from([None, None, None, "c0", "c1", "somebody"]),
    }
)
CLAIM = st.fixed_dictionaries(
    {
        "size": st.integers(1, 4),
        "class": st.sampled_from(["static", "dynamic", "zoned"]),
        "selected": st.sampled_from([None, None, None, "n1"]),
    }
)


def storage_of(offers: list[dict[str, Any]], claims: list[dict[str, Any]]) -> Storage:
    storage = Storage()

    def put(kind: Any, obj: Object) -> None:
        shelf = storage.shelves[kind]
        assert isinstance(shelf, Cache)
        shelf.put(obj)

    zone = [{"matchLabelExpressions": [{"key": "zone", "values": ["z1"]}]}]
    put(STORAGECLASSES, {**storage_class("static", waits=True), "provisioner": "kubernetes.io/no-provisioner"})
    put(STORAGECLASSES, storage_class("dynamic", waits=True))
    put(STORAGECLASSES, storage_class("zoned", waits=True, allowedTopologies=zone))
    for number, one in enumerate(offers):
        spec: Object = {"storageClassName": ("static", "dynamic", "zoned")[number % 3], "accessModes": one["modes"]}
        if one["node"]:
            spec["nodeAffinity"] = only_on(one["node"])
        if one["claim"]:
            spec["claimRef"] = {"namespace": "default", "name": one["claim"]}
        put(PERSISTENTVOLUMES, {**volume(f"v{number}", f"{one['size']}Gi", **spec), "status": {"phase": "Available"}})
    for number, one in enumerate(claims):
        made = claim(f"c{number}", f"{one['size']}Gi", storageClassName=one["class"])
        if one["selected"]:
            annotate(made, SELECTED_NODE, one["selected"])
        put(PERSISTENTVOLUMECLAIMS, made)
    return storage


def oracle(wishes: Wishes, storage: Storage, node: Object) -> dict[str, str] | None:
    """What each claim gets on one node ("" for a new volume); None if one gets nothing. Slow and obvious."""
    found: dict[str, str] = {}
    claims = [(wishes.key(one), storage.claim(wishes.key(one))) for one in wishes.claims]
    known = [(key, one) for key, one in claims if one is not None]
    for key, one in sorted(known, key=lambda each: (quantity.value(_size(each[1])), each[0])):
        selected = (one["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        if selected and selected != name_of(node):
            return None
        here = [] if selected else [offer for offer in matches(one, storage.offers(one, key)) if _reaches(offer, node)]
        free = [name_of(offer) for offer in here if name_of(offer) not in found.values()]
        if not free and not _may_provision(one, node):
            return None
        found[key] = free[0] if free else ""
    return found


def _size(one: Object) -> str:
    return str(one["spec"]["resources"]["requests"]["storage"])


def _reaches(offer: Object, node: Object) -> bool:
    required = offer["spec"].get("nodeAffinity")
    if required is None:
        return True
    [term] = required["required"]["nodeSelectorTerms"]
    return labels_of(node)["kubernetes.io/hostname"] in term["matchExpressions"][0]["values"]


def _may_provision(one: Object, node: Object) -> bool:
    name = one["spec"]["storageClassName"]
    return name == "dynamic" or (name == "zoned" and labels_of(node)["zone"] == "z1")


@settings(max_examples=150, deadline=None)
@given(st.lists(OFFER, max_size=7), st.lists(CLAIM, min_size=1, max_size=3))
def test_the_survey_says_of_each_node_what_the_oracle_does(
    offers: list[dict[str, Any]], claims: list[dict[str, Any]]
) -> None:
    storage, snapshot = storage_of(offers, claims), Snapshot()
    for node in NODES:
        snapshot.set_node(node)
    volumes = [{"name": f"c{n}", "persistentVolumeClaim": {"claimName": f"c{n}"}} for n in range(len(claims))]
    wishes = read_wishes(a_pod("p", volumes=volumes))
    assert matching.refusal(wishes, storage) == ""
    fits = matching.survey(wishes, storage, snapshot).fits
    for node in NODES:
        expected = oracle(wishes, storage, node)
        assert bool(fits[snapshot.row_of[name_of(node)]]) == (expected is not None), name_of(node)
        if expected is not None:
            plan = matching.plan(wishes, storage, snapshot, name_of(node))
            given_here = {key: name for name, key in plan.volumes} | dict.fromkeys(plan.provisions, "")
            assert given_here == expected
            storage.reserve("p", plan)
            # Nobody else is offered what is reserved.
            stranger = claim("stranger", "1Gi", storageClassName="static")
            offered = {name_of(one) for one in storage.offers(stranger, "default/stranger")}
            assert not offered & {name for name, _ in plan.volumes}
            storage.release("p")
