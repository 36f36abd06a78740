"""Which end of a container is followed by another start."""

from __future__ import annotations

import pytest
from tests.node.world import container, pod

from kontinuum.api.machinery.objects import Object
from kontinuum.node.restarts import wants_restart


def rule(operator: str, *codes: int) -> Object:
    return {"action": "Restart", "exitCodes": {"operator": operator, "values": list(codes)}}


@pytest.mark.parametrize(
    ("of_pod", "own", "rules", "restarted"),
    [
        ("Always", None, [], {0: True, 1: True, 42: True}),
        ("OnFailure", None, [], {0: False, 1: True, 42: True}),
        ("Never", None, [], {0: False, 1: False, 42: False}),
        ("Always", "Never", [], {0: False, 1: False, 42: False}),
        ("Never", "OnFailure", [], {0: False, 1: True, 42: True}),
        ("Never", "Never", [rule("In", 42)], {0: False, 1: False, 42: True}),
        ("Always", "Never", [rule("NotIn", 0, 1)], {0: False, 1: False, 42: True}),
        ("Never", "OnFailure", [rule("In", 0)], {0: True, 1: True, 42: True}),
        ("Never", "Never", [rule("Near", 42), rule("In", 1)], {0: False, 1: True, 42: False}),
    ],
)
def test_rules_come_before_the_containers_policy_and_that_before_the_pods(
    of_pod: str, own: str | None, rules: list[Object], restarted: dict[int, bool]
) -> None:
    one = container("app", **({"restartPolicy": own} if own else {}), restartPolicyRules=rules)
    seen = {code: wants_restart(pod(restartPolicy=of_pod, containers=[one]), one, code) for code in restarted}
    assert seen == restarted


def test_an_init_container_that_succeeded_is_done_whatever_is_said_and_a_sidecar_never_is() -> None:
    first = container("first", restartPolicy="OnFailure", restartPolicyRules=[rule("In", 0, 3)])
    sidecar = container("beside", restartPolicy="Always")
    visited = pod(restartPolicy="Always", initContainers=[first, sidecar])
    assert [wants_restart(visited, first, code) for code in (0, 3)] == [False, True]
    assert [wants_restart(visited, sidecar, code) for code in (0, 3)] == [True, True]
    visitor = container("visitor")
    visited["spec"]["ephemeralContainers"] = [visitor]
    assert not wants_restart(visited, visitor, 1)
