"""Between an object that was decided upon and the store: admission, rules, compare-and-swap, and trying again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import orjson
from msgspec import Struct

from kontinuum.api.machinery import status
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.apiserver import lifecycle, ownership, versions, writing
from kontinuum.apiserver.admission.requests import View, attributes_of
from kontinuum.apiserver.authz.authorizer import on_resource
from kontinuum.apiserver.authz.refusal import refused
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.encryption.encryption import is_stale
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.quota.charging import Charge, charging
from kontinuum.apiserver.services.reservation import holding, is_held, let_go
from kontinuum.store.port import AlreadyExists, Missing, Record, StaleRevision

STATUS_PARTS = frozenset({"kind", "apiVersion", "metadata", "status"})
"""All that is written through ``status``."""
ATTEMPTS = 10
"""How often a change is decided again because another writer was faster, before the client gets the conflict."""

Decide = Callable[[Object], Object]
"""From the object as it is (the callee may change it) to the object to be stored. Raises ApiError to refuse."""
Merge = Callable[[Object, Object], Object]
"""The same, given the object a second time, to compare with."""


class Stored(Struct, frozen=True):
    """What became of a write: the object's bytes as clients get them."""

    value: bytes
    created: bool = False


async def insert(
    context: Context, served: Served, call: Call, obj: Object, *, dry_run: bool, tracked: bool = True
) -> Stored:
    """Admit, complete, check and store a new object. Raises ApiError, StoreFull, StoreUnavailable.

    ``tracked`` False leaves ``managedFields`` as ``obj`` has them.
    """
    async with AsyncExitStack() as held:
        is_generated = await _complete(context, served, call, obj, held, dry_run=dry_run, tracked=tracked)
        charge = await _charge(context, served, obj, held, dry_run=dry_run)
        for _ in range(ATTEMPTS):
            name = writing.name_for_create(served.resource, obj["metadata"])
            try:
                return await _insert_once(context, served, obj, charge, dry_run=dry_run)
            except AlreadyExists:
                if not is_generated:
                    break
                obj["metadata"]["name"] = ""
        raise status.already_exists(served.resource, name)


async def _charge(context: Context, served: Served, obj: Object, held: AsyncExitStack, *, dry_run: bool) -> Charge:
    """What the write tells its quotas. Raises as entering ``charging`` does."""
    if not context.quotas.are_open(served, obj["metadata"].get("namespace", "")):
        return Charge()
    return await held.enter_async_context(charging(context, served, obj, None, dry_run=dry_run))


async def _complete(
    context: Context, served: Served, call: Call, obj: Object, held: AsyncExitStack, *, dry_run: bool, tracked: bool
) -> bool:
    """Whether the object's name was made for it, after admission has seen it without one.

    ``held`` keeps what the object is given until it is stored, or gives it back.
    """
    attributes = attributes_of("CREATE", served, call, obj, dry_run=dry_run)
    served.kind.default(obj)
    if tracked:
        # Before admission: what that changes belongs to nobody.
        ownership.track(served, call, None, obj, now=context.clock.time())
    served.kind.show_status(obj)
    given = dict(obj["metadata"])
    await context.admission.admit(attributes, context)
    if attributes.is_changed_outside:
        _keep_identity(served, call, obj, given)
        ownership.keep_valid(call, obj, given.get("managedFields"))
    is_generated = not obj["metadata"].get("name")
    writing.name_for_create(served.resource, obj["metadata"])
    if is_held(served):
        await held.enter_async_context(holding(context, served, obj, None, dry_run=dry_run))
    served.kind.prepare_create(obj)
    _raise_invalid(served, obj, await _checked(served, lambda: served.kind.validate(obj, None)))
    _warn(served, call, obj, None)
    await context.admission.validate(attributes, context)
    return is_generated


async def _insert_once(context: Context, served: Served, obj: Object, charge: Charge, *, dry_run: bool) -> Stored:
    metadata = obj["metadata"]
    key = served.layout.key(metadata.get("namespace", ""), metadata["name"])
    value = served.layout.encode(await versions.to_stored(served.converter, obj))
    if dry_run:
        await context.catch_up()
        if served.cache.get(key) is not None:
            raise AlreadyExists(f"creating {key}: it exists already")
        return Stored(await versions.present_one(served.converter, value), created=True)
    _check_still_served(context, served)
    record = await context.store.create(key, value)
    charge.revision = record.revision
    await _watchers_turn()
    await _go_by_it(context, served, record)
    return await _stored(served, record, value, created=True)


