"""How a webhook is asked: whether it wants to be, with how much time, and what it means if it cannot answer.

        rules, selectors, conditions            dry run, time left              allowed, denied, patch
hook ──────────────────────────────────▶ match ────────────────────▶ call ───▶ verdict
                                                                       └─────▶ CallFailed ─▶ failurePolicy
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from kontinuum.api.machinery import status
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Attributes, Reader
from kontinuum.apiserver.admission.expressions import values_of
from kontinuum.apiserver.admission.matching import Match, as_matched
from kontinuum.apiserver.admission.measures import ERROR_CALLING, ERROR_NONE, ERROR_OURS, Measures
from kontinuum.apiserver.admission.webhooks.client import CallFailed, WebhookClient
from kontinuum.apiserver.admission.webhooks.hooks import Hook
from kontinuum.apiserver.admission.webhooks.reviews import Denied, Verdict, review_of, verdict_of
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog
from kontinuum.apiserver.identifiers import new_uuid
from kontinuum.foundation.clock import Clock

log = structlog.get_logger(__name__)

REQUEST_SECONDS = 34.0
"""For all webhooks of one request together (Kubernetes' ``requestTimeoutUpperBound``)."""
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes: a patch that replaces the largest object (3 MiB) takes half of it."""
UNTIL = "webhooks until"
FAILED_OPEN = {
    "admit": "failed-open.mutation.webhook.admission.k8s.io",
    "validating": "failed-open.validating.webhook.admission.k8s.io",
}
T = TypeVar("T")


class Calls:
    """See the module. What both plug-ins ask with; ``type`` is ``admit`` or ``validating``, as metrics call them."""

    def __init__(
        self, type_: str, *, client: WebhookClient, catalog: Catalog, authorizer: Authorizer, clock: Clock,
        measures: Measures,
    ) -> None:  # fmt: skip
        self._type = type_
        self._client = client
        self.catalog = catalog
        self._authorizer = authorizer
        self._clock = clock
        self._measures = measures

    async def wanted(self, hook: Hook, attributes: Attributes, reader: Reader) -> Match | None:
        """How the webhook wants to see the request; None if it does not. Raises ApiError 403, 404, 500."""
        match = await hook.criteria.match(attributes, reader, self.catalog)
        if match is None or hook.conditions.is_empty:
            return match
        seen = await as_matched(attributes, match, self.catalog)
        # Kubernetes shows the conditions of webhooks no namespace, though they may name it.
        holds, problems = hook.conditions.judge(values_of(seen, match, None, self._authorizer))
        if problems:
            self._measures.condition_failed(hook.name, self._type, attributes.operation)
            if hook.fails_open:
                return None
            told = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise status.forbidden(attributes.resource, attributes.name, told)
        if not holds:
            self._measures.excluded(hook.name, self._type, attributes.operation)
        return match if holds else None

    async def ask(self, hook: Hook, seen: Attributes, match: Match, reader: Reader) -> Verdict:
        """What the webhook says. ``seen`` is the request in the version of ``match``. Raises CallFailed, ApiError."""
        if seen.dry_run and not hook.is_harmless:
            raise status.bad_request(f'admission webhook "{hook.name}" does not support dry run')
        if not hook.version:
            problem = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            raise CallFailed(f"could not create admission objects: {problem}", 400)
        uid = new_uuid()
        question = review_of(seen, match, version=hook.version, uid=uid)
        seconds = min(hook.seconds, self._seconds_left(seen))
        try:
            answer = await self._client.post(
                hook.endpoint, question, reader, seconds=seconds, largest=LARGEST_ANSWER
            )  # fmt: skip
        except CallFailed as error:
            raise CallFailed(f"failed to call webhook: {error}", error.code) from error
        verdict = verdict_of(answer, hook.name, version=hook.version, uid=uid, is_mutating=self._type == "admit")
        for key, value in verdict.annotations.items():
            # Who annotates first is right: annotations cannot be overwritten.
            seen.annotations.setdefault(key, value)
        seen.warnings.extend(verdict.warnings)
        if verdict.denied is not None:
            raise verdict.denied
        return verdict

    async def attempt(
        self, hook: Hook, attributes: Attributes, work: Callable[[], Awaitable[T]], *, place: str
    ) -> T | None:
        """What ``work`` comes to, which asks ``hook``; None if it cannot be asked and that does not matter.

        ``place`` is its round and index, for the audit event. Raises ApiError.
        """
        began = self._clock.monotonic()
        # None while it is not known: who gave up waiting says nothing about the webhook.
        code: int | None = None
        outcome = ""
        try:
            done = await work()
            code = 200
            return done
        except CallFailed as error:
            code, outcome = error.code, "" if hook.fails_open else ERROR_CALLING
            self._fail(hook, attributes, error, place)
            return None
        except Denied as error:
            code, outcome = error.code, ERROR_NONE
            raise
        except ApiError:
            code, outcome = 0, ERROR_OURS
            raise
        finally:
            seconds = self._clock.monotonic() - began
            if code is not None:
                self._measures.asked(hook.name, self._type, attributes.operation, bool(outcome), code, seconds)
            if code is not None and outcome:
                self._measures.rejected(hook.name, self._type, attributes.operation, outcome, code)

    def _fail(self, hook: Hook, attributes: Attributes, error: CallFailed, place: str) -> None:
        """Raises ApiError 500 unless the webhook fails open, and 504 if no time is left for anything else."""
        problem = f'failed calling webhook "{hook.name}": {error}'
        log.warning("a webhook cannot be asked", problem=problem, fails_open=hook.fails_open)
        if not hook.fails_open:
            raise status.internal_error(problem) from error
        self._measures.failed_open(hook.name, self._type)
        attributes.annotations[f"{FAILED_OPEN[self._type]}/{place}"] = hook.name
        self._seconds_left(attributes)

    def _seconds_left(self, attributes: Attributes) -> float:
        """Raises ApiError 504 if there are none."""
        now = self._clock.monotonic()
        left = float(attributes.memory.setdefault(UNTIL, now + REQUEST_SECONDS)) - now
        if left <= 0:
            raise status.timeout("request did not complete within requested timeout")
        return left


async def all_of(work: list[Awaitable[None]]) -> None:
    """Do all together, wait for all, and raise what the first of them in order has raised."""
    if len(work) == 1:
        return await work[0]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return None
