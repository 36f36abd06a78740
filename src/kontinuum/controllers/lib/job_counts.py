"""Counting a Job's ended pods, each once, whoever dies in between (KEP-2307).

    ended, with finalizer ──▶ uid written into status.uncountedTerminatedPods (an index into completedIndexes)
                          ──▶ finalizer removed ──▶ counter raised and uid taken out, in one write

Every step is a write of its own that can be repeated; a pod without the finalizer is never written down again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.controllers.lib import indexes
from kontinuum.controllers.lib.job_pods import (
    IGNORED_COUNT,
    completions_of,
    counts_as_failed,
    failures_before,
    index_of,
    is_indexed,
    is_tracked,
)
from kontinuum.controllers.lib.job_policies import Verdict, judge_failure
from kontinuum.controllers.lib.pods import phase_of

MOST_AT_ONCE = 500
"""Uids that one status holds at most."""


@dataclass(slots=True)
class Counts:
    """The numbers after this round, and the pods that may go once it is written."""

    succeeded: int
    failed: int
    uncounted: dict[str, list[str]]
    completed: set[int]
    failed_indexes: set[int]
    let_go: list[Object] = field(default_factory=list)
    fail_job: str = ""
    """Why the failure policy ends the Job, if it does."""

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted["failed"])

    def all_succeeded(self, job: Object) -> int:
        return len(self.completed) if is_indexed(job) else self.succeeded + len(self.uncounted["succeeded"])


def count(job: Object, pods: Sequence[Object], *, is_ending: bool) -> Counts:
    """``is_ending``: the Job's end is decided, and whatever still runs counts as failed."""
    status = job.get("status") or {}
    completions = completions_of(job) or 0
    stored = status.get("uncountedTerminatedPods") or {}
    held = {uid_of(pod) for pod in pods if is_tracked(pod)}
    found = Counts(
        succeeded=status.get("succeeded") or 0,
        failed=status.get("failed") or 0,
        uncounted={name: [uid for uid in stored.get(name) or () if uid in held] for name in ("succeeded", "failed")},
        completed=indexes.read(status.get("completedIndexes"), completions),
        failed_indexes=indexes.read(status.get("failedIndexes"), completions),
    )
    if not is_indexed(job):
        found.succeeded += sum(uid not in held for uid in stored.get("succeeded") or ())
    found.failed += sum(uid not in held for uid in stored.get("failed") or ())
    delayed = _delayed(job, pods, found)
    for pod in pods:
        if sum(map(len, found.uncounted.values())) >= MOST_AT_ONCE:
            break
        if is_tracked(pod) and (is_ending or uid_of(pod) not in delayed):
            _count_one(job, pod, found, is_ending=is_ending)
    if is_indexed(job):
        found.succeeded = len(found.completed)
    return found


def _count_one(job: Object, pod: Object, found: Counts, *, is_ending: bool) -> None:
    uid, index = uid_of(pod), index_of(pod)
    has_place = not is_indexed(job) or (index is not None and index < (completions_of(job) or 0))
    if phase_of(pod) == "Succeeded" and uid not in found.uncounted["failed"]:
        found.let_go.append(pod)
        if is_indexed(job):
            if index is not None and has_place and index not in found.failed_indexes:
                found.completed.add(index)
        elif uid not in found.uncounted["succeeded"]:
            found.uncounted["succeeded"].append(uid)
    elif counts_as_failed(job, pod) or is_ending:
        found.let_go.append(pod)
        verdict = judge_failure(job, pod)
        if verdict.action == "FailJob" and not found.fail_job:
            found.fail_job = verdict.message
        if verdict.is_counted and has_place and uid not in found.uncounted["failed"]:
            found.uncounted["failed"].append(uid)


def _delayed(job: Object, pods: Sequence[Object], found: Counts) -> set[str]:
    """With a limit for each index: failed pods that must stay until their successor carries their count on.

    Indexes that have failed for good are added to ``found``; their pods need not wait.
    """
    limit = job["spec"].get("backoffLimitPerIndex")
    if limit is None:
        return set()
    delayed: dict[int, Object] = {}
    newest: dict[int, int] = {}
    for pod in pods:
        index = index_of(pod)
        if index is None or index in found.completed or index >= (completions_of(job) or 0):
            continue
        newest[index] = max(newest.get(index, -1), generation_of(pod))
        if counts_as_failed(job, pod):
            if fails_index(job, pod, judge_failure(job, pod)):
                found.failed_indexes.add(index)
            before = delayed.get(index)
            if before is None or generation_of(before) < generation_of(pod):
                delayed[index] = pod
    return {
        uid_of(pod)
        for index, pod in delayed.items()
        if index not in found.failed_indexes and generation_of(pod) == newest[index]
    }


def generation_of(pod: Object) -> int:
    """How many pods of its index there were before it, by what they left on it."""
    return failures_before(pod) + failures_before(pod, IGNORED_COUNT)


def fails_index(job: Object, pod: Object, verdict: Verdict) -> bool:
    if verdict.action == "FailIndex":
        return True
    return verdict.is_counted and failures_before(pod) >= job["spec"]["backoffLimitPerIndex"]
