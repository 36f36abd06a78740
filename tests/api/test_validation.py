"""What is wrong is said in Kubernetes' own words, at Kubernetes' own paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery.patches import copy

CONTAINER = {"name": "a", "image": "nginx:1"}
FREELY_NAMED = {r.CERTIFICATESIGNINGREQUESTS, r.CLUSTERROLEBINDINGS, r.CLUSTERROLES, r.ROLEBINDINGS, r.ROLES}
"""Capitals and underscores are fine for these."""
LIBRARIES = {"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "coordination.k8s.io"}
"""The groups whose kinds Kubernetes checks with its libraries' rules alone, as it does custom resources."""


def problems(resource: Any, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    kind = KINDS[resource]
    for one in (obj, old):
        if one is not None:
            meta = one.setdefault("metadata", {})
            meta.setdefault("name", "x")
            if resource.namespaced:
                meta.setdefault("namespace", "default")
            kind.default(one)
    return [str(error) for error in kind.validate(obj, old)]


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [copy(CONTAINER)], **spec}}


def container(**more: Any) -> dict[str, Any]:
    return pod(containers=[{**CONTAINER, **more}])


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [copy(CONTAINER)]}}
    return {"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}}


def test_good_objects_have_no_problems() -> None:
    assert problems(r.PODS, pod(volumes=[{"name": "v"}], nodeSelector={"a": "b"})) == []
    assert problems(r.DEPLOYMENTS, deployment()) == []
    assert problems(r.SERVICES, {"spec": {"ports": [{"port": 80}]}}) == []


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod(containers=[]), "spec.containers: Required value"),
        (container(image=""), "spec.containers[0].image: Required value"),
        (container(imagePullPolicy="Sometimes"),
         'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": '
         'supported values: "Always", "IfNotPresent", "Never"'),
        (container(name="A_b"),
         "spec.containers[0].name: Invalid value: \"A_b\": a lowercase RFC 1123 label must consist of lower case "
         "alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  "
         "or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"),
        (container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
         'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        (container(resources={"limits": {"memory": "-1"}}),
         'spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0'),
        (container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
         'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        (container(ports=[{"containerPort": 70000}]),
         "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        (pod(hostNetwork=True, containers=[{**CONTAINER, "ports": [{"containerPort": 80, "hostPort": 81}]}]),
         "spec.containers[0].ports[0].containerPort: Invalid value: 80: "
         "must match `hostPort` when `hostNetwork` is true"),
        (container(env=[{"name": "A", "valueFrom": {}}]),
         'spec.containers[0].env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, '
         "`resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"),
        (container(livenessProbe={}), "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (container(env=[{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "../x"}}}]),
         'spec.containers[0].env[0].valueFrom.fileKeyRef.path: Invalid value: "../x": must not contain \'..\''),
        (container(env=[{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "x", "key": "B"}}}]),
         'spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: "v"'),
        (pod(volumes=[{"name": "v", "configMap": {"name": "c"}}], containers=[{**CONTAINER, "env": [
            {"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "x", "key": "B"}}}]}]),
         'spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: "v": '
         "referenced volume must be of type emptyDir"),
        (pod(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}),
         'spec.resources.requests: Invalid value: "1": must be less than or equal to cpu limit of 500m'),
        (pod(resources={"limits": {"example.org/x": "1"}}),
         'spec.resources.limits[example.org/x]: Unsupported value: "example.org/x": '
         'supported values: "cpu", "hugepages-", "memory"'),
        (pod(resources={"requests": {"cpu": "1"}},
             containers=[{**CONTAINER, "resources": {"requests": {"cpu": "1500m"}}}]),
         'spec.resources.requests[cpu]: Invalid value: "1": '
         "must be greater than or equal to aggregate container requests of 1500m"),
        (pod(resources={"limits": {"memory": "1Mi"}},
             containers=[{**CONTAINER, "resources": {"limits": {"memory": "2Mi"}}}]),
         'spec.containers[0].resources.limits[memory]: Invalid value: "2Mi": '
         "must be less than or equal to pod limits of 1Mi"),
        (pod(hostnameOverride="a", setHostnameAsFQDN=True),
         "spec.hostnameOverride: Forbidden: may not be set when `setHostnameAsFQDN` is true"),
        (pod(restartPolicy="Perhaps"),
         'spec.restartPolicy: Unsupported value: "Perhaps": supported values: "Always", "OnFailure", "Never"'),
        (pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
         "spec.tolerations[0].operator: Invalid value: "
         '{"key":"a","operator":"Exists","value":"b"}: value must be empty when `operator` is \'Exists\''),
        (pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
         "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
        (pod(activeDeadlineSeconds=0),
         "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
    ],
)  # fmt: skip
def test_a_bad_pod_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert expected in problems(r.PODS, obj)


MOUNTED = {"volumes": [{"name": "v"}]}
HEADER = (
    "a valid HTTP header must consist of alphanumeric characters or '-' "
    "(e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def mounted(**mount: Any) -> dict[str, Any]:
    return pod(**MOUNTED, containers=[{**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}])


def two_ports(*numbers: int) -> list[dict[str, int]]:
    return [{"containerPort": 80 + index, "hostPort": number} for index, number in enumerate(numbers)]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (container(ports=two_ports(80, 80)), 'ports[1].hostPort: Duplicate value: "TCP//80"'),
        (container(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]),
         'env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", '
         '"limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", '
         '"requests.memory"'),
        (container(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "B_", "key": "a"}}}]),
         f'env[0].valueFrom.configMapKeyRef.name: Invalid value: "B_": {SUBDOMAIN}'),
        (container(envFrom=[{}]), 'envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'),
        (container(envFrom=[{"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}]),
         'envFrom: Invalid value: "": may not have more than one field specified at a time'),
        (container(envFrom=[{"secretRef": {}}]), "envFrom[0].secretRef.name: Required value"),
        (container(envFrom=[{"configMapRef": {"name": "B_"}}]),
         f'envFrom[0].configMapRef.name: Invalid value: "B_": {SUBDOMAIN}'),
        (container(envFrom=[{"prefix": "a=", "configMapRef": {"name": "b"}}]),
         'envFrom[0].prefix: Invalid value: "a=": a valid environment variable name must consist only of printable '
         "ASCII characters other than '='"),
        (mounted(subPath="../x"), "volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'"),
        (mounted(mountPropagation="Bidirectional"),
         "volumeMounts.mountPropagation: Forbidden: "
         "Bidirectional mount propagation is available only to privileged containers"),
        (mounted(mountPropagation="Both"),
         'volumeMounts.mountPropagation: Unsupported value: "Both": '
         'supported values: "Bidirectional", "HostToContainer", "None"'),
        (mounted(recursiveReadOnly="Enabled"),
         "volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"),
        (mounted(readOnly=True, recursiveReadOnly="IfPossible", mountPropagation="HostToContainer"),
         "volumeMounts.recursiveReadOnly: Forbidden: "
         "may only be specified when mountPropagation is None or not specified"),
        (mounted(recursiveReadOnly="Maybe"),
         'volumeMounts.recursiveReadOnly: Unsupported value: "Maybe": '
         'supported values: "Disabled", "Enabled", "IfPossible"'),
        (container(readinessProbe={"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 1}),
         "readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes"),
        (container(livenessProbe={"httpGet": {"port": 80, "httpHeaders": [{"name": "a b", "value": ""}]}}),
         f'livenessProbe.httpGet.httpHeaders: Invalid value: "a b": {HEADER}'),
        (container(lifecycle={"preStop": {"sleep": {"seconds": 31}}}),
         "lifecycle.preStop.sleep: Invalid value: 31: "
         "must be non-negative and less than terminationGracePeriodSeconds (30)"),
        (container(resources={"limits": {"example.com/gpu": "1500m"}}),
         'resources.limits[example.com/gpu]: Invalid value: "1500m": must be an integer'),
        (container(resizePolicy=[{"resourceName": "gpu", "restartPolicy": "NotRequired"}]),
         'resizePolicy: Unsupported value: "gpu": supported values: "cpu", "memory"'),
        (container(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "Maybe"}]),
         'resizePolicy: Unsupported value: "Maybe": supported values: "NotRequired", "RestartContainer"'),
        (container(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2),
         'resizePolicy[1]: Duplicate value: "cpu"'),
    ],
)  # fmt: skip
def test_a_bad_container_is_refused(obj: dict[str, Any], expected: str) -> None:
    found = [error for error in problems(r.PODS, obj) if not error.startswith("spec.containers[0].resources.requests")]
    assert found == [f"spec.containers[0].{expected}"]


SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
NEEDED = "requiredDuringSchedulingIgnoredDuringExecution"


def near(**term: Any) -> dict[str, Any]:
    return pod(affinity={"podAffinity": {NEEDED: [{"topologyKey": "zone", **term}]}})


def on_fields(**requirement: Any) -> dict[str, Any]:
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"], **requirement}]}]
    return pod(affinity={"nodeAffinity": {NEEDED: {"nodeSelectorTerms": terms}}})


def with_sysctl(name: str, **spec: Any) -> dict[str, Any]:
    return pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)


