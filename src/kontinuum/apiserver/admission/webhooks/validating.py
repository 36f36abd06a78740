"""ValidatingAdmissionWebhook: all that want to see the request are asked together; one that refuses is enough."""

from __future__ import annotations

from kontinuum.apiserver.admission.chain import Attributes, Base, Kind, Reader
from kontinuum.apiserver.admission.matching import CONFIGURATION_GROUP, Match, as_matched
from kontinuum.apiserver.admission.webhooks.calls import Calls, all_of
from kontinuum.apiserver.admission.webhooks.hooks import Hook, Hooks
from kontinuum.apiserver.admission.webhooks.reviews import Verdict


class ValidatingWebhooks(Base):
    """See the module."""

    def __init__(self, hooks: Hooks, calls: Calls) -> None:
        self._hooks = hooks
        self._calls = calls

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.resource.group == CONFIGURATION_GROUP:
            return
        hooks = self._hooks.current()
        if not hooks:
            return
        wanted: list[tuple[Hook, Match]] = []
        for hook in hooks:
            match = await self._calls.wanted(hook, attributes, reader)
            if match is not None:
                wanted.append((hook, match))
        # Converted once for all who want to see the same version.
        seen: dict[Kind, Attributes] = {}
        for _, match in wanted:
            if match.kind not in seen:
                seen[match.kind] = await as_matched(attributes, match, self._calls.catalog)
        if wanted:
            await all_of(
                [self._ask(hook, index, match, seen[match.kind], reader) for index, (hook, match) in enumerate(wanted)]
            )

    async def _ask(self, hook: Hook, index: int, match: Match, seen: Attributes, reader: Reader) -> None:
        async def work() -> Verdict:
            return await self._calls.ask(hook, seen, match, reader)

        await self._calls.attempt(hook, seen, work, place=f"round_0_index_{index}")
