"""PodSecurity: pods are held to the level that their namespace's labels ask for; templates of pods are warned about.

pod       enforce ─▶ refused      audit ─▶ annotation of the audit event      warn ─▶ Warning
template                          audit                                       warn
namespace that becomes stricter                                               which of its pods would be refused
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.pod_security.checks import violations
from kontinuum.api.kubernetes.pod_security.policy import (
    PREFIX,
    PRIVILEGED,
    Policy,
    Standard,
    is_stricter,
    minor_of,
    policy_of,
)
from kontinuum.api.machinery import status
from kontinuum.api.machinery.fields import quoted
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.admission.settings import PodSecuritySettings

MOST_PODS = 3000
"""Pods of one namespace that a change of its labels is checked against."""
SUBRESOURCES = ("", "ephemeralcontainers", "resize")
"""Of pods; the others cannot change what a container may do."""
TEMPLATES: Mapping[Resource, tuple[str, ...]] = {
    r.PODTEMPLATES: ("template",),
    r.CRONJOBS: ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        (r.REPLICATIONCONTROLLERS, r.REPLICASETS, r.DEPLOYMENTS, r.STATEFULSETS, r.DAEMONSETS, r.JOBS),
        ("spec", "template"),
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said about one pod or template; "" where nothing is."""

    refusal: str = ""
    audit: str = ""
    warning: str = ""


class PodSecurity(Base):
    """See the module."""

    below = SUBRESOURCES

    def __init__(self, settings: PodSecuritySettings) -> None:
        self._settings = settings
        self._default = Policy(
            Standard(settings.enforce, minor_of(settings.enforce_version)),
            Standard(settings.audit, minor_of(settings.audit_version)),
            Standard(settings.warn, minor_of(settings.warn_version)),
        )

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.operation not in ("CREATE", "UPDATE") or attributes.obj is None:
            return
        if attributes.resource == r.NAMESPACES:
            await self._judge_namespace(attributes, reader)
        elif attributes.resource == r.PODS and attributes.subresource in SUBRESOURCES:
            if attributes.old is None or is_significant(attributes.obj, attributes.old):
                obj = attributes.obj
                await self._judge(attributes, reader, obj["metadata"], obj.get("spec") or {}, enforce=True)
        elif attributes.resource in TEMPLATES and not attributes.subresource:
            template = _template(attributes.obj, TEMPLATES[attributes.resource])
            if template is not None:
                metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
                await self._judge(attributes, reader, metadata, spec, enforce=False)

    async def _judge(
        self, attributes: Attributes, reader: Reader, metadata: Object, spec: Object, *, enforce: bool
    ) -> None:
        exemption = self._exemption(attributes, spec)
        if exemption:
            attributes.annotations[f"{PREFIX}exempt"] = exemption
            return
        namespace = await reader.find(r.NAMESPACES, "", attributes.namespace)
        policy, errors = policy_of(((namespace or {}).get("metadata") or {}).get("labels"), self._default)
        if errors:
            attributes.annotations[f"{PREFIX}error"] = f"Failed to parse policy: {'; '.join(map(str, errors))}"
        if policy.is_privileged:
            return
        found = finding(policy, metadata, spec, enforce=enforce)
        if enforce:
            attributes.annotations[f"{PREFIX}enforce-policy"] = str(policy.enforce)
        if found.audit:
            attributes.annotations[f"{PREFIX}audit-violations"] = found.audit
        if found.refusal:
            raise status.forbidden(attributes.resource, attributes.name, found.refusal)
        if found.warning:
            attributes.warnings.append(found.warning)

    def _exemption(self, attributes: Attributes, spec: Object) -> str:
        """What the request is exempt by; "" if it is not."""
        settings = self._settings
        if attributes.namespace in settings.exempt_namespaces:
            return "namespace"
        if attributes.user.name in settings.exempt_users:
            return "user"
        return "runtimeClass" if spec.get("runtimeClassName") in settings.exempt_runtime_classes else ""

    async def _judge_namespace(self, attributes: Attributes, reader: Reader) -> None:
        obj, old = attributes.obj or {}, attributes.old
        if attributes.subresource:
            return
        new, errors = policy_of(obj["metadata"].get("labels"), self._default)
        before, known = policy_of(((old or {}).get("metadata") or {}).get("labels"), self._default)
        # Labels that were wrong already do not stand in the way of other changes.
        if errors and (old is None or errors != known):
            raise status.invalid("Namespace", obj["metadata"].get("name") or "", errors)
        if attributes.name in self._settings.exempt_namespaces:
            if new != before:
                attributes.warnings.append(_ignored(attributes.name, new))
            return
        if old is None or new.enforce == before.enforce or new.enforce.level == PRIVILEGED:
            return
        relaxed = not is_stricter(new.enforce.level, before.enforce.level)
        if new.enforce.minor == before.enforce.minor and relaxed:
            return
        pods = await reader.list(r.PODS, attributes.name)
        attributes.warnings += self._warnings(attributes.name, new.enforce, pods)

    def _warnings(self, namespace: str, enforce: Standard, pods: list[Object]) -> list[str]:
        looked_at = one_of_each(pods)
        exempt = self._settings.exempt_runtime_classes
        checked = [pod for pod in looked_at[:MOST_PODS] if (pod["spec"].get("runtimeClassName") or "") not in exempt]
        warnings = []
        if len(looked_at) > MOST_PODS:
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {MOST_PODS} of {len(pods)} existing pods"
            )
        found = grouped(enforce, checked)
        if found:
            where = f"existing pods in namespace {quoted(namespace)}"
            warnings.append(f"{where} violate the new PodSecurity enforce level {quoted(str(enforce))}")
        return warnings + found


