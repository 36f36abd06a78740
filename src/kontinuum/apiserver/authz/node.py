"""What nodes may do (Kubernetes' node authorizer): everything about themselves, and reading what their pods use.

The request of a node that is not about one of the kinds below is held against fixed rules (``defaults.NODE``). What a
node may write into the objects that it may change is for the admission plug-in NodeRestriction to say.
"""

from __future__ import annotations

from kontinuum.api.machinery.selectors import parse_fields
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import ALLOWED, NO_OPINION, Attributes, Decision, Opinion, Rules
from kontinuum.apiserver.authz.defaults.cluster_roles import NODE
from kontinuum.apiserver.authz.defaults.notation import rules
from kontinuum.apiserver.authz.node_graph import NodeGraph
from kontinuum.apiserver.authz.rules import Question, RoleRules

PREFIX = "system:node:"
NODES = "system:nodes"
LEASES = "kube-node-lease"


def node_of(user: User) -> str | None:
    """The node that asks; "" for a node without a name, None for everybody else."""
    if not user.name.startswith(PREFIX) or NODES not in user.groups:
        return None
    return user.name[len(PREFIX) :]


class NodeAuthorizer:
    """See the module."""

    def __init__(self, graph: NodeGraph) -> None:
        self._graph = graph
        self._rules = RoleRules(rules(NODE))
        self._special = {
            ("", "secrets"): self._read,
            ("", "configmaps"): self._read,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("storage.k8s.io", "volumeattachments"): self._get,
            ("", "serviceaccounts"): self._service_account,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
        }

    def decide(self, attributes: Attributes) -> Decision:
        node = node_of(attributes.user)
        if node is None:
            return NO_OPINION
        if not node:
            return _no(f'unknown node for user "{attributes.user.name}"')
        if attributes.is_resource:
            special = self._special.get((attributes.group, attributes.resource))
            if special is not None:
                return special(node, attributes)
        return ALLOWED if self._rules.allow(Question.of(attributes)) else NO_OPINION

    def rules(self, user: User, namespace: str) -> Rules:
        if node_of(user) is None:
            return Rules([], [])
        return Rules([], [], incomplete=True, problem="node authorizer does not support user rule resolution")

    def _related(self, node: str, asked: Attributes) -> Decision:
        if not asked.name:
            return _no("No Object name found")
        if self._graph.is_related(node, (asked.resource, asked.namespace, asked.name)):
            return ALLOWED
        return _no(f"no relationship found between node '{node}' and this object")

    def _get(self, node: str, asked: Attributes) -> Decision:
        if asked.verb != "get":
            return _no("can only get individual resources of this type")
        if asked.subresource:
            return _no("cannot get subresource")
        return self._related(node, asked)

    def _read(self, node: str, asked: Attributes) -> Decision:
        if asked.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if asked.subresource:
            return _no("cannot read subresource")
        if not asked.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, asked)

    def _claim(self, node: str, asked: Attributes) -> Decision:
        if asked.subresource != "status":
            return self._get(node, asked)
        if asked.verb not in ("update", "patch"):
            return _no("can only get/update/patch this type")
        return self._related(node, asked)

    def _service_account(self, node: str, asked: Attributes) -> Decision:
        if asked.verb == "get" and not asked.subresource:
            return self._get(node, asked)
        if asked.verb != "create" or not asked.name:
            return _no("can only create tokens for individual service accounts")
        if asked.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, asked)

    def _lease(self, node: str, asked: Attributes) -> Decision:
        if asked.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a node lease")
        if asked.namespace != LEASES:
            return _no(f'can only access leases in the "{LEASES}" system namespace')
        # The name of what is created is not known here; NodeRestriction looks at it.
        if asked.verb != "create" and asked.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return ALLOWED

    def _csi_node(self, node: str, asked: Attributes) -> Decision:
        if asked.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a CSINode")
        if asked.subresource:
            return _no("cannot authorize CSINode subresources")
        if asked.verb != "create" and asked.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return ALLOWED

    def _slice(self, node: str, asked: Attributes) -> Decision:
        if asked.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        if asked.verb == "create":
            return ALLOWED
        if asked.verb in ("get", "update", "patch", "delete"):
            return self._related(node, asked)
        if asked.verb in ("watch", "list", "deletecollection"):
            if _selects(asked.field_selector, "spec.nodeName", node) or _selects(
                asked.field_selector, "nodeName", node
            ):
                return ALLOWED
            return _no("can only list/watch/deletecollection resourceslices with spec.nodeName field selector")
        verbs = "get, watch, list, create, update, patch, delete, deletecollection"
        return _no(f"only the following verbs are allowed for a ResourceSlice: {verbs}")

    def _node(self, node: str, asked: Attributes) -> Decision:
        if asked.subresource == "status":
            return ALLOWED if asked.verb in ("update", "patch") else NO_OPINION
        if asked.subresource:
            return NO_OPINION
        if asked.verb in ("create", "update", "patch"):
            return ALLOWED
        if asked.verb in ("get", "list", "watch"):
            if asked.name == node:
                return ALLOWED
            what = f"'{asked.name}'" if asked.name else "all nodes"
            return _no(f"node '{node}' cannot read {what}, only its own Node object")
        return NO_OPINION

    def _pod(self, node: str, asked: Attributes) -> Decision:
        verb, subresource = asked.verb, asked.subresource
        if subresource:
            allowed = (subresource == "status" and verb in ("update", "patch")) or (
                subresource == "eviction" and verb == "create"
            )
            return ALLOWED if allowed else NO_OPINION
        if verb == "get":
            return self._get(node, asked)
        if verb in ("list", "watch"):
            if _selects(asked.field_selector, "spec.nodeName", node):
                return ALLOWED
            if asked.name:
                return self._related(node, asked)
            return _no("can only list/watch pods with spec.nodeName field selector")
        # Mirror pods; NodeRestriction sees to it that they are no others.
        return ALLOWED if verb in ("create", "delete") else NO_OPINION


def _selects(selector: str, field: str, value: str) -> bool:
    """Whether a field selector demands that ``field`` is ``value``."""
    if not selector:
        return False
    try:
        requirements = parse_fields(selector).requirements
    except ApiError:
        return False
    return any(one.key == field and one.operator == "=" and one.values == (value,) for one in requirements)


def _no(reason: str) -> Decision:
    return Decision(Opinion.NONE, reason)
