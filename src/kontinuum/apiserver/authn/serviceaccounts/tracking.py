"""Says since when every use of a token that stands in a Secret is written down: what is older is not known.

The ConfigMap is Kubernetes' (``pkg/controlplane/controller/legacytokentracking``); the controller that removes tokens
which nobody uses waits for a year after that day.
"""

from __future__ import annotations

import orjson

from kontinuum.api.kubernetes.account_tokens import SINCE, TRACKING, TRACKING_NAMESPACE, day_of, read_day
from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.bootstrap import create_missing
from kontinuum.apiserver.context import Context
from kontinuum.store.port import Missing, StaleRevision

EVERY_SECONDS = 1800.0
"""As long as Kubernetes waits before it makes again what somebody has removed."""


async def keep_tracking(context: Context) -> None:
    """Look again every half hour. Ends only by cancellation. Raises StoreFull, StoreUnavailable."""
    while True:
        await say_since(context)
        await context.clock.sleep(EVERY_SECONDS)


async def say_since(context: Context) -> None:
    """Make the ConfigMap if it is not there; write today's day over what is none."""
    today = {SINCE: day_of(context.clock.time())}
    metadata = {"name": TRACKING, "namespace": TRACKING_NAMESPACE}
    await create_missing(context, CONFIGMAPS, [{"metadata": metadata, "data": today}])
    served = context.served[CONFIGMAPS]
    record = await context.store.get(served.layout.key(TRACKING_NAMESPACE, TRACKING))
    if record is None:
        return
    obj: Object = orjson.loads(record.value)
    data = obj.get("data") or {}
    if read_day(data.get(SINCE, "")) is None:
        obj["data"] = {**data, **today}
        try:
            await context.store.update(record.key, served.layout.encode(obj), expected=record.revision)
        except (StaleRevision, Missing):
            return  # Another server was faster.
