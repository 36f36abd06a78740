"""Which entries a list answers, and as of which revision (Kubernetes' semantics of resourceVersion for lists).

resourceVersion   match          answers
""                               the present: the caches catch up with the store first
"0"                              whatever the cache holds
N                 NotOlderThan   the cache, once it has reached N (also without match and limit)
N                 Exact          the state at exactly N (also with a limit and no match)
(continue)                       the state at the first page's revision; once that is forgotten, 410 with a token of
                                 the present
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from kontinuum.api.machinery import fields, status
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.continuation import NOW, continue_token, expired_token, read_token
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.selection import Selection
from kontinuum.store.port import Compacted, FutureRevision

EXACT, NOT_OLDER = "Exact", "NotOlderThan"


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The texts of the query, checked against each other by ``check``."""

    resource_version: str = ""
    match: str = ""
    limit: int = 0
    continue_: str = ""
    sends_initial_events: bool = False
    """Was asked for, which only a watch does."""

    def check(self) -> None:
        """Raises ApiError 400 or 422 for combinations that mean nothing."""
        version, match = self.resource_version, self.match
        if self.limit < 0:
            raise status.bad_request("limit: must not be negative")
        parse_version(version)
        if self.continue_ and version not in ("", "0"):
            raise status.bad_request("specifying resource version is not allowed when using continue")
        causes = self._contradictions(match, version) if match else []
        if self.sends_initial_events:
            causes.append(fields.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        if causes:
            raise invalid_options(causes)

    def _contradictions(self, match: str, version: str) -> list[fields.FieldError]:
        """apimachinery's ``ValidateListOptions``."""
        path = "resourceVersionMatch"
        causes = []
        if not version:
            causes.append(fields.forbidden(path, f"{path} is forbidden unless resourceVersion is provided"))
        if self.continue_:
            causes.append(fields.forbidden(path, f"{path} is forbidden when continue is provided"))
        if match not in (EXACT, NOT_OLDER):
            causes.append(fields.not_supported(path, match, (EXACT, NOT_OLDER, "")))
        if match == EXACT and version == "0":
            causes.append(fields.forbidden(path, f'{path} "exact" is forbidden for resourceVersion "0"'))
        return causes


@dataclass(frozen=True, slots=True)
class Slice:
    """``remaining`` is None where it is not known."""

    entries: list[Entry]
    revision: int
    continue_: str = ""
    remaining: int | None = None


def parse_version(text: str) -> int:
    """A resourceVersion as a number, 0 for "". Raises ApiError 400."""
    if not text:
        return 0
    if not text.isdecimal():
        raise status.bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


async def read_list(context: Context, served: Served, selection: Selection, options: ListOptions) -> Slice:
    """See the module. Raises ApiError 400, 410, 422 or 504."""
    options.check()
    if options.continue_:
        revision, after = read_token(options.continue_, served.layout.prefix)
        if revision == NOW:
            return _present(served, selection, await context.catch_up(), after=after, limit=options.limit)
        return await _as_of(context, served, selection, revision, after=after, limit=options.limit)
    version = parse_version(options.resource_version)
    if version == 0:
        revision = context.feed.applied if options.resource_version else await context.catch_up()
        return _present(served, selection, revision, limit=0 if options.resource_version else options.limit)
    if options.match == EXACT or (options.limit and not options.match):
        return await _as_of(context, served, selection, version, after="", limit=options.limit)
    revision = await context.wait_revision(version)
    return _present(served, selection, revision, limit=options.limit)


async def _as_of(
    context: Context, served: Served, selection: Selection, revision: int, *, after: str, limit: int
) -> Slice:
    """The state at ``revision``: from the cache if nothing has changed since, else from the store's history.

    What history has forgotten is too old even where nothing has changed: tokens expire alike in all collections, and
    Kubernetes' conformance suite waits for one of a collection that nobody touches.
    """
    await context.wait_revision(revision)
    if served.cache.changed <= revision and revision >= context.history_begins:
        return _present(served, selection, revision, after=after, limit=limit)
    try:
        return await _past(context, served, selection, revision, after=after, limit=limit)
    except Compacted as error:
        if after:
            raise expired_token(after) from error
        raise status.expired("The resourceVersion for the provided list is too old.") from error
    except FutureRevision as error:
        raise status.too_large_resource_version(revision, context.feed.applied) from error


def _present(served: Served, selection: Selection, revision: int, *, after: str = "", limit: int) -> Slice:
    if limit and selection.is_everything:
        entries, remaining = served.cache.page(selection, after=after, limit=limit)
        return _page(entries, revision, remaining)
    found = served.cache.select(selection, after=after)
    if not limit:
        return Slice(list(found), revision)
    entries = list(islice(found, limit))
    is_last = next(found, None) is None
    return Slice(entries, revision, "" if is_last else continue_token(revision, entries[-1].key))


def _page(entries: list[Entry], revision: int, remaining: int) -> Slice:
    if not remaining:
        return Slice(entries, revision)
    return Slice(entries, revision, continue_token(revision, entries[-1].key), remaining)


async def _past(
    context: Context, served: Served, selection: Selection, revision: int, *, after: str, limit: int
) -> Slice:
    entries: list[Entry] = []
    prefix = served.layout.prefix_of(selection.namespace)
    while True:
        # One more than is asked for tells whether another page follows a filtered one.
        page = await context.store.list(prefix, limit=limit and limit + 1, after=after, revision=revision)
        for position, record in enumerate(page.records):
            entry = served.cache.entry_of(record.key, record.value, record.revision)
            if not selection.matches(entry):
                continue
            if limit and len(entries) == limit:
                remaining = page.remaining + len(page.records) - position if selection.is_everything else None
                return Slice(entries, revision, continue_token(revision, entries[-1].key), remaining)
            entries.append(entry)
        if not page.remaining:
            return Slice(entries, revision)
        after = page.records[-1].key


def invalid_options(causes: list[fields.FieldError]) -> status.ApiError:
    """422 for options of a list or watch that contradict each other."""
    return status.invalid("ListOptions", "", causes, group="meta.k8s.io")
