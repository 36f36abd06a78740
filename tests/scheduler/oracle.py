"""The scheduler's decision, written as slowly and plainly as possible: one node, one pod, one rule at a time.

Works on API objects alone and shares no code with the scheduler, except for reading quantities. The rules are those of
Kubernetes 1.36's default plugins (pkg/scheduler/framework/plugins, named at each); where a document says them in words:
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ and .../topology-spread-constraints/,
https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


@dataclass
class Cluster:
    """Everything there is."""

    nodes: dict[str, Object] = field(default_factory=dict)
    bound: dict[str, tuple[str, Object]] = field(default_factory=dict)
    """Pods by name, with their nodes (which may not be there)."""
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    """Labels of namespaces."""
    selecting: list[Object] = field(default_factory=list)
    """Services and controllers."""

    def pods_on(self, name: str) -> list[Object]:
        return [pod for node, pod in self.bound.values() if node == name]

    def pods(self) -> list[tuple[Object, Object]]:
        """All pods on nodes that are there, each with its node."""
        return [(pod, self.nodes[name]) for name, pod in self.bound.values() if name in self.nodes]


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
    whole = amounts(spec.get("resources", {}).get("requests", {}))
    if resource in whole:
        moments = [whole[resource]]
    return max(moments) + amounts(spec.get("overhead", {})).get(resource, 0)


def resources_of(pod: Object) -> set[str]:
    names = {"pods", *pod["spec"].get("overhead", {}), *pod["spec"].get("resources", {}).get("requests", {})}
    for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
        names |= set(container.get("resources", {}).get("requests", {}))
    return {name for name in names if pod_request(pod, name)}


def tolerates(pod: Object, taint: Object) -> bool:
    for toleration in pod["spec"].get("tolerations", []):
        key_matches = toleration.get("key", "") in ("", taint["key"])
        effect_matches = toleration.get("effect", "") in ("", taint["effect"])
        equal = toleration.get("value", "") == taint.get("value", "")
        operator = toleration.get("operator", "Equal")
        if key_matches and effect_matches and (operator == "Exists" or (operator == "Equal" and equal)):
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


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """A metav1.LabelSelector; None selects nothing."""
    if selector is None:
        return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        expression_matches(one, labels) for one in selector.get("matchExpressions", [])
    )


def labels_of(obj: Object) -> dict[str, str]:
    labels: dict[str, str] = obj["metadata"].get("labels", {})
    return labels


def key_rules_hold(rules: Object, owner: Object, other: Object) -> bool:
    """matchLabelKeys and mismatchLabelKeys: equal, or unequal, to the owner's value; keys it lacks do not count."""
    ours, theirs = labels_of(owner), labels_of(other)
    return all(theirs.get(key) == ours[key] for key in rules.get("matchLabelKeys", []) if key in ours) and all(
        theirs.get(key) != ours[key] for key in rules.get("mismatchLabelKeys", []) if key in ours
    )


def speaks_of(term: Object, owner: Object, other: Object, cluster: Cluster) -> bool:
    """Whether an affinity term of ``owner`` matches ``other``, wherever it is."""
    namespace = other["metadata"]["namespace"]
    named = term.get("namespaces", [])
    if not named and "namespaceSelector" not in term:
        named = [owner["metadata"]["namespace"]]
    in_namespace = namespace in named or selects(term.get("namespaceSelector"), cluster.namespaces.get(namespace, {}))
    selected = selects(term.get("labelSelector"), labels_of(other))
    return in_namespace and selected and key_rules_hold(term, owner, other)


def together(key: str, one: Object, other: Object) -> bool:
    """Whether two nodes are in one domain."""
    return key in labels_of(one) and labels_of(one)[key] == labels_of(other).get(key)


def terms(pod: Object, kind: str, strength: str) -> list[Object]:
    affinity = pod["spec"].get("affinity", {}).get(kind, {})
    found: list[Object] = affinity.get(f"{strength}DuringSchedulingIgnoredDuringExecution", [])
    return found