def finding(policy: Policy, metadata: Object, spec: Object, *, enforce: bool) -> Finding:
    """What ``policy`` says about a pod, or (without ``enforce``) about a template. Each standard is looked at once."""
    texts: dict[Standard, str] = {}

    def said(standard: Standard) -> str:
        if standard not in texts:
            texts[standard] = ", ".join(map(str, violations(standard, metadata, spec)))
        return texts[standard]

    def would(standard: Standard) -> str:
        return f"would violate PodSecurity {quoted(str(standard))}: {said(standard)}" if said(standard) else ""

    refusal = said(policy.enforce) if enforce else ""
    return Finding(
        f"violates PodSecurity {quoted(str(policy.enforce))}: {refusal}" if refusal else "",
        would(policy.audit),
        # Whoever is refused needs no warning as well.
        "" if refusal else would(policy.warn),
    )


def grouped(enforce: Standard, pods: list[Object]) -> list[str]:
    """``a (and 2 other pods): hostPort, privileged``, one line for all pods that violate the same."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for pod in pods:
        reasons = ", ".join(one.reason for one in violations(enforce, pod["metadata"], pod["spec"]))
        if reasons:
            name = pod["metadata"]["name"]
            first[reasons] = min(name, first.get(reasons, name))
            counts[reasons] += 1
    return sorted(f"{first[reasons]}{_others(count - 1)}: {reasons}" for reasons, count in counts.items())


def one_of_each(pods: list[Object]) -> list[Object]:
    """The first pod of each controller first: the others of its kind are the same again."""
    seen: set[str] = set()
    first: list[Object] = []
    again: list[Object] = []
    for pod in pods:
        owner = next((one for one in pod["metadata"].get("ownerReferences") or () if one.get("controller")), None)
        uid = owner["uid"] if owner else ""
        (again if uid and uid in seen else first).append(pod)
        seen.add(uid)
    return first + again


def is_significant(pod: Object, old: Object) -> bool:
    """An update that could make a pod worse: images, containers that are added, and seccomp's old annotations."""
    return _facts(pod) != _facts(old)


def _facts(pod: Object) -> Object:
    spec = pod.get("spec") or {}
    annotations = pod["metadata"].get("annotations") or {}
    return {
        "annotations": {key: value for key, value in annotations.items() if "seccomp.security.alpha" in key},
        **{
            kind: [(one.get("name"), one.get("image")) for one in spec.get(kind) or ()]
            for kind in ("containers", "initContainers", "ephemeralContainers")
        },
    }


def _template(obj: Object, path: tuple[str, ...]) -> Object | None:
    found: Object | None = obj
    for part in path:
        found = (found or {}).get(part)
    return found


def _others(count: int) -> str:
    if not count:
        return ""
    return " (and 1 other pod)" if count == 1 else f" (and {count} other pods)"


def _ignored(namespace: str, policy: Policy) -> str:
    shown = ", ".join(f"{mode}={standard}" for mode, standard in policy._asdict().items())
    return f"namespace {quoted(namespace)} is exempt from Pod Security, and the policy ({shown}) will be ignored"