FIELDS = f"affinity.nodeAffinity.{NEEDED}.nodeSelectorTerms[0].matchFields[0]"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod(topologySpreadConstraints=[{**SPREAD, "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}]),
         "topologySpreadConstraints[0].minDomains: Invalid value: 2: "
         "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"),
        (pod(topologySpreadConstraints=[{**SPREAD, "minDomains": 0}]),
         "topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero"),
        (pod(topologySpreadConstraints=[SPREAD, SPREAD]),
         "topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: "
         'Duplicate value: "{zone, DoNotSchedule}"'),
        (pod(topologySpreadConstraints=[{**SPREAD, "labelSelector": None, "matchLabelKeys": ["a"]}]),
         "topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"),
        (pod(topologySpreadConstraints=[{**SPREAD, "nodeTaintsPolicy": "Maybe"}]),
         'topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: "Maybe": '
         'supported values: "Honor", "Ignore"'),
        (near(namespaces=["A"]), f'affinity.podAffinity.{NEEDED}[0].namespace: Invalid value: "A": {LABEL}'),
        (near(mismatchLabelKeys=["a"]),
         f"affinity.podAffinity.{NEEDED}[0].mismatchLabelKeys: Forbidden: "
         "must not be specified when labelSelector is not set"),
        (on_fields(key="spec.x"), f'{FIELDS}.key: Invalid value: "spec.x": not a valid field selector key'),
        (on_fields(operator="Exists"), f'{FIELDS}.operator: Invalid value: "Exists": not a valid selector operator'),
        (on_fields(values=["a", "b"]),
         f"{FIELDS}.values: Required value: "
         "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"),
        (with_sysctl("kernel.shmmax", hostIPC=True),
         'securityContext.sysctls[0].name: Invalid value: "kernel.shmmax": '
         "may not be specified when 'hostIPC' is true"),
        (with_sysctl("net/core/somaxconn", hostNetwork=True),
         'securityContext.sysctls[0].name: Invalid value: "net/core/somaxconn": '
         "may not be specified when 'hostNetwork' is true"),
        (pod(schedulingGates=[{"name": "a"}], nodeName="n"),
         "nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"),
        (pod(hostUsers=False, hostPID=True), "HostPID: Forbidden: when `hostUsers` is false"),
    ],
)  # fmt: skip
def test_what_a_pod_wants_must_fit_together(obj: dict[str, Any], expected: str) -> None:
    assert problems(r.PODS, obj) == [f"spec.{expected}"]