def _check_still_served(context: Context, served: Served) -> None:
    """A custom resource may end while a webhook is asked about a new object, which nobody would delete then.

    Raises ApiError 404, 405.
    """
    if served.resource in context.catalog.built_in:
        return
    resource = served.resource
    current = context.catalog.find(resource.group, resource.version, resource.plural)
    if current is None:
        raise status.no_such_path()
    current.kind.check_may_create()


async def change(
    context: Context,
    served: Served,
    call: Call,
    decide: Decide | None = None,
    *,
    dry_run: bool,
    merge: Merge | None = None,
    parts: frozenset[str] | None = None,
    checked: bool = True,
    tracked: bool | None = None,
    view: View | None = None,
) -> Stored:
    """Read, decide (or ``merge``), admit, check and store, again while other writers are faster.

    Raises ApiError, StoreFull, StoreUnavailable.
    ``checked`` False leaves out the kind's rules. ``parts`` are the fields that ``merge`` may write, None for any.
    ``tracked``: the client comes to own what changes; by default if ``checked``. ``view`` is what admission sees in
    place of the object, where the subresource has another kind.
    """
    name = call.route.name
    for _ in range(ATTEMPTS):
        entry = await context.current(served, call.route.namespace, name)
        old = await versions.read(served.converter, entry.value)
        given = await _to_be_changed(served, call, entry, old, parts)
        new = merge(given, old) if merge is not None else decide(given) if decide is not None else given
        if checked if tracked is None else tracked:
            ownership.track(served, call, old, new, now=context.clock.time())
        attributes = attributes_of("UPDATE", served, call, new, old, dry_run=dry_run, view=view)
        owners = new["metadata"].get("managedFields")
        await context.admission.admit(attributes, context)
        if view is not None and attributes.obj is not None:
            new = view.into(attributes.obj, new)
        if attributes.is_changed_outside and checked:
            _settle_again(served, call, new, old)
            ownership.keep_valid(call, new, owners)
        try:
            async with holding(context, served, new, old, dry_run=dry_run):
                if checked:
                    problems = await _checked(served, partial(_problems, served, call, new, old))
                    _raise_invalid(served, new, problems)
                    _warn(served, call, new, old)
                await context.admission.validate(attributes, context)
                async with charging(context, served, new, old, dry_run=dry_run) as charge:
                    return await replace(context, served, entry, new, charge, dry_run=dry_run)
        except StaleRevision as error:
            await context.catch_up(error.current)
        except Missing:
            raise status.not_found(served.resource, name) from None
    raise status.conflict(served.resource, name)


async def rewrite(context: Context, served: Served, call: Call, decide: Decide, *, dry_run: bool) -> Stored:
    """As ``change`` for what the server itself changes: neither admission nor the kind's rules have a say in it."""
    name = call.route.name
    for _ in range(ATTEMPTS):
        entry = await context.current(served, call.route.namespace, name)
        new = decide(await versions.read(served.converter, entry.value))
        try:
            return await replace(context, served, entry, new, dry_run=dry_run)
        except StaleRevision as error:
            await context.catch_up(error.current)
        except Missing:
            raise status.not_found(served.resource, name) from None
    raise status.conflict(served.resource, name)


async def _to_be_changed(served: Served, call: Call, entry: Entry, old: Object, parts: frozenset[str] | None) -> Object:
    """``old`` once more, for ``merge`` to change: but for what a change of the status never has to do with."""
    is_status = call.route.subresource == "status" and served.kind.conforms_in_parts
    if parts is None or not is_status or not parts <= STATUS_PARTS:
        return await versions.read(served.converter, entry.value)
    metadata = {**old["metadata"]}
    if "metadata" in parts:
        # The owners of fields are most of it, and nothing is ever merged into them: they are replaced as a whole.
        rest = {**metadata}
        rest.pop("managedFields", None)
        metadata |= copy(rest)
    given = {**old, "metadata": metadata}
    if "status" in old:
        given["status"] = copy(old["status"])
    return given


