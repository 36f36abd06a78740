"""What is wrong with the containers of a pod."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.validation import names, paths
from kontinuum.api.kubernetes.validation.probes import validate_handler, validate_probe
from kontinuum.api.kubernetes.validation.resources import validate_requirements
from kontinuum.api.kubernetes.validation.security import validate_container_security
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
RESTART_POLICIES, RESTART_ACTIONS = ("Always", "Never", "OnFailure"), ("Restart",)
MOST_RULES, MOST_CODES = 20, 255
NOT_EPHEMERAL = (
    "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy",
    "restartPolicy", "restartPolicyRules",
)  # fmt: skip
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
RESOURCE_FIELDS = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
PROPAGATIONS, RECURSIVE = ("Bidirectional", "HostToContainer", "None"), ("Disabled", "Enabled", "IfPossible")
RESIZED, RESIZE_POLICIES = ("cpu", "memory"), ("NotRequired", "RestartContainer")
SUBSCRIPTED = re.compile(r"metadata\.(labels|annotations)\['.+'\]")
SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def validate_containers(spec: Object, path: str) -> list[FieldError]:
    """The init containers and containers of a pod's ``spec``."""
    volumes = {one.get("name") for one in spec.get("volumes") or ()}
    containers, first = spec.get("containers") or [], spec.get("initContainers") or []
    errors = [] if containers else [fields.required(f"{path}.containers")]
    grace, restart = spec.get("terminationGracePeriodSeconds"), spec.get("restartPolicy", "")
    seen: set[str] = set()
    for field, group in (("containers", containers), ("initContainers", first)):
        for index, container in enumerate(group):
            here = f"{path}.{field}[{index}]"
            errors += _container(container, here, volumes)
            if container.get("securityContext"):
                errors += validate_container_security(container["securityContext"], spec, f"{here}.securityContext")
            errors += _unique(container.get("name", ""), seen, f"{here}.name")
            errors += _hooks(container, grace, f"{here}.lifecycle")
            errors += _resize_policies(container, restart, f"{here}.resizePolicy")
            if field == "initContainers":
                errors += _init_container(container, here)
                # Init containers run one after the other, and may have the same port of the host in turn.
                errors += _taken_twice([(here, container)])
        errors += _files_are_in_empty_dirs(spec, field, path)
    errors += _taken_twice([(f"{path}.containers[{index}]", one) for index, one in enumerate(containers)])
    if spec.get("hostNetwork"):
        errors += _host_ports(containers, f"{path}.containers")
    return errors


def validate_ephemeral_containers(spec: Object, path: str) -> list[FieldError]:
    """Those that are added to look into a running pod: they have no part in what the pod needs or promises."""
    volumes = {one.get("name") for one in spec.get("volumes") or ()}
    others = {one.get("name") for field in ("containers", "initContainers") for one in spec.get(field) or ()}
    seen = set(others)
    errors = _files_are_in_empty_dirs(spec, "ephemeralContainers", path)
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        here = f"{path}.ephemeralContainers[{index}]"
        errors += _container(container, here, volumes)
        errors += _unique(container.get("name", ""), seen, f"{here}.name")
        target = container.get("targetContainerName")
        if target and target not in others:
            errors.append(fields.not_found(f"{here}.targetContainerName", target))
        errors += [
            fields.forbidden(f"{here}.{field}", "cannot be set for an Ephemeral Container")
            for field in NOT_EPHEMERAL
            if container.get(field)
        ]
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    where = f"{here}.volumeMounts[{number}].{field}"
                    errors.append(fields.forbidden(where, "cannot be set for an Ephemeral Container"))
    return errors