@pytest.mark.parametrize(
    "obj",
    [
        on_fields(),
        near(labelSelector={}, matchLabelKeys=["a"]),
        mounted(mountPropagation="HostToContainer"),
        container(lifecycle={"preStop": {"sleep": {"seconds": 30}}}),
        pod(initContainers=[{"name": name, "image": "a", "ports": two_ports(80)} for name in ("b", "c")]),
        pod(imagePullSecrets=[{}]),
        with_sysctl("kernel.shmmax", hostNetwork=True),
    ],
)
def test_what_only_looks_wrong_is_taken(obj: dict[str, Any]) -> None:
    assert problems(r.PODS, obj) == []


def test_metadata_is_checked_for_every_kind() -> None:
    bad = {"metadata": {"name": "Up_per", "labels": {"a b": "c", "ok": "no spaces!"}, "finalizers": ["plain"]}}
    for resource in KINDS:
        spec = deployment() if resource.group == "apps" else {}
        found = "\n".join(problems(resource, {**copy(bad), **spec}))
        assert 'metadata.name: Invalid value: "Up_per"' in found or resource in FREELY_NAMED
        assert 'metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters' in found
        assert 'metadata.labels: Invalid value: "no spaces!": a valid label must be an empty string or' in found
        refused = "name is neither a standard finalizer name nor is it fully qualified" in found
        assert refused == (resource.group not in LIBRARIES)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (container(image="nginx:2"), []),
        (pod(activeDeadlineSeconds=10), []),
        (pod(tolerations=[{"key": "a", "operator": "Exists"}]), []),
        (pod(nodeSelector={"a": "b"}), ["spec: Forbidden: pod updates may not change fields other than"]),
        (container(command=["x"]), ["spec: Forbidden: pod updates may not change fields other than"]),
        (pod(containers=[CONTAINER, {**CONTAINER, "name": "b"}]),
         ["spec.containers: Forbidden: pod updates may not add or remove containers"]),
    ],
)  # fmt: skip
def test_of_a_pod_only_a_few_fields_may_change(changed: dict[str, Any], expected: list[str]) -> None:
    found = problems(r.PODS, copy(changed), pod())
    assert len(found) == len(expected)
    assert all(have.startswith(want) for have, want in zip(found, expected, strict=True))


