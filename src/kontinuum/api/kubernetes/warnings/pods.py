"""Warnings about pods and their templates (kubernetes ``pkg/api/pod/warnings.go``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.quantity import InvalidQuantity

OLD_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
}
"""Of nodes (``pkg/api/node/util.go``)."""
OLD_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
OLD_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
PLACING = frozenset({"nodeSelector", "affinity", "topologySpreadConstraints"})
WHOLE_BYTES = ("memory", "ephemeral-storage")
# What nearly everybody writes, told from the rest faster than by reading it.
_whole = re.compile(r"\d+([KMGTPE]i|[kMGTPE])?").fullmatch


def of_pod(pod: Object, path: str = "") -> Iterator[str]:
    """``path`` is where the pod (or template) is in its object, ending in a dot."""
    spec, metadata = pod.get("spec") or {}, pod.get("metadata") or {}
    if not PLACING.isdisjoint(spec):
        yield from _placing(spec, f"{path}spec.")
    if annotations := metadata.get("annotations"):
        yield from _annotations(spec, annotations, f"{path}metadata.annotations")
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind in OLD_VOLUMES.keys() & volume.keys():
            yield f"{path}spec.volumes[{index}].{_go_name(kind)}: {OLD_VOLUMES[kind]}"
    if aliases := spec.get("hostAliases"):
        yield from _repeated(aliases, "ip", f"{path}spec.hostAliases")
    if secrets := spec.get("imagePullSecrets"):
        yield from _repeated(secrets, "name", f"{path}spec.imagePullSecrets")
        for index, secret in enumerate(secrets):
            if not secret.get("name"):
                yield f'{path}spec.imagePullSecrets[{index}].name: invalid empty name ""'
    if overhead := spec.get("overhead"):
        yield from _fractions(overhead, f"{path}spec.overhead")
    yield from _containers(spec, f"{path}spec.")
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        problem = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{path}spec.terminationGracePeriodSeconds: {problem}"


def of_selector_terms(terms: Iterable[Object], path: str) -> Iterator[str]:
    """Node selector terms, here and in PersistentVolumes."""
    for position, term in enumerate(terms):
        yield from _term(term, f"{path}[{position}]")


def _term(term: Object, path: str) -> Iterator[str]:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if key in OLD_LABELS:
            yield f"{path}.matchExpressions[{index}].key: {key} is {OLD_LABELS[key]}"


def _placing(spec: Object, path: str) -> Iterator[str]:
    for key in (spec.get("nodeSelector") or {}).keys() & OLD_LABELS.keys():
        yield f"{path}nodeSelector[{key}]: {OLD_LABELS[key]}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    below = f"{path}affinity.nodeAffinity."
    terms = required.get("nodeSelectorTerms") or ()
    yield from of_selector_terms(terms, f"{below}requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    for index, term in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        where = f"{below}preferredDuringSchedulingIgnoredDuringExecution[{index}].preference"
        yield from _term(term.get("preference") or {}, where)
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        where, key = f"{path}topologySpreadConstraints[{index}]", spread.get("topologyKey", "")
        if key in OLD_LABELS:
            yield f"{where}.topologyKey: {key} is {OLD_LABELS[key]}"
        if spread.get("labelSelector") is None:
            yield f"{where}.labelSelector: a null labelSelector results in matching no pod"


def _annotations(spec: Object, annotations: Object, path: str) -> Iterator[str]:
    for key in OLD_ANNOTATIONS.keys() & annotations.keys():
        yield f"{path}[{key}]: {OLD_ANNOTATIONS[key]}"
    if SECCOMP in annotations and not (spec.get("securityContext") or {}).get("seccompProfile"):
        yield f'{path}[{SECCOMP}]: non-functional in v1.27+; use the "seccompProfile" field instead'


def _repeated(items: Iterable[Object], field: str, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = item.get(field) or ""
        if value in seen:
            yield f'{path}[{index}].{field}: duplicate {field} "{value}"'
        seen.add(value)


def _containers(spec: Object, path: str) -> Iterator[str]:
    ports: dict[tuple[int, str], list[tuple[str, Object]]] = {}
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            where = f"{path}{group}[{index}]"
            resources = container.get("resources") or {}
            for side in ("limits", "requests"):
                if amounts := resources.get(side):
                    yield from _fractions(amounts, f"{where}.resources.{side}")
            if (env := container.get("env")) and len({one.get("name") for one in env}) < len(env):
                yield from _hidden(env, f"{where}.env")
            if its_ports := container.get("ports"):
                yield from _ports(its_ports, f"{where}.ports", ports)


def _fractions(amounts: Object, path: str) -> Iterator[str]:
    for name in WHOLE_BYTES:
        amount = amounts.get(name)
        if amount is None or _whole(str(amount)):
            continue
        try:
            is_whole = quantity.milli(amount) % 1000 == 0
        except InvalidQuantity:
            continue
        if not is_whole:
            yield f'{path}[{name}]: fractional byte value "{quantity.canonical(amount)}" is invalid, must be an integer'


def _hidden(env: Iterable[Object], path: str) -> Iterator[str]:
    """A variable that is set again, unless its new value is made of the old one."""
    seen: set[str] = set()
    for index, variable in enumerate(env):
        name, value = variable.get("name", ""), variable.get("value") or ""
        reference = f"$({name})"
        if name in seen and (variable.get("valueFrom") or value == reference or reference not in value):
            yield f'{path}[{index}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(ports: Iterable[Object], path: str, known: dict[tuple[int, str], list[tuple[str, Object]]]) -> Iterator[str]:
    """``known`` are the ports of the containers before, by number and protocol."""
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        others = known.setdefault((port.get("containerPort", 0), port.get("protocol") or "TCP"), [])
        for other_where, other in others:
            relation = _relation(port, other)
            if relation:
                yield f"{where}: {relation} port definition with {other_where}"
        others.append((where, port))


def _relation(port: Object, other: Object) -> str:
    mine, theirs = port.get("hostPort") or 0, other.get("hostPort") or 0
    address, other_address = port.get("hostIP") or "", other.get("hostIP") or ""
    if (mine, address) == (theirs, other_address):
        return "duplicate"
    if not mine or not theirs:
        return "overlapping"
    return "overlapping" if mine == theirs and not (address and other_address) else ""


def _go_name(volume: str) -> str:
    return "storageOS" if volume == "storageos" else volume
