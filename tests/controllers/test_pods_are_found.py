"""The pods that a selector means are found without looking at all of their namespace: the same ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import labels_of, name_of
from kontinuum.api.machinery.selectors import from_object
from kontinuum.client.transport.fake import FakeApi
from kontinuum.controllers.context import Context, selected
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation.clock import VirtualClock

KEYS, VALUES = st.sampled_from("ab"), st.sampled_from("xyz")
LABELS = st.dictionaries(KEYS, VALUES)
EXPRESSION = st.one_of(
    st.fixed_dictionaries(
        {"key": KEYS, "operator": st.sampled_from(["In", "NotIn"]), "values": st.lists(VALUES, min_size=1)}
    ),
    st.fixed_dictionaries({"key": KEYS, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)


@given(
    st.lists(st.tuples(st.sampled_from(["n", "m"]), LABELS), max_size=12), LABELS, st.lists(EXPRESSION, max_size=2)
)  # fmt: skip
def test_an_index_finds_what_a_look_at_all_finds(
    pods: list[tuple[str, dict[str, str]]], equal: dict[str, str], expressions: list[dict[str, object]]
) -> None:
    clock = VirtualClock()
    context = Context(FakeApi(clock).client(), clock, ControllersSettings())
    informer = context.informer(PODS)
    for number, (namespace, labels) in enumerate(pods):
        metadata = {"name": str(number), "namespace": namespace, "labels": labels, "resourceVersion": "1"}
        informer._keep({"metadata": metadata})
    selector = from_object({"matchLabels": equal, "matchExpressions": expressions})
    found = selected(informer, "n", selector)
    assert {name_of(one) for one in found} == {
        name_of(one)
        for one in informer.items()
        if one["metadata"]["namespace"] == "n" and selector.matches(labels_of(one))
    }
