"""A short way to write rules down, one per line: ``groups: resources[names]: verbs`` or ``paths: verbs``. Pure.

    core apps: pods deployments/scale: read create
    core: configmaps[cluster-info]: update
    /healthz /livez/*: get

The core group is ``core``; ``read``, ``write`` and ``all`` stand for several verbs. Lists are sorted as Kubernetes'
own ``RuleOrDie`` sorts them, so that the objects are the same.
"""

from __future__ import annotations

import re

from kontinuum.api.machinery.objects import Object

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
_WORDS = {"read": READ, "write": WRITE, "all": READ + WRITE}
EVENTS = "core events.k8s.io: events: create update patch"


def rules(text: str) -> list[Object]:
    """The rules of a table. Raises ValueError for a line that is none."""
    return [_rule(line.strip()) for line in text.splitlines() if line.strip()]


def _rule(line: str) -> Object:
    left, _, last = line.rpartition(": ")
    verbs = sorted({verb for word in last.split() for verb in _WORDS.get(word, (word,))})
    if line.startswith("/") or left == "*":
        return {"nonResourceURLs": sorted(left.split()), "verbs": verbs}
    groups, separator, what = left.partition(": ")
    if not separator or not verbs:
        raise ValueError(f"not a rule: {line}")
    found: Object = {"apiGroups": sorted("" if one == "core" else one for one in groups.split())}
    resources, names = what, None
    match = re.fullmatch(r"(.*)\[(.*)\]", what)
    if match:
        resources, names = match[1], sorted(match[2].split())
    found["resources"] = sorted(resources.split())
    if names is not None:
        found["resourceNames"] = names
    found["verbs"] = verbs
    return found