def _container(container: Object, path: str, volumes: set[Any]) -> list[FieldError]:
    errors = named(container.get("name"), f"{path}.name")
    image = container.get("image", "")
    if not image:
        errors.append(fields.required(f"{path}.image"))
    elif image != image.strip():
        errors.append(fields.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    errors += one_of(container.get("imagePullPolicy"), PULL_POLICIES, f"{path}.imagePullPolicy")
    errors += one_of(container.get("terminationMessagePolicy"), MESSAGE_POLICIES, f"{path}.terminationMessagePolicy")
    if ports := container.get("ports"):
        errors += _ports(ports, f"{path}.ports")
    if variables := container.get("env"):
        errors += _environment(variables, f"{path}.env")
    if sources := container.get("envFrom"):
        errors += _whole_sources(sources, f"{path}.envFrom")
    if mounts := container.get("volumeMounts"):
        errors += _mounts(mounts, f"{path}.volumeMounts", volumes)
        errors += _mount_options(container, mounts, f"{path}.volumeMounts")
    if resources := container.get("resources"):
        errors += validate_requirements(resources, f"{path}.resources")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            errors += validate_probe(container[name], f"{path}.{name}", ends_containers=name != "readinessProbe")
    if "restartPolicy" in container or "restartPolicyRules" in container:
        errors += _restarts(container, path)
    return errors


def _hooks(container: Object, grace: int | None, path: str) -> list[FieldError]:
    lifecycle = container.get("lifecycle") or {}
    return [
        error
        for name in ("postStart", "preStop")
        if name in lifecycle
        for error in validate_handler(lifecycle[name], f"{path}.{name}", grace=grace)
    ]


def _resize_policies(container: Object, restart: str, path: str) -> list[FieldError]:
    """What a change of a resource asks of a container; ``restart`` is the pod's policy."""
    errors = []
    seen: set[str] = set()
    for index, one in enumerate(container.get("resizePolicy") or ()):
        name, policy = one.get("resourceName", ""), one.get("restartPolicy", "")
        errors += _unique(name, seen, f"{path}[{index}]")
        errors += one_of(name, RESIZED, path) + one_of(policy, RESIZE_POLICIES, path)
        if restart == "Never" and policy != "NotRequired":
            problem = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            errors.append(fields.invalid(path, policy, problem))
    return errors


def _restarts(container: Object, path: str) -> list[FieldError]:
    """What a container says of its own about running again (KEP-5307)."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    errors = [fields.required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")]
    if policy:
        errors = one_of(policy, RESTART_POLICIES, f"{path}.restartPolicy")
    if len(rules) > MOST_RULES:
        errors.append(fields.too_many(f"{path}.restartPolicyRules", len(rules), MOST_RULES))
    for index, rule in enumerate(rules):
        here = f"{path}.restartPolicyRules[{index}]"
        errors += one_of(rule.get("action"), RESTART_ACTIONS, f"{here}.action")
        if not (codes := rule.get("exitCodes")):
            errors.append(fields.required(f"{here}.exitCodes", "must be specified"))
            continue
        errors += one_of(codes.get("operator"), ("In", "NotIn"), f"{here}.exitCodes.operator")
        if len(codes.get("values") or ()) > MOST_CODES:
            errors.append(fields.too_many(f"{here}.exitCodes.values", len(codes["values"]), MOST_CODES))
    return errors


def _init_container(container: Object, path: str) -> list[FieldError]:
    """A plain init container ends; only a restartable one (a sidecar) can be probed or have hooks."""
    policy = container.get("restartPolicy")
    if policy == "Always":
        return []
    return [
        fields.forbidden(f"{path}.{name}", "may not be set for init containers without restartPolicy=Always")
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
        if name in container
    ]


def _ports(ports: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{path}[{index}]"
        if name := port.get("name"):
            errors += [fields.invalid(f"{here}.name", name, problem) for problem in names.port_name(name)]
            errors += _unique(name, seen, f"{here}.name")
        number = port.get("containerPort", 0)
        if not number:
            errors.append(fields.required(f"{here}.containerPort"))
        else:
            errors += _port_number(number, f"{here}.containerPort")
        if port.get("hostPort"):
            errors += _port_number(port["hostPort"], f"{here}.hostPort")
        errors += one_of(port.get("protocol"), PROTOCOLS, f"{here}.protocol")
    return errors


def _taken_twice(containers: Sequence[tuple[str, Object]]) -> list[FieldError]:
    """Ports of the host that two of ``containers``, each with its path, would have at the same time."""
    errors = []
    seen: set[str] = set()
    for path, container in containers:
        for index, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                shown = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
                errors += _unique(shown, seen, f"{path}.ports[{index}].hostPort")
    return errors


def _port_number(number: int, path: str) -> list[FieldError]:
    return [fields.invalid(path, number, problem) for problem in names.port_number(number)]


def _host_ports(containers: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    for index, container in enumerate(containers):
        for at, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort") != port.get("containerPort"):
                here = f"{path}[{index}].ports[{at}].containerPort"
                problem = "must match `hostPort` when `hostNetwork` is true"
                errors.append(fields.invalid(here, port.get("containerPort", 0), problem))
    return errors


def _environment(variables: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    for index, variable in enumerate(variables):
        name = variable.get("name", "")
        if names.is_env_name(name) and "valueFrom" not in variable:
            continue
        here = f"{path}[{index}]"
        if not name:
            errors.append(fields.required(f"{here}.name"))
        else:
            errors += [fields.invalid(f"{here}.name", name, problem) for problem in names.env_name(name)]
        if "valueFrom" in variable:
            errors += _value_source(variable, f"{here}.valueFrom")
    return errors


def _value_source(variable: Object, path: str) -> list[FieldError]:
    source = variable["valueFrom"]
    chosen = [one for one in SOURCES if one in source]
    if not chosen:
        listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        return [fields.invalid(path, "", f"must specify one of: {listed}")]
    errors = []
    if variable.get("value"):
        errors.append(fields.invalid(path, "", "may not be specified when `value` is not empty"))
    if len(chosen) > 1:
        errors.append(fields.invalid(path, "", "may not have more than one field specified at a time"))
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            errors += _key_reference(source[name], f"{path}.{name}")
    if "fileKeyRef" in source:
        errors += _file_key(source["fileKeyRef"], f"{path}.fileKeyRef")
    if "fieldRef" in source:
        errors += validate_field_path(source["fieldRef"], f"{path}.fieldRef", FIELD_PATHS)
    if "resourceFieldRef" in source:
        errors += validate_resource_field(source["resourceFieldRef"], f"{path}.resourceFieldRef")
    return errors


def validate_resource_field(reference: Object, path: str) -> list[FieldError]:
    """A ``resourceFieldRef``: an amount that a container asks for or may have."""
    resource = reference.get("resource", "")
    if not resource:
        return [fields.required(f"{path}.resource")]
    if resource in RESOURCE_FIELDS or resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        return []
    return [fields.not_supported(f"{path}.resource", resource, RESOURCE_FIELDS)]


def _key_reference(reference: Object, path: str) -> list[FieldError]:
    name, key = reference.get("name", ""), reference.get("key", "")
    errors = [fields.invalid(f"{path}.name", name, problem) for problem in names.dns_subdomain(name)]
    if not key:
        return [*errors, fields.required(f"{path}.key")]
    return errors + [fields.invalid(f"{path}.key", key, problem) for problem in names.config_key(key)]


def _whole_sources(sources: Sequence[Object], path: str) -> list[FieldError]:
    """``envFrom``: all that a ConfigMap or a Secret holds."""
    errors = []
    for index, source in enumerate(sources):
        here, prefix = f"{path}[{index}]", source.get("prefix", "")
        if prefix:
            errors += [fields.invalid(f"{here}.prefix", prefix, problem) for problem in names.env_name(prefix)]
        chosen = [field for field in ("configMapRef", "secretRef") if field in source]
        for field in chosen:
            name, where = source[field].get("name", ""), f"{here}.{field}.name"
            errors += [] if name else [fields.required(where)]
            errors += [fields.invalid(where, name, one) for one in names.dns_subdomain(name) if name]
        if not chosen:
            errors.append(fields.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        if len(chosen) > 1:
            errors.append(fields.invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _file_key(reference: Object, path: str) -> list[FieldError]:
    """A variable in a file of a volume (KEP-3721)."""
    errors = named(reference.get("volumeName"), f"{path}.volumeName")
    errors += paths.of_file(reference.get("path") or "", f"{path}.path")
    if key := reference.get("key"):
        errors += [fields.invalid(f"{path}.key", key, problem) for problem in names.env_name(key)]
    else:
        errors.append(fields.required(f"{path}.key"))
    return errors


def _files_are_in_empty_dirs(spec: Object, group: str, path: str) -> list[FieldError]:
    """Only what the pod itself has written can be read as an env file."""
    volumes = {one.get("name"): one for one in spec.get("volumes") or ()}
    errors = []
    for index, container in enumerate(spec.get(group) or ()):
        for number, variable in enumerate(container.get("env") or ()):
            name = ((variable.get("valueFrom") or {}).get("fileKeyRef") or {}).get("volumeName")
            here = f"{path}.{group}[{index}].env[{number}].valueFrom.fileKeyRef.volumeName"
            if name and name not in volumes:
                errors.append(fields.not_found(here, name))
            elif name and "emptyDir" not in volumes[name]:
                errors.append(fields.invalid(here, name, "referenced volume must be of type emptyDir"))
    return errors


def validate_field_path(reference: Object, path: str, supported: Sequence[str]) -> list[FieldError]:
    """A ``fieldRef``: one of ``supported``, or a single label or annotation."""
    wanted = reference.get("fieldPath", "")
    if not wanted:
        return [fields.required(f"{path}.fieldPath")]
    if wanted in supported or SUBSCRIPTED.fullmatch(wanted):
        return []
    if not re.match(r"(metadata|spec|status)\.", wanted):
        problem = f'error converting fieldPath: field label not supported: "{wanted}"'
        return [fields.invalid(f"{path}.fieldPath", wanted, problem)]
    return [fields.not_supported(f"{path}.fieldPath", wanted, sorted(supported))]


def _mounts(mounts: Sequence[Object], path: str, volumes: set[Any]) -> list[FieldError]:
    errors = []
    seen = set()
    for index, mount in enumerate(mounts):
        here = f"{path}[{index}]"
        name, where = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(fields.required(f"{here}.name"))
        if name not in volumes:
            errors.append(fields.not_found(f"{here}.name", name))
        if not where:
            errors.append(fields.required(f"{here}.mountPath"))
        elif where in seen:
            errors.append(fields.invalid(f"{here}.mountPath", where, "must be unique"))
        seen.add(where)
        # Kubernetes names the list here, not the mount.
        errors += paths.below(mount.get("subPath", ""), f"{path}.subPath")
        errors += paths.below(mount.get("subPathExpr", ""), f"{path}.subPathExpr")
        if mount.get("subPath") and mount.get("subPathExpr"):
            problem = "subPathExpr and subPath are mutually exclusive"
            errors.append(fields.invalid(f"{here}.subPathExpr", mount["subPathExpr"], problem))
    return errors


def _mount_options(container: Object, mounts: Sequence[Object], path: str) -> list[FieldError]:
    """How mounts of the host and of other containers are seen; what is wrong stands at the list, as in Kubernetes."""
    errors = []
    privileged = (container.get("securityContext") or {}).get("privileged")
    for mount in mounts:
        propagation, recursive = mount.get("mountPropagation"), mount.get("recursiveReadOnly")
        where = f"{path}.mountPropagation"
        if propagation is not None and propagation not in PROPAGATIONS:
            errors.append(fields.not_supported(where, propagation, PROPAGATIONS))
        if propagation == "Bidirectional" and not privileged:
            problem = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(fields.forbidden(where, problem))
        where = f"{path}.recursiveReadOnly"
        if recursive is not None and recursive not in RECURSIVE:
            errors.append(fields.not_supported(where, recursive, RECURSIVE))
        if recursive in ("Enabled", "IfPossible") and not mount.get("readOnly"):
            errors.append(fields.forbidden(where, "may only be specified when readOnly is true"))
        if recursive in ("Enabled", "IfPossible") and propagation not in (None, "None"):
            problem = "may only be specified when mountPropagation is None or not specified"
            errors.append(fields.forbidden(where, problem))
    return errors


def named(name: str | None, path: str) -> list[FieldError]:
    """A required name that is a DNS label."""
    if not name:
        return [fields.required(path)]
    return [fields.invalid(path, name, problem) for problem in names.dns_label(name)]


def one_of(value: str | None, supported: Sequence[str], path: str) -> list[FieldError]:
    if not value:
        return [fields.required(path)]
    return [] if value in supported else [fields.not_supported(path, value, supported)]


def _unique(name: str, seen: set[str], path: str) -> list[FieldError]:
    if not name:
        return []
    errors = [fields.duplicate(path, name)] if name in seen else []
    seen.add(name)
    return errors
