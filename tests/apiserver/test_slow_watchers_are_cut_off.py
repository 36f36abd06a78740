"""The watch cache alone: bounded queues, bounded history, one encoding for everybody."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.selectors import parse_labels
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.watchcache import HISTORY_BYTES, WatchCache


def write(cache: WatchCache, name: str, revision: int, *, deleted: bool = False, text: str = "") -> None:
    obj = {"metadata": {"name": name, "namespace": "default"}, "data": {"text": text}}
    cache.apply(cache.layout.key("default", name), cache.layout.encode(obj), revision, deleted=deleted)


def test_a_watcher_that_does_not_read_is_cut_off_and_others_go_on() -> None:
    cache = WatchCache(CONFIGMAPS)
    slow, quick = (cache.watch(Selection(), after=0, limit=limit) for limit in (3, 100))
    assert slow is not None and quick is not None
    for revision in range(1, 6):
        write(cache, f"c{revision}", revision)
    assert slow.ended and not quick.ended
    assert cache.watchers == {quick}
    assert [event.revision for _, event in quick.take()] == [1, 2, 3, 4, 5]


def test_the_past_is_forgotten_by_number_and_by_size() -> None:
    cache = WatchCache(CONFIGMAPS, history=10)
    for revision in range(1, 31):
        write(cache, "c", revision)
    assert cache.oldest == 20
    assert cache.watch(Selection(), after=19, limit=10) is None
    watcher = cache.watch(Selection(), after=20, limit=10)
    assert watcher is not None and [event.revision for _, event in watcher.take()] == list(range(21, 31))
    big = WatchCache(CONFIGMAPS, history=1000)
    for revision in range(1, 30):
        write(big, "c", revision, text="x" * (HISTORY_BYTES // 10))
    assert 15 < big.oldest < 29


def test_the_past_reaches_as_far_back_as_the_present_is_wide() -> None:
    cache = WatchCache(CONFIGMAPS, history=10)
    for revision in range(1, 101):
        write(cache, f"c{revision}", revision)
    assert cache.oldest == 0
    for revision in range(101, 151):
        write(cache, "c1", revision)
    assert cache.oldest == 50
    for name in range(1, 61):
        write(cache, f"c{name}", 150 + name, deleted=True)
    assert cache.oldest == 170
    big = WatchCache(CONFIGMAPS, history=1000)
    for revision in range(1, 31):
        write(big, f"c{revision % 15}", revision, text="x" * (HISTORY_BYTES // 10))
    assert big.oldest == 15, "fifteen are there, and the last change of each"


def test_watchers_share_one_encoding_of_an_event() -> None:
    cache = WatchCache(CONFIGMAPS)
    watchers = [cache.watch(Selection(namespace), after=0, limit=10) for namespace in ("", "default")]
    write(cache, "c", 1)
    frames = [event.frame(type_) for watcher in watchers if watcher for type_, event in watcher.take()]
    assert len(frames) == 2 and frames[0] is frames[1]
    assert orjson.loads(frames[0])["object"]["metadata"]["resourceVersion"] == "1"


def test_an_object_is_kept_once_and_its_bytes_are_those_of_its_events() -> None:
    cache = WatchCache(CONFIGMAPS)
    watcher = cache.watch(Selection(), after=0, limit=10)
    write(cache, "c", 7)
    entry = cache.get(cache.layout.key("default", "c"))
    assert watcher is not None and entry is not None
    ((type_, event),) = watcher.take()
    assert event.object_for(type_) is entry.value


def test_history_holds_the_object_before_only_where_a_selection_tells_it_from_the_one_after() -> None:
    cache = WatchCache(CONFIGMAPS)
    watcher = cache.watch(Selection(), after=0, limit=10)
    chosen = cache.watch(Selection(labels=parse_labels("a=1")), after=0, limit=10)
    assert watcher is not None and chosen is not None
    first, second, third = (label(cache, revision, a) for revision, a in ((1, "1"), (2, "1"), (3, "2")))
    assert second.labels is first.labels
    events = [event for _, event in watcher.take()]
    assert events[1].previous is second and events[2].previous is second
    assert [type_ for type_, _ in chosen.take()] == ["ADDED", "MODIFIED", "DELETED"]
    assert orjson.loads(events[2].object_for("DELETED"))["metadata"] == {
        "name": "c", "namespace": "default", "labels": {"a": "1"}, "resourceVersion": "3",
    }  # fmt: skip
    assert third.labels == {"a": "2"}


def test_history_holds_the_object_before_where_selections_look_at_a_conversion_of_it() -> None:
    cache = WatchCache(CONFIGMAPS, keeps_previous=True)
    watcher = cache.watch(Selection(), after=0, limit=10)
    first, _ = label(cache, 1, "1"), label(cache, 2, "1")
    assert watcher is not None
    assert watcher.take()[1][1].previous is first


def label(cache: WatchCache, revision: int, a: str) -> Entry:
    obj = {"metadata": {"name": "c", "namespace": "default", "labels": {"a": a}}, "data": {"at": str(revision)}}
    key = cache.layout.key("default", "c")
    cache.apply(key, cache.layout.encode(obj), revision, deleted=False)
    entry = cache.get(key)
    assert entry is not None
    return entry


def test_a_deletion_of_what_a_selection_never_saw_is_not_told() -> None:
    cache = WatchCache(CONFIGMAPS)
    watcher = cache.watch(Selection(labels=parse_labels("tier=web")), after=0, limit=10)
    write(cache, "c", 1)
    write(cache, "c", 2, deleted=True)
    assert watcher is not None and watcher.take() == [] and len(cache) == 0


WRITES = st.tuples(st.sampled_from("ab"), st.booleans(), st.sampled_from(["", "1", "2"]))
"""Of which object, whether it is deleted, and the value of its label."""


@given(writes=st.lists(WRITES, max_size=8))
def test_who_watches_everything_is_told_what_a_selector_that_excludes_nothing_tells(writes: Any) -> None:
    cache = WatchCache(CONFIGMAPS)
    selections = (Selection(), Selection(labels=parse_labels("!absent")), Selection("default"))
    assert [one.is_unbounded for one in selections] == [True, False, False]
    watchers = [cache.watch(one, after=0, limit=100) for one in selections]
    for revision, (name, is_deleted, label) in enumerate(writes, start=1):
        obj = {"metadata": {"name": name, "namespace": "default", "labels": {"a": label} if label else {}}}
        key = cache.layout.key("default", name)
        cache.apply(key, cache.layout.encode(obj), revision, deleted=is_deleted)
    unbounded, *others = ([(type_, event.frame(type_)) for type_, event in one.take()] for one in watchers if one)
    assert others == [unbounded, unbounded]


FIELDS = ("kind", "apiVersion", "metadata", "data", "nonsense")


@given(fields=st.permutations(FIELDS), metadata=st.permutations(["name", "resourceVersion", "labels", "selfLink"]))
def test_what_is_stored_begins_alike_and_keeps_its_order(fields: list[str], metadata: list[str]) -> None:
    obj: dict[str, Any] = {field: f"the {field}" for field in fields}
    obj["metadata"] = {field: f"the {field}" for field in metadata}
    before = orjson.dumps(obj)
    stored = orjson.loads(WatchCache(CONFIGMAPS).layout.encode(obj))
    assert orjson.dumps(obj) == before
    assert (stored["kind"], stored["apiVersion"]) == ("ConfigMap", "v1")
    assert [*stored] == [*FIELDS[:3], *(one for one in fields if one not in FIELDS[:3])]
    assert [*stored["metadata"]] == [one for one in metadata if one in ("name", "labels")]


def test_namespaces_that_begin_alike_are_told_apart() -> None:
    cache = WatchCache(CONFIGMAPS)
    for revision, namespace in enumerate(("a", "a-b", "a0", "ab"), start=1):
        obj = {"metadata": {"name": "x", "namespace": namespace}}
        cache.apply(cache.layout.key(namespace, "x"), cache.layout.encode(obj), revision, deleted=False)
    assert [entry.namespace for entry in cache.select(Selection("a"))] == ["a"]
    assert [entry.namespace for entry in cache.select(Selection())] == ["a-b", "a", "a0", "ab"]