def pod_affinity_refusal(pod: Object, node: Object, cluster: Cluster) -> str:
    """InterPodAffinity's Filter."""
    near = terms(pod, "podAffinity", "required")
    matching = [where for other, where in cluster.pods() if all(speaks_of(one, pod, other, cluster) for one in near)]
    if near:
        if any(one["topologyKey"] not in labels_of(node) for one in near):
            return "node(s) didn't match pod affinity rules"
        nobody = not any(one["topologyKey"] in labels_of(where) for one in near for where in matching)
        first = nobody and all(speaks_of(one, pod, pod, cluster) for one in near)
        if not first and not all(any(together(one["topologyKey"], node, w) for w in matching) for one in near):
            return "node(s) didn't match pod affinity rules"
    for term in terms(pod, "podAntiAffinity", "required"):
        for other, where in cluster.pods():
            if speaks_of(term, pod, other, cluster) and together(term["topologyKey"], node, where):
                return "node(s) didn't match pod anti-affinity rules"
    for other, where in cluster.pods():
        for term in terms(other, "podAntiAffinity", "required"):
            if speaks_of(term, other, pod, cluster) and together(term["topologyKey"], node, where):
                return "node(s) didn't satisfy existing pods anti-affinity rules"
    return ""


def satisfies_node_affinity(pod: Object, node: Object) -> bool:
    required = node_affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    if any(labels_of(node).get(key) != value for key, value in pod["spec"].get("nodeSelector", {}).items()):
        return False
    return required is None or any(term_matches(term, node) for term in required["nodeSelectorTerms"])


def endures_taints(pod: Object, node: Object) -> bool:
    taints = node["spec"].get("taints", [])
    return all(one["effect"] == "PreferNoSchedule" or tolerates(pod, one) for one in taints)


def counts_for(constraint: Object, pod: Object, node: Object) -> bool:
    """The node inclusion policies."""
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not satisfies_node_affinity(pod, node):
        return False
    return constraint.get("nodeTaintsPolicy", "Ignore") == "Ignore" or endures_taints(pod, node)


