"""Whatever a policy says, the server answers: it is stored or refused, and so are the objects that it looks at."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.api.cel_expressions import bools, soups, texts
from tests.apiserver.policies import CONFIGMAPS_RULE, GROUP, mutating, validating
from tests.apiserver.serving import CONFIGMAPS, Api, Certificates, configmap, serving

from kontinuum.store.memory.store import MemoryStore

NUMBERS = itertools.count()
SLOWLY = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
Server = tuple[asyncio.Runner, Api]
# The variables of ``cel_expressions``, as a policy's own.
VARIABLES = [
    {"name": name, "expression": expression}
    for name, expression in (
        ("i", "object.metadata.name.size()"), ("u", "5u"), ("d", "1.5"), ("s", "object.metadata.name"), ("y", "b'ab'"),
        ("b", "has(object.data)"), ("l", "[1, 2, 3]"), ("m", "{'a': 1}"), ("w", "['x']"), ("x", "object.data"),
    )
]  # fmt: skip


def own(source: str) -> str:
    """``source`` with the policy's variables for its own, by binding each."""
    opened = "".join(f"cel.bind({one['name']}, variables.{one['name']}, " for one in VARIABLES)
    return f"{opened}{source}{')' * len(VARIABLES)}"


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with asyncio.Runner() as runner:
        context = serving(MemoryStore(), certificates)
        api = runner.run(context.__aenter__())
        yield runner, api
        runner.run(context.__aexit__(None, None, None))


async def tried(api: Api, kind: str, policy: dict[str, Any], data: dict[str, str]) -> tuple[int, int, str]:
    """The codes of the policy, and of an object under it; and what the latter is told."""
    name = policy["metadata"]["name"]
    path = f"{GROUP}/{kind}policies"
    stored = await api.create(path, policy)
    spec = {"policyName": name, **({"validationActions": ["Deny"]} if kind.startswith("validating") else {})}
    await api.create(f"{GROUP}/{kind}policybindings", {"metadata": {"name": name}, "spec": spec})
    await api.get(f"{path}/{name}")
    answer = await api.create(CONFIGMAPS, configmap(f"o{next(NUMBERS)}", **data))
    await api.delete(f"{path}/{name}")
    await api.delete(f"{GROUP}/{kind}policybindings/{name}")
    # A policy may have given the object any name, which the next one must find free.
    assert (await api.delete(CONFIGMAPS)).code == 200
    text = answer.body.get("message", "") if isinstance(answer.body, dict) else ""
    return stored.code, answer.code, text


DATA = st.dictionaries(
    st.sampled_from("abc"), st.text(st.characters(exclude_categories=("Cs",)), max_size=4), max_size=3
)


@SLOWLY
@given(rule=bools(3).map(own) | soups(), message=texts(2).map(own) | soups(), ignores=st.booleans(), data=DATA)
def test_validating_policies_decide(
    server: Server, rule: str, message: str, ignores: bool, data: dict[str, str]
) -> None:
    runner, api = server
    validation = {"expression": rule, "messageExpression": message}
    annotation = {"key": "k", "valueExpression": message}
    policy = validating(
        f"v{next(NUMBERS)}", {key: value for key, value in validation.items() if value.strip()}, match=CONFIGMAPS_RULE,
        variables=VARIABLES, failurePolicy="Ignore" if ignores else "Fail",
        **({"auditAnnotations": [annotation]} if message.strip() else {}),
    )  # fmt: skip
    stored, decided, _ = runner.run(tried(api, "validatingadmission", policy, data))
    assert stored in (201, 422)
    assert decided in ((201, 422) if stored == 201 else (201,))


POINTERS = st.lists(
    st.sampled_from(["metadata", "labels", "data", "a", "kind", "name", "0", "-", "~1"]), max_size=3
).map(lambda steps: "".join(f"/{step}" for step in steps))
VALUES = st.sampled_from(
    ["1", "'a'", "null", "{'a': 'b'}", "[1]", "true", "Object{data: {'a': 'b'}}", "duration('1s')", "1.5"]
)
OPERATIONS = st.tuples(
    st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "no"]), POINTERS, POINTERS, VALUES
).map(lambda parts: "JSONPatch{{op: '{}', path: '{}', from: '{}', value: {}}}".format(*parts))
PATCHES = st.lists(OPERATIONS, min_size=1, max_size=3).map(lambda operations: f"[{', '.join(operations)}]")
CONFIGURATIONS = st.dictionaries(
    st.sampled_from(["data", "kind", "metadata", "immutable", "binaryData", "spec"]),
    st.one_of(
        VALUES, st.sampled_from(["Object.metadata{labels: {'a': 'b'}}", "Object.spec{}", "Object.metadata{name: 'x'}"])
    ),
    max_size=3,
).map(lambda fields: f"Object{{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}")


@SLOWLY
@given(mutations=st.lists(PATCHES | CONFIGURATIONS | soups(), min_size=1, max_size=2), again=st.booleans(), data=DATA)
def test_mutating_policies_change_or_refuse(
    server: Server, mutations: list[str], again: bool, data: dict[str, str]
) -> None:
    runner, api = server
    policy = mutating(f"m{next(NUMBERS)}", *mutations, reinvocationPolicy="IfNeeded" if again else "Never")
    stored, changed, text = runner.run(tried(api, "mutatingadmission", policy, data))
    assert stored in (201, 422)
    assert changed in (201, 400, 403, 422), text
