"""A probe's judgement: a pure state machine over the results of single checks.

           success_threshold successes in a row
unknown ─────────────────────────────────────────▶ good ◀──▶ bad
   └───────────── failure_threshold failures in a row ────────▲
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kontinuum.api.machinery.objects import Object

KINDS = ("startup", "liveness", "readiness")


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Times in seconds. The defaults are Kubernetes'."""

    initial_delay: float = 0
    period: float = 10
    timeout: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3

    @staticmethod
    def of(probe: Object) -> ProbeSettings:
        return ProbeSettings(
            initial_delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            success_threshold=probe.get("successThreshold") or 1,
            failure_threshold=probe.get("failureThreshold") or 3,
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """``good`` is None until enough checks agree."""

    good: bool | None = None
    in_a_row: int = 0
    last: bool | None = None


def judge(before: Judgement, succeeded: bool, settings: ProbeSettings) -> Judgement:
    """The judgement after one more check."""
    in_a_row = before.in_a_row + 1 if before.last == succeeded else 1
    needed = settings.success_threshold if succeeded else settings.failure_threshold
    after = Judgement(before.good, in_a_row, succeeded)
    return replace(after, good=succeeded) if in_a_row >= needed else after
