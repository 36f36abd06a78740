"""The API server's authorities in every namespace, as ConfigMap ``kube-root-ca.crt``: pods mount it with a token."""

from __future__ import annotations

from pathlib import Path

from kontinuum.api.kubernetes.resources import CONFIGMAPS, NAMESPACES
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler

NAME = "kube-root-ca.crt"
KEY = "ca.crt"
ABOUT = "kubernetes.io/description"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def plan(namespace: Object | None, found: Object | None, authorities: str) -> Object | None:
    """The ConfigMap to write, None if all is as it should be. One with a resourceVersion replaces what is there."""
    if namespace is None or "deletionTimestamp" in namespace["metadata"]:
        return None
    metadata = {"name": NAME, "namespace": name_of(namespace), "annotations": {ABOUT: DESCRIPTION}}
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: authorities}}
    if found is None:
        return wanted
    if found.get("data") == wanted["data"] and annotations_of(found).get(ABOUT):
        # Its words may be changed, as long as it has some: older clusters say it otherwise.
        return None
    annotations = {**annotations_of(found), ABOUT: DESCRIPTION}
    return {**found, "metadata": {**found["metadata"], "annotations": annotations}, "data": wanted["data"]}


class RootAuthoritiesReconciler(KeyReconciler):
    """The hand that carries ``plan`` out. Keys are names of namespaces."""

    name = "root-ca-certificate-publisher"

    def __init__(self, context: Context) -> None:
        super().__init__(context, NAMESPACES)
        self._authorities = Path(context.settings.root_ca).read_text()
        self._published = context.selection(CONFIGMAPS, fields=f"metadata.name={NAME}")
        self._published.add_handler(lambda change, obj, old: self._workers.queue.add(namespace_of(obj)))

    async def reconcile(self, key: str) -> Result:
        """Publish in one namespace."""
        wanted = plan(self._objects.get(key), self._published.get(f"{key}/{NAME}"), self._authorities)
        if wanted is None:
            return DONE
        client = self._client
        try:
            if wanted["metadata"].get("resourceVersion"):
                await client.update(CONFIGMAPS, wanted)
            else:
                await client.create(CONFIGMAPS, wanted)
        except ApiError as error:
            # Somebody was faster, or it is too late: the informer tells what there is now.
            if not (
                error.is_already_exists or error.is_not_found or error.is_conflict or error.is_namespace_terminating
            ):
                raise
        return DONE