def test_tolerations_may_be_added_but_not_taken_away() -> None:
    toleration = {"key": "a", "operator": "Exists", "effect": "NoExecute"}
    longer = {**toleration, "tolerationSeconds": 9}
    assert problems(r.PODS, pod(tolerations=[longer]), pod(tolerations=[toleration])) == []
    assert problems(r.PODS, pod(), pod(tolerations=[toleration])) == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"selector": None}, "spec.selector: Required value"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
        ({"selector": {"matchLabels": {"app": "db"}}},
         'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'),
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {}}},
         "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
        ({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
         "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
        ({"progressDeadlineSeconds": 5, "minReadySeconds": 5},
         "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"),
    ],
)  # fmt: skip
def test_a_bad_deployment_is_refused(spec: dict[str, Any], expected: str) -> None:
    obj = deployment(**spec)
    obj["spec"] = {key: value for key, value in obj["spec"].items() if value is not None}
    assert expected in problems(r.DEPLOYMENTS, obj)


def test_a_selector_cannot_change() -> None:
    new = deployment(selector={"matchLabels": {"app": "web", "b": "c"}})
    new["spec"]["template"]["metadata"]["labels"]["b"] = "c"
    assert problems(r.DEPLOYMENTS, new, deployment()) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","b":"c"}}: field is immutable'
    ]


def test_immutable_data_stays() -> None:
    old = {"immutable": True, "data": {"a": "1"}}
    assert problems(r.CONFIGMAPS, {"data": {"a": "2"}}, copy(old)) == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]
    assert problems(r.CONFIGMAPS, copy(old), copy(old)) == []