def spread_with(constraint: Object, pod: Object, other: Object) -> bool:
    if other["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    return selects(constraint["labelSelector"], labels_of(other)) and key_rules_hold(constraint, pod, other)


def spread_count(constraint: Object, pod: Object, nodes: list[Object], cluster: Cluster) -> int:
    """The pods on these nodes that are not going and that are to be spread with the pod."""
    names = {one["metadata"]["name"] for one in nodes}
    return sum(
        spread_with(constraint, pod, other)
        for other, where in cluster.pods()
        if where["metadata"]["name"] in names and "deletionTimestamp" not in other["metadata"]
    )


def spread_refusal(pod: Object, node: Object, cluster: Cluster) -> str:
    """PodTopologySpread's Filter."""
    hard = [one for one in pod["spec"].get("topologySpreadConstraints", []) if one["whenUnsatisfiable"] == HARD]
    for constraint in hard:
        key = constraint["topologyKey"]
        if key not in labels_of(node):
            return "node(s) didn't match pod topology spread constraints (missing required label)"
        eligible = [
            one
            for one in cluster.nodes.values()
            if all(each["topologyKey"] in labels_of(one) for each in hard) and counts_for(constraint, pod, one)
        ]
        domains = {labels_of(one)[key] for one in eligible}
        pods = {
            value: spread_count(constraint, pod, [one for one in eligible if labels_of(one)[key] == value], cluster)
            for value in domains
        }
        fewest = min(pods.values()) if pods and len(pods) >= constraint.get("minDomains", 1) else 0
        with_it = pods.get(labels_of(node)[key], 0) + spread_with(constraint, pod, pod)
        if with_it - fewest > constraint["maxSkew"]:
            return "node(s) didn't match pod topology spread constraints"
    return ""


HARD, SOFT = "DoNotSchedule", "ScheduleAnyway"


def named_nodes(pod: Object) -> set[str] | None:
    """NodeAffinity's PreFilter: the nodes that the terms name, unless one of them names none."""
    required = node_affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return None
    names: set[str] = set()
    for term in required["nodeSelectorTerms"]:
        wanted = [set(one["values"]) for one in term.get("matchFields", []) if one["operator"] == "In"]
        if not wanted:
            return None
        names |= set.intersection(*wanted)
    return names


def why_not(pod: Object, node: Object, cluster: Cluster) -> list[str]:
    """Why the pod cannot join the others on the node; empty if it can."""
    others = cluster.pods_on(node["metadata"]["name"])
    named = named_nodes(pod)
    if named is not None and node["metadata"]["name"] not in named:
        return ["node(s) didn't satisfy plugin(s) [NodeAffinity]"]
    cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and not tolerates(pod, cordon):
        return ["node(s) were unschedulable"]
    if not endures_taints(pod, node):
        return ["node(s) had untolerated taint(s)"]
    if not satisfies_node_affinity(pod, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if any(ports_collide(pod, other) for other in others):
        return ["node(s) didn't have free ports for the requested pod ports"]
    lacking = [
        "Too many pods" if resource == "pods" else f"Insufficient {resource}"
        for resource in resources_of(pod)
        if not room_for(pod, node, others, resource)
    ]
    if lacking:
        return lacking
    refusal = spread_refusal(pod, node, cluster) or pod_affinity_refusal(pod, node, cluster)
    return [refusal] if refusal else []


def room_for(pod: Object, node: Object, others: list[Object], resource: str) -> bool:
    taken = sum(pod_request(other, resource) for other in others)
    return taken + pod_request(pod, resource) <= amounts(node["status"]["allocatable"]).get(resource, 0)


FREED = (
    "node(s) didn't have free ports for the requested pod ports",
    "node(s) didn't match pod topology spread constraints",
    "node(s) didn't match pod anti-affinity rules",
    "node(s) didn't satisfy existing pods anti-affinity rules",
)
"""Refusals that end when pods leave, as far as the filter that said them is concerned."""


def victims_could_help(pod: Object, node: Object, reasons: list[str]) -> bool:
    """True if the refusal names only what other pods took; Kubernetes looks no further than the first filter."""
    if len(reasons) == 1 and reasons[0] in FREED:
        return True
    if not reasons or not all(reason.startswith(("Insufficient", "Too many")) for reason in reasons):
        return False
    return all(room_for(pod, node, [], resource) for resource in resources_of(pod))


def points(pod: Object, feasible: list[Object], cluster: Cluster) -> dict[str, int]:
    """The weighed points of each node that fits: the default weights."""
    parts = {
        3: [taint_points(pod, feasible)],
        2: [affinity_points(pod, feasible), spread_points(pod, feasible, cluster), near_points(pod, feasible, cluster)],
        1: [
            {name_of(node): room(pod, node, cluster.pods_on(name_of(node))) for node in feasible},
            {name_of(node): balance(pod, node, cluster.pods_on(name_of(node))) for node in feasible},
            {name_of(node): image_points(pod, node, cluster) for node in feasible},
        ],
    }
    return {
        name_of(node): sum(weight * one[name_of(node)] for weight, each in parts.items() for one in each)
        for node in feasible
    }


def name_of(obj: Object) -> str:
    name: str = obj["metadata"]["name"]
    return name


def taint_points(pod: Object, feasible: list[Object]) -> dict[str, int]:
    disliked = {
        name_of(node): sum(
            one["effect"] == "PreferNoSchedule" and not tolerates(pod, one) for one in node["spec"].get("taints", [])
        )
        for node in feasible
    }
    most = max(disliked.values())
    return {name: 100 - 100 * count // most if most else 100 for name, count in disliked.items()}


def affinity_points(pod: Object, feasible: list[Object]) -> dict[str, int]:
    preferences = node_affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution", [])
    liked = {
        name_of(node): sum(one["weight"] for one in preferences if term_matches(one["preference"], node))
        for node in feasible
    }
    most = max(liked.values())
    return {name: 100 * count // most if most else 0 for name, count in liked.items()}


def default_selector(pod: Object, cluster: Cluster) -> Object | None:
    """What the pod's Services and its controller select (helper.DefaultSelector)."""
    owner = next((one for one in pod["metadata"].get("ownerReferences", []) if one.get("controller")), {})
    labels: dict[str, str] = {}
    expressions: list[Object] = []
    for one in cluster.selecting:
        if one["metadata"]["namespace"] != pod["metadata"]["namespace"]:
            continue
        selector = one["spec"].get("selector") or {}
        if one["kind"] == "Service":
            if selector and all(labels_of(pod).get(key) == value for key, value in selector.items()):
                labels |= selector
        elif (one["kind"], name_of(one)) == (owner.get("kind"), owner.get("name")):
            labels |= selector.get("matchLabels", {})
            expressions += selector.get("matchExpressions", [])
    return {"matchLabels": labels, "matchExpressions": expressions} if labels or expressions else None


def spread_points(pod: Object, feasible: list[Object], cluster: Cluster) -> dict[str, int]:
    """PodTopologySpread's PreScore, Score and NormalizeScore."""
    own = pod["spec"].get("topologySpreadConstraints", [])
    soft = [one for one in own if one["whenUnsatisfiable"] == SOFT]
    if not own and (selector := default_selector(pod, cluster)):
        soft = [
            {"topologyKey": HOSTNAME, "maxSkew": 3, "labelSelector": selector},
            {"topologyKey": ZONE, "maxSkew": 5, "labelSelector": selector},
        ]
    if not soft:
        return dict.fromkeys(map(name_of, feasible), 0)

    def scored(nodes: list[Object]) -> list[Object]:
        return [one for one in nodes if not own or all(each["topologyKey"] in labels_of(one) for each in soft)]

    raw = dict.fromkeys(map(name_of, scored(feasible)), 0.0)
    for constraint in soft:
        key = constraint["topologyKey"]
        values = {labels_of(one).get(key, "") for one in scored(feasible)}
        weight = log((len(raw) if key == HOSTNAME else len(values)) + 2)
        counted = [one for one in scored(list(cluster.nodes.values())) if counts_for(constraint, pod, one)]
        for node in scored(feasible):
            if key in labels_of(node):
                near = [node] if key == HOSTNAME else [one for one in counted if together(key, node, one)]
                count = spread_count(constraint, pod, near, cluster)
                raw[name_of(node)] += count * weight + (constraint["maxSkew"] - 1)
    rounded = {name: round(count) for name, count in raw.items()}
    most, fewest = max(rounded.values(), default=0), min(rounded.values(), default=0)
    points = {name: 100 * (most + fewest - count) // most if most else 100 for name, count in rounded.items()}
    return {name_of(node): points.get(name_of(node), 0) for node in feasible}


def near_points(pod: Object, feasible: list[Object], cluster: Cluster) -> dict[str, int]:
    """InterPodAffinity's PreScore, Score and NormalizeScore."""
    raw = dict.fromkeys(map(name_of, feasible), 0)

    def give(key: str, where: Object, weight: int) -> None:
        for node in feasible:
            if together(key, node, where):
                raw[name_of(node)] += weight

    for other, where in cluster.pods():
        for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity")):
            for owner, target in ((pod, other), (other, pod)):
                for one in terms(owner, kind, "preferred"):
                    term = one["podAffinityTerm"]
                    if speaks_of(term, owner, target, cluster):
                        give(term["topologyKey"], where, sign * one["weight"])
        for term in terms(other, "podAffinity", "required"):
            if speaks_of(term, other, pod, cluster):
                give(term["topologyKey"], where, 1)
    least, most = min(raw.values()), max(raw.values())
    return {name: int(100 * ((sum_ - least) / (most - least))) if most > least else 0 for name, sum_ in raw.items()}


def room(pod: Object, node: Object, others: list[Object]) -> int:
    """NodeResourcesFit's LeastAllocated."""
    shares = []
    for resource, default in (("cpu", 100), ("memory", 200 << 20)):
        capacity = amounts(node["status"]["allocatable"]).get(resource, 0)
        used = sum(pod_request(one, resource, default) for one in [*others, pod])
        if capacity:
            shares.append(max(0, capacity - used) * 100 // capacity)
    return sum(shares) // len(shares) if shares else 0


def balance(pod: Object, node: Object, others: list[Object]) -> int:
    """NodeResourcesBalancedAllocation; what the pod changes counts since kubernetes/kubernetes#135573."""
    if not any(pod_request(pod, resource) for resource in ("cpu", "memory")):
        return 0

    def even(pods: list[Object]) -> int:
        shares = []
        for resource in ("cpu", "memory"):
            if capacity := amounts(node["status"]["allocatable"]).get(resource, 0):
                shares.append(min(1.0, sum(pod_request(one, resource) for one in pods) / capacity))
        mean = sum(shares) / max(1, len(shares))
        deviation = sqrt(sum((one - mean) ** 2 for one in shares) / max(1, len(shares)))
        if len(shares) == 2:
            deviation = abs(shares[0] - shares[1]) / 2
        return int((1 - deviation) * 100)

    return 50 + (50 + even([*others, pod]) - even(others)) // 2


def image_points(pod: Object, node: Object, cluster: Cluster) -> int:
    """ImageLocality."""

    def size_on(one: Object, image: str) -> int | None:
        tagged = image if ":" in image.split("/")[-1] else f"{image}:latest"
        sizes = [each["sizeBytes"] for each in one["status"].get("images", []) if tagged in each["names"]]
        return sizes[-1] if sizes else None

    containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    images = [one["image"] for one in containers if "image" in one]
    total = 0
    for image in images:
        if (size := size_on(node, image)) is not None:
            having = sum(size_on(one, image) is not None for one in cluster.nodes.values())
            total += int(size * (having / len(cluster.nodes)))
    least, most = 23 << 20, (1000 << 20) * len(images)
    return 100 * (min(max(total, least), most) - least) // (most - least) if images else 0
