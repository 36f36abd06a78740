"""How many seats a request takes (apiserver ``util/flowcontrol/request/list_work_estimator.go``). Pure.

A list keeps the server busy for as long as it is long, so it counts as one request for each hundred objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.catalog import Served

OBJECTS_PER_SEAT = 100
WIDE = frozenset({"list", "watch"})
"""All other requests take one seat."""


def width_of(asked: Attributes, served: Served, query: Mapping[str, str], widest: int) -> int:
    """Seats, at most ``widest``. A watch counts while it sends what there is at its beginning."""
    if asked.verb not in WIDE or asked.name:
        return 1
    if asked.verb == "watch" and query.get("resourceVersion", "") not in ("", "0"):
        return 1
    number = served.cache.count(asked.namespace)
    limit = query.get("limit", "")
    # A page of what is selected is looked for among everything.
    is_selected = bool(asked.label_selector or asked.field_selector)
    if limit.isdecimal() and 0 < int(limit[:9]) < number and not is_selected:
        number = int(limit[:9])
    return max(1, min(widest, math.ceil(number / OBJECTS_PER_SEAT)))
