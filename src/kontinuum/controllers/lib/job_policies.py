"""What a Job's policies say of its pods: which failures count (KEP-3329), and when enough has succeeded (KEP-3998)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.controllers.lib import indexes

Action = Literal["Count", "Ignore", "FailJob", "FailIndex"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one failed pod means; ``message`` says why, for FailJob."""

    action: Action
    message: str = ""

    @property
    def is_counted(self) -> bool:
        return self.action != "Ignore"


COUNTED = Verdict("Count")


def judge_failure(job: Object, pod: Object) -> Verdict:
    """The first rule that matches decides; a failure that no rule knows counts."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        if rule.get("onExitCodes") is not None:
            message = _matches_exit_code(rule["onExitCodes"], pod)
        else:
            message = _matches_condition(rule.get("onPodConditions") or (), pod)
        if message:
            return Verdict(rule["action"], f"{message} matching {rule['action']} rule at index {number}")
    return COUNTED


def _matches_exit_code(wanted: Object, pod: Object) -> str:
    status = pod.get("status") or {}
    for one in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        ended = (one.get("state") or {}).get("terminated")
        if ended is None or not ended.get("exitCode"):
            continue
        if wanted.get("containerName") not in (None, one.get("name")):
            continue
        if (ended["exitCode"] in wanted["values"]) == (wanted["operator"] == "In"):
            where = f"{namespace_of(pod)}/{name_of(pod)}"
            return f"Container {one.get('name')} for pod {where} failed with exit code {ended['exitCode']}"
    return ""


def _matches_condition(patterns: Iterable[Object], pod: Object) -> str:
    for pattern in patterns:
        for condition in (pod.get("status") or {}).get("conditions") or ():
            if (condition["type"], condition["status"]) == (pattern["type"], pattern.get("status", "True")):
                return f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {condition['type']}"
    return ""


def matched_success_rule(job: Object, succeeded: set[int]) -> str:
    """Which rule of the success policy is met by these indexes, in words; "" if none is."""
    completions = job["spec"].get("completions") or 0
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        named = rule.get("succeededIndexes")
        have = succeeded if named is None else succeeded & indexes.read(named, completions)
        needed = rule.get("succeededCount")
        if needed is None:
            needed = len(indexes.read(named, completions))
        if needed and len(have) >= needed:
            return f"Matched rules at index {number}"
    return ""
