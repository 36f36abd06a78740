"""The requests that we send to etcd, as functions: what is written where is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.store.etcd.messages import MESSAGES, NUMBERS

_RequestOp, _Compare, _Range = MESSAGES["RequestOp"], MESSAGES["Compare"], MESSAGES["RangeRequest"]
_Put, _Delete, _Txn = MESSAGES["PutRequest"], MESSAGES["DeleteRangeRequest"], MESSAGES["TxnRequest"]
_Watch, _Compaction = MESSAGES["WatchCreateRequest"], MESSAGES["CompactionRequest"]
EQUAL, LESS = NUMBERS["EQUAL"], NUMBERS["LESS"]
CREATE, MOD, DELETE = NUMBERS["CREATE"], NUMBERS["MOD"], NUMBERS["DELETE"]


def end_of(prefix: bytes) -> bytes:
    """The smallest key greater than every key under ``prefix``."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def ranged(
    key: bytes,
    end: bytes = b"",
    *,
    limit: int = 0,
    revision: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
) -> Any:
    """Read one key, or those from ``key`` to before ``end``."""
    return _Range(
        key=key, range_end=end, limit=limit, revision=revision, keys_only=keys_only, count_only=count_only
    )  # fmt: skip


def read(request: Any) -> Any:
    """A read as part of a transaction."""
    return _RequestOp(request_range=request)


def put(key: bytes, value: bytes) -> Any:
    return _RequestOp(request_put=_Put(key=key, value=value))


def delete(key: bytes, end: bytes = b"", *, previous: bool = False) -> Any:
    return _RequestOp(request_delete_range=_Delete(key=key, range_end=end, prev_kv=previous))


def unchanged(key: bytes, modified: int) -> Any:
    """Holds if the last change of ``key`` was at ``modified``; 0: if there is no such key."""
    return _Compare(result=EQUAL, target=MOD, key=key, mod_revision=modified)


def same(key: bytes, created: int) -> Any:
    """Holds if ``key`` is the one that was created at ``created``; 0: if there is none."""
    return _Compare(result=EQUAL, target=CREATE, key=key, create_revision=created)


def older(key: bytes, end: bytes, revision: int) -> Any:
    """Holds if nothing from ``key`` to before ``end`` has changed at ``revision`` or later."""
    return _Compare(result=LESS, target=MOD, key=key, range_end=end, mod_revision=revision)


def transaction(conditions: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any] = ()) -> Any:
    return _Txn(compare=conditions, success=then, failure=otherwise)


def watched(prefix: bytes, end: bytes, *, start: int) -> Any:
    """Every change from the revision ``start`` on, with what was there before."""
    return _Watch(key=prefix, range_end=end, start_revision=start, progress_notify=True, prev_kv=True, fragment=True)


def compaction(revision: int) -> Any:
    return _Compaction(revision=revision)
