"""Served kinds that Kubernetes would rather see no more, and what a reply about them warns of.

Kubernetes generates these from the ``k8s:prerelease-lifecycle-gen`` marks of its types, and words them in
apiserver's ``endpoints/deprecation``.
"""

from __future__ import annotations

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery.resources import Resource

DEPRECATED: dict[Resource, str] = {
    r.COMPONENTSTATUSES: "v1 ComponentStatus is deprecated in v1.19+",
    r.ENDPOINTS: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
