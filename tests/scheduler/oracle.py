"""The scheduler's decision, written as slowly and plainly as possible: one node, one pod, one rule at a time.

Works on API objects alone and shares no code with the scheduler, except for reading quantities.
"""

from __future__ import annotations

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

SOFT = "PreferNoSchedule"


def amounts(quantities: Object) -> dict[str, int]:
    return {name: quantity.milli(text) if name == "cpu" else quantity.value(text) for name, text in quantities.items()}


def container_request(container: Object, resource: str, default: int = 0) -> int:
    return amounts(container.get("resources", {}).get("requests", {})).get(resource, default)


def pod_request(pod: Object, resource: str, default: int = 0) -> int:
    """What the pod asks for of one resource, by going through its life step by step."""
    if resource == "pods":
        return 1
    spec = pod["spec"]
    moments, sidecars = [0], 0
    for container in spec.get("initContainers", []):
        now = container_request(container, resource, default)
        moments.append(sidecars + now)
        if container.get("restartPolicy") == "Always":
            sidecars += now
    moments.append(sidecars + sum(container_request(one, resource, default) for one in spec["containers"]))
    return max(moments) + amounts(spec.get("overhead", {})).get(resource, 0)


def resources_of(pod: Object) -> set[str]:
    names = {"pods", *pod["spec"].get("overhead", {})}
    for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
        names |= set(container.get("resources", {}).get("requests", {}))
    return {name for name in names if pod_request(pod, name)}


def tolerates(pod: Object, taint: Object) -> bool:
    for toleration in pod["spec"].get("tolerations", []):
        key_matches = toleration.get("key", "") in ("", taint["key"])
        effect_matches = toleration.get("effect", "") in ("", taint["effect"])
        equal = toleration.get("value", "") == taint.get("value", "")
        if key_matches and effect_matches and (toleration.get("operator") == "Exists" or equal):
            return True
    return False


def expression_matches(expression: Object, labels: dict[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values", [])
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if key not in labels or not labels[key].lstrip("-").isdigit():
        return False
    return int(labels[key]) > int(values[0]) if operator == "Gt" else int(labels[key]) < int(values[0])


def term_matches(term: Object, node: Object) -> bool:
    labels, fields = node["metadata"]["labels"], {"metadata.name": node["metadata"]["name"]}
    if not term.get("matchExpressions") and not term.get("matchFields"):
        return False
    return all(expression_matches(one, labels) for one in term.get("matchExpressions", [])) and all(
        expression_matches(one, fields) for one in term.get("matchFields", [])
    )


def node_affinity(pod: Object) -> Object:
    return pod["spec"].get("affinity", {}).get("nodeAffinity", {})


def host_ports(pod: Object) -> list[tuple[str, str, int]]:
    return [
        (port.get("protocol", "TCP"), port.get("hostIP", "0.0.0.0"), port["hostPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    ]


def ports_collide(pod: Object, other: Object) -> bool:
    return any(
        one[0] == two[0] and one[2] == two[2] and ("0.0.0.0" in (one[1], two[1]) or one[1] == two[1])
        for one in host_ports(pod)
        for two in host_ports(other)
    )


def why_not(pod: Object, node: Object, others: list[Object]) -> list[str]:
    """Why the pod cannot join ``others`` on the node; empty if it can."""
    taints = node["spec"].get("taints", [])
    cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and not tolerates(pod, cordon):
        return ["node(s) were unschedulable"]
    if any(one["effect"] in ("NoSchedule", "NoExecute") and not tolerates(pod, one) for one in taints):
        return ["node(s) had untolerated taint(s)"]
    labels = node["metadata"]["labels"]
    required = node_affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    if any(labels.get(key) != value for key, value in pod["spec"].get("nodeSelector", {}).items()) or (
        required is not None and not any(term_matches(term, node) for term in required["nodeSelectorTerms"])
    ):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if any(ports_collide(pod, other) for other in others):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return [
        "Too many pods" if resource == "pods" else f"Insufficient {resource}"
        for resource in resources_of(pod)
        if not room_for(pod, node, others, resource)
    ]


def room_for(pod: Object, node: Object, others: list[Object], resource: str) -> bool:
    taken = sum(pod_request(other, resource) for other in others)
    return taken + pod_request(pod, resource) <= amounts(node["status"]["allocatable"]).get(resource, 0)


def victims_could_help(pod: Object, node: Object, reasons: list[str]) -> bool:
    """True if the refusal names only what other pods took; Kubernetes looks no further than the first filter."""
    if reasons == ["node(s) didn't have free ports for the requested pod ports"]:
        return True
    if not reasons or not all(reason.startswith(("Insufficient", "Too many")) for reason in reasons):
        return False
    return all(room_for(pod, node, [], resource) for resource in resources_of(pod))


def points(pod: Object, feasible: dict[str, tuple[Object, list[Object]]]) -> dict[str, int]:
    """The weighed points of each node that fits."""
    disliked = {
        name: sum(
            one["effect"] == "PreferNoSchedule" and not tolerates(pod, one) for one in node["spec"].get("taints", [])
        )
        for name, (node, _) in feasible.items()
    }
    liked = {
        name: sum(
            preferred["weight"]
            for preferred in node_affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution", [])
            if term_matches(preferred["preference"], node)
        )
        for name, (node, _) in feasible.items()
    }
    most_disliked, most_liked = max(disliked.values()), max(liked.values())
    return {
        name: 3 * (100 - 100 * disliked[name] // most_disliked if most_disliked else 100)
        + 2 * (100 * liked[name] // most_liked if most_liked else 0)
        + room(pod, node, others)
        + balance(pod, node, others)
        for name, (node, others) in feasible.items()
    }


def room(pod: Object, node: Object, others: list[Object]) -> int:
    shares = []
    for resource, default in (("cpu", 100), ("memory", 200 << 20)):
        capacity = amounts(node["status"]["allocatable"]).get(resource, 0)
        used = sum(pod_request(one, resource, default) for one in [*others, pod])
        if capacity:
            shares.append(int(max(0, capacity - used) / capacity * 100))
    return sum(shares) // len(shares) if shares else 0


def balance(pod: Object, node: Object, others: list[Object]) -> int:
    used = {}
    for resource in ("cpu", "memory"):
        capacity = max(1, amounts(node["status"]["allocatable"]).get(resource, 0))
        used[resource] = min(1.0, sum(pod_request(one, resource) for one in [*others, pod]) / capacity)
    return int((1 - abs(used["cpu"] - used["memory"]) / 2) * 100)
