"""Which authorizers answer, and in which order, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.authz.authorizer import AlwaysAllow, Authorizer, Chain, Masters
from kontinuum.apiserver.authz.index import Caches
from kontinuum.apiserver.authz.node import NodeAuthorizer
from kontinuum.apiserver.authz.node_graph import GraphCaches, NodeGraph
from kontinuum.apiserver.authz.rbac import Rbac
from kontinuum.apiserver.catalog import Served
from kontinuum.apiserver.settings import ServerSettings


def authorizer_of(settings: ServerSettings, served: Mapping[Resource, Served], rules: Rbac) -> Authorizer:
    """``rules`` are asked last. To be made before the caches are filled or after; it follows them."""
    if settings.authorization == "always-allow":
        return AlwaysAllow()
    return Chain([Masters(), NodeAuthorizer(graph_of(served)), rules])


def rbac_of(served: Mapping[Resource, Served]) -> Rbac:
    kinds = (r.CLUSTERROLES, r.CLUSTERROLEBINDINGS, r.ROLES, r.ROLEBINDINGS)
    return Rbac(Caches(*(served[kind].cache for kind in kinds)))


def graph_of(served: Mapping[Resource, Served]) -> NodeGraph:
    kinds = (r.PODS, r.PERSISTENTVOLUMES, r.VOLUMEATTACHMENTS, r.RESOURCESLICES)
    return NodeGraph(GraphCaches(*(served[kind].cache for kind in kinds)))