def test_secrets_have_what_their_type_needs() -> None:
    assert problems(r.SECRETS, {"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}}) == [
        "data[tls.key]: Required value"
    ]
    assert problems(r.SECRETS, {"type": "a"}, {"type": "b"}) == ['type: Invalid value: "a": field is immutable']
    too_large = {"data": {"a": "AAAA" * (350 * 1024)}}
    assert problems(r.SECRETS, too_large) == ["data: Too long: may not be more than 1048576 bytes"]


def test_names_follow_each_kinds_own_rule() -> None:
    assert problems(r.PODS, {**pod(), "metadata": {"name": "a.b"}}) == []
    assert len(problems(r.NAMESPACES, {"metadata": {"name": "a.b"}})) == 1
    assert len(problems(r.SERVICES, {"spec": {"ports": [{"port": 1}]}, "metadata": {"name": "1a"}})) == 1


def test_identity_never_changes() -> None:
    old = {"metadata": {"name": "x", "uid": "1"}}
    assert problems(r.CONFIGMAPS, {"metadata": {"name": "x", "uid": "2"}}, old) == [
        'metadata.uid: Invalid value: "2": field is immutable'
    ]


def test_no_finalizer_is_added_to_an_object_that_is_going() -> None:
    old = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}}
    new = copy(old)
    new["metadata"]["finalizers"].append("a.b/d")
    assert problems(r.CONFIGMAPS, new, old) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"a.b/d"}'
    ]


def taking(*taken: dict[str, str], claims: Any = ()) -> dict[str, Any]:
    return pod(containers=[{**CONTAINER, "resources": {"claims": list(taken)}}], resourceClaims=list(claims))


GPU = {"name": "gpu", "resourceClaimName": "mine"}
TAKEN = "spec.containers[0].resources.claims[0]"


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (taking({"name": "gpu"}, claims=[GPU]), []),
        (taking({"name": "gpu", "request": "a"}, {"name": "gpu", "request": "b"}, claims=[GPU]), []),
        (pod(resourceClaims=[{"name": "gpu"}]),
         ['spec.resourceClaims[0]: Invalid value: {"name":"gpu"}: must specify one of: `resourceClaimName`, '
          "`resourceClaimTemplateName`"]),
        (pod(resourceClaims=[{**GPU, "resourceClaimTemplateName": "t"}]),
         ['spec.resourceClaims[0]: Invalid value: {"name":"gpu","resourceClaimName":"mine",'
          '"resourceClaimTemplateName":"t"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be '
          "specified"]),
        (pod(resourceClaims=[GPU, GPU]), ['spec.resourceClaims[1].name: Duplicate value: "gpu"']),
        (taking({"name": "gpu"}),
         [f'{TAKEN}.name: Not found: "gpu": must be one of the names in pod.spec.resourceClaims which is empty']),
        (taking({"name": "tpu"}, claims=[GPU]),
         [f'{TAKEN}.name: Not found: "tpu": must be one of the names in pod.spec.resourceClaims']),
        (taking({"name": "gpu", "request": "a"}, {"name": "gpu"}, claims=[GPU]),
         [f'{TAKEN.replace("claims[0]", "claims[1]")}: Duplicate value: "gpu"']),
    ],
)  # fmt: skip
def test_a_pods_devices_have_a_claim_each(obj: dict[str, Any], said: list[str]) -> None:
    assert problems(r.PODS, obj) == said


@pytest.mark.parametrize(
    ("check", "limit", "unit"),
    [
        (names.dns_label, 63, "characters"),
        (names.dns_subdomain, 253, "characters"),
        (names.dns_1035_label, 63, "characters"),
        (names.config_key, 253, "characters"),
        (names.label_value, 63, "bytes"),
    ],
)
def test_names_say_how_long_they_may_be(check: Callable[[str], list[str]], limit: int, unit: str) -> None:
    assert check("a" * limit) == []
    assert check("a" * (limit + 1)) == [f"must be no more than {limit} {unit}"]
