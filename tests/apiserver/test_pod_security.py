"""The Pod Security Standards: what is refused, warned about and noted, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Api, deployment, pod

from kontinuum.api.kubernetes.pod_security.checks import violations
from kontinuum.api.kubernetes.pod_security.policy import LATEST, Policy, Standard, policy_of
from kontinuum.apiserver.admission.pod_security import grouped, one_of_each

LABEL = "pod-security.kubernetes.io/"
GOOD = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def found(level: str, spec: dict[str, Any], minor: int = LATEST, **annotations: str) -> list[str]:
    metadata = {"annotations": {key.replace("__", "/"): value for key, value in annotations.items()}}
    return [str(one) for one in violations(Standard(level, minor), metadata, spec)]


def container(**more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a", **more}]}


def secured(**security: Any) -> dict[str, Any]:
    return container(securityContext=security)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (secured(appArmorProfile={"type": "Unconfined"}),
         'forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")'),
        (secured(capabilities={"add": ["SYS_ADMIN", "KILL"]}), 'non-default capabilities (container "a" must not '
         'include "SYS_ADMIN" in securityContext.capabilities.add)'),
        ({**container(), "hostNetwork": True, "hostIPC": True}, "host namespaces (hostNetwork=true, hostIPC=true)"),
        ({**container(), "volumes": [{"name": "v", "hostPath": {}}, {"name": "w", "hostPath": {}}]},
         'hostPath volumes (volumes "v", "w")'),
        (container(ports=[{"hostPort": 80}]), 'hostPort (container "a" uses hostPort 80)'),
        (container(livenessProbe={"httpGet": {"host": "evil"}}),
         'probe or lifecycle host (container "a" uses probe or lifecycle host "evil")'),
        (secured(privileged=True), 'privileged (container "a" must not set securityContext.privileged=true)'),
        (secured(procMount="Unmasked"),
         'procMount (container "a" must not set securityContext.procMount to "Unmasked")'),
        (secured(seLinuxOptions={"type": "spc_t", "user": "u"}), 'seLinuxOptions (container "a" set forbidden '
         'securityContext.seLinuxOptions: type "spc_t"; user may not be set)'),
        ({**container(), "securityContext": {"seccompProfile": {"type": "Unconfined"}}},
         'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'),
        ({**container(), "securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}},
         "forbidden sysctls (kernel.msgmax)"),
        (secured(windowsOptions={"hostProcess": True}),
         'hostProcess (container "a" must not set securityContext.windowsOptions.hostProcess=true)'),
    ],
)  # fmt: skip
def test_the_baseline_forbids_what_leads_out_of_a_container(spec: dict[str, Any], expected: str) -> None:
    assert found("baseline", container()) == [] and found("privileged", spec) == []
    assert found("baseline", spec) == [expected]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (secured(**{**GOOD, "allowPrivilegeEscalation": True}), "allowPrivilegeEscalation != false (container "
         '"a" must set securityContext.allowPrivilegeEscalation=false)'),
        (secured(**{**GOOD, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}), "unrestricted capabilities "
         '(container "a" must not include "CHOWN" in securityContext.capabilities.add)'),
        ({**secured(**GOOD), "volumes": [{"name": "v", "nfs": {}}]},
         'restricted volume types (volume "v" uses restricted volume type "nfs")'),
        (secured(**{**GOOD, "runAsNonRoot": False}),
         'runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)'),
        ({**secured(**GOOD, runAsUser=0), "securityContext": {"runAsUser": 0}},
         'runAsUser=0 (pod and container "a" must not set runAsUser=0)'),
        (secured(**{**GOOD, "seccompProfile": {"type": "Unconfined"}}), 'seccompProfile (container "a" must not set '
         'securityContext.seccompProfile.type to "Unconfined")'),
    ],
)  # fmt: skip
def test_the_restricted_level_asks_for_more(spec: dict[str, Any], expected: str) -> None:
    assert found("restricted", secured(**GOOD)) == []
    assert found("restricted", spec) == [expected]


def test_what_was_not_known_in_a_version_is_not_checked_in_it() -> None:
    spec = {**container(), "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}
    assert found("baseline", spec, 31) != [] and found("baseline", spec, 32) == []
    probe = container(livenessProbe={"tcpSocket": {"host": "evil"}})
    assert found("baseline", probe, 33) == [] and found("baseline", probe, 34) != []
    assert [one.partition(" (")[0] for one in found("restricted", container(), 7)] == ["runAsNonRoot != true"]
    old = {"seccomp.security.alpha.kubernetes.io__pod": "unconfined"}
    assert found("baseline", container(), 18, **old) == [
        'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    ]


def test_windows_pods_are_spared_what_windows_does_not_have() -> None:
    spec = {**secured(runAsNonRoot=True), "os": {"name": "windows"}}
    assert found("restricted", spec) == [] and len(found("restricted", spec, 24)) == 3


def test_labels_say_what_holds_and_broken_ones_are_read_strictly() -> None:
    policy, errors = policy_of({f"{LABEL}enforce": "baseline", f"{LABEL}enforce-version": "v1.27"}, Policy())
    assert (str(policy.enforce), str(policy.warn), errors) == ("baseline:v1.27", "privileged:latest", [])
    policy, errors = policy_of({f"{LABEL}enforce": "tight", f"{LABEL}warn": "tight"}, Policy())
    assert (str(policy.enforce), str(policy.warn)) == ("restricted:latest", "privileged:latest")
    assert [str(one) for one in errors] == [
        f'metadata.labels[{LABEL}{mode}]: Invalid value: "tight": must be one of privileged, baseline, restricted'
        for mode in ("enforce", "warn")
    ]


def test_pods_of_one_controller_are_looked_at_once_before_the_others() -> None:
    def owned(name: str, uid: str = "") -> dict[str, Any]:
        owners = [{"uid": uid, "controller": True}] if uid else []
        return {"metadata": {"name": name, "ownerReferences": owners}, "spec": secured(privileged=True)}

    pods = [owned("a", "u"), owned("b", "u"), owned("c"), owned("d", "v")]
    assert [one["metadata"]["name"] for one in one_of_each(pods)] == ["a", "c", "d", "b"]
    assert grouped(Standard("baseline"), pods) == ["a (and 3 other pods): privileged"]


async def labelled(api: Api, **modes: str) -> Any:
    labels = {LABEL + mode: level for mode, level in modes.items()}
    return await api.patch("/api/v1/namespaces/default", {"metadata": {"labels": labels}})


async def test_a_pod_that_violates_what_is_enforced_is_refused(api: Api) -> None:
    await labelled(api, enforce="restricted")
    refused = await api.create(PODS, pod("a", automountServiceAccountToken=False))
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == (
        'pods "a" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container '
        '"main" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "main" '
        'must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "main" must set '
        'securityContext.runAsNonRoot=true), seccompProfile (pod or container "main" must set '
        'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )


async def test_templates_are_made_with_a_warning(api: Api) -> None:
    await labelled(api, enforce="restricted", warn="baseline")
    good = deployment("a")
    assert "Warning" not in (await api.create("/apis/apps/v1/namespaces/default/deployments", good)).headers
    bad = deployment("b")
    bad["spec"]["template"]["spec"]["hostPID"] = True
    made = await api.create("/apis/apps/v1/namespaces/default/deployments", bad)
    assert made.code == 201
    assert made.headers["Warning"] == (
        '299 - "would violate PodSecurity \\"baseline:latest\\": host namespaces (hostPID=true)"'
    )


async def test_a_namespace_that_becomes_stricter_tells_which_pods_would_be_refused(api: Api) -> None:
    for name in ("b", "a"):
        created = await api.create(PODS, pod(name, hostNetwork=True, automountServiceAccountToken=False))
        assert created.code == 201, created.body
    answered = await labelled(api, enforce="baseline")
    assert answered.code == 200
    assert [one.partition(" - ")[2] for one in answered.headers.getall("Warning")] == [
        '"existing pods in namespace \\"default\\" violate the new PodSecurity enforce level \\"baseline:latest\\""',
        '"a (and 1 other pod): host namespaces"',
    ]
    refused = await labelled(api, enforce="tight")
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