def _settle_again(served: Served, call: Call, new: Object, old: Object) -> None:
    """What somebody outside has made of ``new`` is held to what a client may change this way: it was not asked yet."""
    _keep_identity(served, call, new, old["metadata"])
    if call.route.subresource not in ("", "scale"):
        served.kind.prepare_subresource(call.route.subresource, new, old)
    else:
        served.kind.prepare_update(new, old)


def _keep_identity(served: Served, call: Call, obj: Object, before: Object) -> None:
    """Raises ApiError 400 if the object is said to be another one now; ``before`` is its metadata until then."""
    metadata = writing.metadata_of(obj)
    writing.check_kind(served.resource, obj)
    writing.check_namespace(served.resource, metadata, call.route.namespace)
    writing.carry_over(metadata, before)
    if call.route.name and metadata.setdefault("name", call.route.name) != call.route.name:
        raise status.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.route.name})"
        )


async def replace(
    context: Context, served: Served, entry: Entry, new: Object, charge: Charge | None = None, *, dry_run: bool
) -> Stored:
    """Store ``new`` over ``entry``, or remove it if nothing holds it back any more. Raises StaleRevision, Missing.

    ``charge`` is told when it has happened.
    """
    value = served.layout.encode(await versions.to_stored(served.converter, new))
    spliced = served.layout.splice(value, entry.revision)
    is_same = _is_same(spliced, entry.value) and not lifecycle.is_over(new)
    if is_same and not await is_stale(context.store, entry.key):
        return await _present(served, entry.value)  # Nothing changes: nothing is written and no watcher is woken.
    if dry_run:
        return await _present(served, spliced)
    if lifecycle.is_over(new):
        record = await context.store.delete(entry.key, expected=entry.revision)
        await let_go(context, served, new)
    else:
        record = await context.store.update(entry.key, value, expected=entry.revision)
    if charge is not None:
        charge.revision = record.revision
    await _watchers_turn()
    await _go_by_it(context, served, record)
    return await _stored(served, record, value)


async def _go_by_it(context: Context, served: Served, record: Record) -> None:
    """What others are admitted by is in force at this server when its author is answered."""
    if served.strategy.is_policy:
        await context.wait_revision(record.revision)


async def _watchers_turn() -> None:
    """Let who watches hear of a write before who made it: watchers have just been woken, and their turn is before ours.

    The work is the same, but a client that acts on its own write finds the others informed.
    """
    await asyncio.sleep(0)


async def _stored(served: Served, record: Record, value: bytes, *, created: bool = False) -> Stored:
    """``value`` is in the form that is stored."""
    entry = served.cache.get(record.key)
    if entry is not None and entry.revision == record.revision:
        whole = entry.value  # The cache has had its turn already, and has put together the same bytes.
    else:
        whole = served.layout.splice(value, record.revision)
    return Stored(await versions.present_one(served.converter, whole), created)


async def _present(served: Served, value: bytes) -> Stored:
    return Stored(await versions.present_one(served.converter, value))


def check_may_create(context: Context, call: Call) -> None:
    """Raises ApiError 403 for an update or apply that would create what its user may not create."""
    route = call.route
    asked = on_resource(call.user, "create", route.resource, namespace=route.namespace, name=route.name)
    decision = context.authorizer.decide(asked)
    if not decision.allowed:
        raise refused(asked, decision.reason)


def _is_same(new: bytes, old: bytes) -> bool:
    """Equal but for the order of fields, which does not change the length."""
    return new == old or (len(new) == len(old) and bool(orjson.loads(new) == orjson.loads(old)))


async def _checked(served: Served, check: Callable[[], list[FieldError]]) -> list[FieldError]:
    """What is wrong with an object. Where finding out may take seconds, others are answered meanwhile."""
    return await asyncio.to_thread(check) if served.kind.checks_slowly else check()


def _problems(served: Served, call: Call, new: Object, old: Object) -> list[FieldError]:
    if call.route.subresource:
        return served.kind.validate_subresource(call.route.subresource, new, old)
    return served.kind.validate(new, old)


def _warn(served: Served, call: Call, obj: Object, old: Object | None) -> None:
    """Each warning once, however often a change is decided."""
    if not call.route.subresource:
        found = served.kind.warnings(obj, old)
        call.warnings.extend(one for one in found if one not in call.warnings)


def _raise_invalid(served: Served, obj: Object, problems: list[FieldError]) -> None:
    if problems:
        raise status.invalid(served.resource.kind, obj["metadata"]["name"], problems, group=served.resource.group)
