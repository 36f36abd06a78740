"""ClusterRoles with an ``aggregationRule``: their rules are those of the roles that it selects.

Whoever may write a role that is selected thereby changes the sum; that is why only this controller may write sums.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.aggregation import aggregated_rules
from kontinuum.api.kubernetes.resources import CLUSTERROLES
from kontinuum.api.machinery.objects import Object
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler


class ClusterRoleAggregationReconciler(KeyReconciler):
    """The hand that writes the sums."""

    name = "clusterrole-aggregation-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, CLUSTERROLES, writes=(CLUSTERROLES,))
        self._sums: set[str] = set()
        """The roles that have a rule."""

    async def reconcile(self, key: str) -> Result:
        """Bring one sum up to date."""
        role = self._objects.get(key)
        if role is None or not role.get("aggregationRule"):
            return DONE
        rules = aggregated_rules(role, self._objects.items())
        if rules != (role.get("rules") or []):
            # The version, because its own rule may have been changed since.
            version = role["metadata"]["resourceVersion"]
            writer = Writer(self._client, self._writes, key)
            await writer.patch(CLUSTERROLES, role, {"metadata": {"resourceVersion": version}, "rules": rules})
        return DONE

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        """Any role may be part of any sum."""
        name = obj["metadata"]["name"]
        if change != "deleted" and obj.get("aggregationRule"):
            self._sums.add(name)
        else:
            self._sums.discard(name)
        for one in self._sums:
            self._workers.queue.add(one)
