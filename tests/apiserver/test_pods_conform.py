"""What Kubernetes' conformance asks of pods that nobody has to run."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Api, pod

RESTARTED = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"


def containers(**resources: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "image": "localhost/nginx:1", "resources": resources}]


@pytest.mark.behaviour(
    "Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory "
    "and cpu"
)
async def test_equal_requests_and_limits_are_guaranteed(api: Api) -> None:
    same = {"cpu": "100m", "memory": "100Mi"}
    made = await api.create(PODS, pod("a", containers=containers(requests=same, limits=same)))
    assert made.body["status"]["qosClass"] == "Guaranteed"
    made = await api.create(PODS, pod("b", containers=containers(requests=same)))
    assert made.body["status"]["qosClass"] == "Burstable"
    made = await api.create(PODS, pod("c", containers=containers()))
    assert made.body["status"]["qosClass"] == "BestEffort"


@pytest.mark.behaviour("RuntimeClass should reject a Pod requesting a non-existent RuntimeClass")
async def test_a_class_that_is_not_there_is_refused(api: Api) -> None:
    refused = await api.create(PODS, pod("a", runtimeClassName="nobody"))
    assert refused.code == 403
    assert refused.body["message"] == 'pods "a" is forbidden: pod rejected: RuntimeClass "nobody" not found'


@pytest.mark.behaviour("RuntimeClass should reject a Pod requesting a deleted RuntimeClass")
async def test_a_class_that_is_gone_is_refused(api: Api) -> None:
    await api.create(CLASSES, {"metadata": {"name": "gone"}, "handler": "any"})
    assert (await api.create(PODS, pod("a", runtimeClassName="gone"))).code == 201
    await api.delete(f"{CLASSES}/gone")
    assert (await api.create(PODS, pod("b", runtimeClassName="gone"))).code == 403


@pytest.mark.behaviour("Sysctls should reject invalid sysctls")
async def test_only_the_sysctls_that_cannot_be_are_named(api: Api) -> None:
    names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."]
    sysctls = [{"name": name, "value": "1"} for name in names]
    refused = await api.create(PODS, pod("a", securityContext={"sysctls": sysctls}))
    assert refused.code == 422
    message = refused.body["message"]
    assert 'Invalid value: "foo-"' in message and 'Invalid value: "bar.."' in message
    assert "safe-and-unsafe" not in message and "kernel.shmmax" not in message


@pytest.mark.parametrize(
    ("spec", "field", "problem"),
    [
        ({"securityContext": {"runAsUser": -1}}, "spec.securityContext.runAsUser",
         "must be between 0 and 2147483647, inclusive"),
        ({"securityContext": {"supplementalGroups": [2**31]}}, "spec.securityContext.supplementalGroups[0]",
         "must be between 0 and 2147483647, inclusive"),
        ({"securityContext": {"fsGroupChangePolicy": "Never"}}, "spec.securityContext.fsGroupChangePolicy",
         'supported values: "Always", "OnRootMismatch"'),
        ({"securityContext": {"seccompProfile": {"type": "Localhost"}}},
         "spec.securityContext.seccompProfile.localhostProfile", "must be set when seccomp type is Localhost"),
        ({"securityContext": {"sysctls": [{"name": "a.b", "value": ""}, {"name": "a/b", "value": ""}]}},
         "spec.securityContext.sysctls[1].name", "Duplicate value"),
        ({"hostPID": True, "shareProcessNamespace": True}, "spec.shareProcessNamespace",
         "ShareProcessNamespace and HostPID cannot both be enabled"),
        ({"hostUsers": False, "hostIPC": True}, "spec.HostIPC", "when `hostUsers` is false"),
        ({"dnsPolicy": "None"}, "spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
        ({"dnsConfig": {"nameservers": ["1.1.1.1"] * 4}}, "spec.dnsConfig.nameservers",
         "must not have more than 3 nameservers"),
        ({"dnsConfig": {"nameservers": ["here"]}}, "spec.dnsConfig.nameservers[0]", "must be a valid IP address"),
        ({"dnsConfig": {"options": [{"value": "1"}]}}, "spec.dnsConfig.options[0]", "must not be empty"),
        ({"hostAliases": [{"ip": "1.2", "hostnames": ["a"]}]}, "spec.hostAliases[0].ip", "must be a valid IP address"),
        ({"readinessGates": [{"conditionType": "a b"}]}, "spec.readinessGates[0].conditionType", "name part must"),
        ({"schedulingGates": [{"name": "a.b/c"}, {"name": "a.b/c"}]}, "spec.schedulingGates[1]", "Duplicate value"),
        ({"os": {"name": "plan9"}}, "spec.os.name", 'supported values: "linux", "windows"'),
        ({"containers": [{"name": "c", "image": "i", "securityContext": {
            "allowPrivilegeEscalation": False, "privileged": True}}]}, "spec.containers[0].securityContext",
         "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
        ({"containers": [{"name": "c", "image": "i", "restartPolicy": "Sometimes"}]},
         "spec.containers[0].restartPolicy", 'supported values: "Always", "Never", "OnFailure"'),
        ({"containers": [{"name": "c", "image": "i", "restartPolicyRules": [RESTARTED]}]},
         "spec.containers[0].restartPolicy", "must specify restartPolicy when restart rules are used"),
        ({"containers": [{"name": "c", "image": "i", "restartPolicy": "Never",
                          "restartPolicyRules": [RESTARTED] * 21}]},
         "spec.containers[0].restartPolicyRules", "must have at most 20 items"),
        ({"containers": [{"name": "c", "image": "i", "restartPolicy": "Never",
                          "restartPolicyRules": [RESTARTED, {"action": "Restart"}]}]},
         "spec.containers[0].restartPolicyRules[1].exitCodes", "must be specified"),
        ({"containers": [{"name": "c", "image": "i", "restartPolicy": "Never",
                          "restartPolicyRules": [{**RESTARTED, "action": "Reboot"}]}]},
         "spec.containers[0].restartPolicyRules[0].action", 'supported values: "Restart"'),
        ({"containers": [{"name": "c", "image": "i", "securityContext": {"procMount": "Unmasked"}}]},
         "spec.containers[0].securityContext.procMount", "`hostUsers` must be false to use `Unmasked`"),
    ],
)  # fmt: skip
async def test_what_a_pod_may_not_ask_for_is_refused_by_name(
    api: Api, spec: dict[str, Any], field: str, problem: str
) -> None:
    refused = await api.create(PODS, pod("a", **spec))
    assert refused.code == 422, refused.body
    causes = refused.body["details"]["causes"]
    assert [cause["field"] for cause in causes] == [field]
    assert problem in causes[0]["message"]
