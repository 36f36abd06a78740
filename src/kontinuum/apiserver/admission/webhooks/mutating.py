"""MutatingAdmissionWebhook: one after the other, each seeing what those before it have made of the object.

If a webhook changes the object, those that were asked before it and want to know (reinvocationPolicy IfNeeded) are
asked once more in the second round, which the chain begins; so are all of these if other plug-ins change the object in
that round before us. Nobody is asked for the first time in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from kontinuum.api.machinery import patches, status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.admission.matching import CONFIGURATION_GROUP, Match, as_matched, converted, put
from kontinuum.apiserver.admission.webhooks.calls import Calls
from kontinuum.apiserver.admission.webhooks.hooks import Hook, Hooks

MEMORY = "mutating webhooks"
MUTATION = "mutation.webhook.admission.k8s.io"


@dataclass(slots=True)
class Memory:
    """What one request remembers between the two rounds."""

    asked: set[str] = field(default_factory=set)
    """Who wants to know, and has not seen the last change yet."""
    due: set[str] = field(default_factory=set)
    """Who is asked in the second round."""
    left: bytes = b""
    """The object as the first round has left it."""

    def change(self) -> None:
        """The object is another one than those before have seen."""
        self.due |= self.asked
        self.asked.clear()


class MutatingWebhooks(Base):
    """See the module."""

    def __init__(self, hooks: Hooks, calls: Calls) -> None:
        self._hooks = hooks
        self._calls = calls

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.resource.group == CONFIGURATION_GROUP:
            return
        hooks = self._hooks.current()
        if not hooks:
            return
        memory: Memory = attributes.memory.setdefault(MEMORY, Memory())
        if attributes.is_reinvocation and memory.asked and memory.left != _encoded(attributes.obj):
            memory.change()
        for index, hook in enumerate(hooks):
            if attributes.is_reinvocation and hook.identity not in memory.due:
                continue
            match = await self._calls.wanted(hook, attributes, reader)
            if match is not None:
                await self._ask(hook, index, match, attributes, reader, memory)
        memory.left = _encoded(attributes.obj) if memory.asked else b""

    async def _ask(
        self, hook: Hook, index: int, match: Match, attributes: Attributes, reader: Reader, memory: Memory
    ) -> None:
        place = f"round_{int(attributes.is_reinvocation)}_index_{index}"

        async def work() -> bool:
            return await self._mutate(hook, match, attributes, reader)

        is_changed = await self._calls.attempt(hook, attributes, work, place=place)
        told = {"configuration": hook.configuration, "webhook": hook.name, "mutated": bool(is_changed)}
        attributes.annotations[f"{MUTATION}/{place}"] = orjson.dumps(told).decode()
        if is_changed:
            memory.change()
            attributes.is_changed_outside = True
        if hook.is_asked_again:
            memory.asked.add(hook.identity)

    async def _mutate(self, hook: Hook, match: Match, attributes: Attributes, reader: Reader) -> bool:
        """Whether the webhook has changed the object. Raises CallFailed, ApiError."""
        seen = await as_matched(attributes, match, self._calls.catalog)
        verdict = await self._calls.ask(hook, seen, match, reader)
        operations = _operations(verdict.patch)
        if not operations:
            return False
        if seen.obj is None:
            problem = "attempted to modify the object, which is not supported for this operation"
            raise status.internal_error(f'admission webhook "{hook.name}" {problem}')
        served = self._calls.catalog.served
        # Seen in another version, it is a whole object of that one.
        own = seen is attributes
        changed = patched_object(
            seen.obj, operations, attributes.conform if own else served[match.resource].kind.conform
        )
        if changed == seen.obj:
            return False
        if not own:
            served[match.resource].kind.default(changed)
            changed = await converted(changed, served[match.resource], served[attributes.resource])
        assert attributes.obj is not None
        put(attributes.obj, changed)
        attributes.default(attributes.obj)
        return True


def _encoded(obj: Object | None) -> bytes:
    return orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)


def _operations(patch: bytes) -> list[Any]:
    """Raises ApiError 500 for something that is no JSON patch."""
    if not patch:
        return []
    try:
        found = orjson.loads(patch)
    except orjson.JSONDecodeError as error:
        raise status.internal_error(str(error)) from error
    if found is None:
        return []
    if not isinstance(found, list):
        raise status.internal_error("json: cannot unmarshal a value that is no array into a JSON patch")
    return found


def patched_object(obj: Object, operations: list[Any], conform: Callable[[Object], object]) -> Object:
    """Another object of the same kind. Raises ApiError 500: it is the webhook's fault, not the client's."""
    try:
        changed = patches.json_patch(obj, operations)
        if not isinstance(changed, dict):
            raise status.bad_request("the patch leaves no object")
        for field in ("kind", "apiVersion"):
            if changed.get(field) != obj.get(field):
                raise status.bad_request(f"the patch changes {field} from {obj.get(field)} to {changed.get(field)}")
        conform(changed)
    except ApiError as error:
        # The problem of a patch that does not apply stands in the cause.
        causes = [cause.message for cause in error.causes]
        raise status.internal_error(causes[0] if causes else error.message) from error
    if "metadata" in obj:
        changed.setdefault("metadata", {})
    return changed
