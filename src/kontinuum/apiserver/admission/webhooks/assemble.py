"""The two plug-ins of one server, and the client that they share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kontinuum.api.kubernetes.resources import MUTATINGWEBHOOKCONFIGURATIONS, VALIDATINGWEBHOOKCONFIGURATIONS
from kontinuum.apiserver.admission.measures import Measures
from kontinuum.apiserver.admission.webhooks.calls import Calls
from kontinuum.apiserver.admission.webhooks.client import WebhookClient
from kontinuum.apiserver.admission.webhooks.hooks import Hooks
from kontinuum.apiserver.admission.webhooks.mutating import MutatingWebhooks
from kontinuum.apiserver.admission.webhooks.validating import ValidatingWebhooks
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog
from kontinuum.foundation.clock import Clock


@dataclass(frozen=True, slots=True)
class Webhooks:
    """``close`` ends the connections to webhooks."""

    mutating: MutatingWebhooks
    validating: ValidatingWebhooks
    close: Callable[[], Awaitable[None]]


def webhooks_of(authorizer: Authorizer, clock: Clock, catalog: Catalog, measures: Measures) -> Webhooks:
    client = WebhookClient()

    def calls(type_: str) -> Calls:
        return Calls(
            type_, client=client, catalog=catalog, authorizer=authorizer, clock=clock, measures=measures
        )  # fmt: skip

    mutating = Hooks(catalog.served[MUTATINGWEBHOOKCONFIGURATIONS].cache)
    validating = Hooks(catalog.served[VALIDATINGWEBHOOKCONFIGURATIONS].cache)
    return Webhooks(
        MutatingWebhooks(mutating, calls("admit")), ValidatingWebhooks(validating, calls("validating")), client.close
    )
