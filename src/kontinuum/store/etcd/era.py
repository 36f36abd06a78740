"""Where our keys are in etcd, and how our revisions follow from etcd's.

    PREFIX meta                       which era is in force, and its base
    PREFIX N/data/KEY                 the values of era N
    PREFIX N/head                     written with every change: its revision is that of the last one
    PREFIX N/sessions/ID              one for each server; writes of a session hold only while this is unchanged
    PREFIX N/sessions/ID/SLOT         receipts: which write of the session was the last one in this slot
    PREFIX N/restoring                who has filled era N, if that began with a restore (see ``transfer``)

etcd counts the changes of everybody who uses it and cannot be told to begin elsewhere. So our revision is etcd's less
an origin that is fixed for an era: the head's creation has the revision ``base``. The first era begins at 0. A restore
fills the keys of the next era, unseen, and puts it into force by one transaction, with a base above every revision that
was ever given out. Whoever still writes to the old era is refused by its own session, which that transaction removes.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from kontinuum.foundation.errors import Broken
from kontinuum.store.etcd import requests
from kontinuum.store.etcd.members import Members

FORMAT = 1


class Meta(msgspec.Struct, frozen=True):
    """What is kept under ``meta``."""

    format: int
    era: int
    base: int


@dataclass(frozen=True, slots=True)
class Era:
    """One life of the store."""

    prefix: bytes
    number: int
    base: int
    """The revision at which it began. What was before is not told."""
    created: int
    """etcd's revision at which it was put into force."""

    def theirs(self, revision: int) -> int:
        """etcd's number of our ``revision``."""
        return revision - self.base + self.created

    def ours(self, revision: int) -> int:
        """Our number of etcd's ``revision``."""
        return revision - self.created + self.base

    @property
    def head(self) -> bytes:
        return head_of(self.prefix, self.number)

    @property
    def data(self) -> bytes:
        return data_of(self.prefix, self.number)

    @property
    def sessions(self) -> bytes:
        return sessions_of(self.prefix, self.number)

    def key(self, key: str) -> bytes:
        return self.data + key.encode()

    def end(self, prefix: str) -> bytes:
        """Where the keys under ``prefix`` end."""
        return requests.end_of(self.data + prefix.encode())

    def name(self, key: bytes) -> str:
        return key[len(self.data) :].decode()


def meta_of(prefix: bytes) -> bytes:
    return prefix + b"meta"


def era_of(prefix: bytes, number: int) -> bytes:
    return b"%b%d/" % (prefix, number)


def restoring_of(prefix: bytes, number: int) -> bytes:
    return b"%b%d/restoring" % (prefix, number)


def head_of(prefix: bytes, number: int) -> bytes:
    return b"%b%d/head" % (prefix, number)


def data_of(prefix: bytes, number: int) -> bytes:
    return b"%b%d/data/" % (prefix, number)


def sessions_of(prefix: bytes, number: int) -> bytes:
    return b"%b%d/sessions/" % (prefix, number)


def encode_meta(*, era: int, base: int) -> bytes:
    return msgspec.json.encode(Meta(format=FORMAT, era=era, base=base))


async def enter(members: Members, prefix: bytes, session: bytes) -> tuple[Era, int]:
    """The era in force (the first, if there is none yet), and the revision at which our ``session`` began in it.

    Raises Broken if the keys are not ours, AccessDenied, StoreUnavailable.
    """
    while True:
        era = await in_force(members, prefix)
        if era is not None:
            begun = await members.ask(
                "Txn",
                requests.transaction(
                    [requests.same(era.head, era.created)], [requests.put(era.sessions + session, b"")]
                ),
            )
            if begun.succeeded:
                return era, begun.header.revision
            continue  # another era has come into force meanwhile
        # One transaction, so that the first change of a new store has the revision 1.
        await members.ask(
            "Txn",
            requests.transaction(
                [requests.same(meta_of(prefix), 0)],
                [
                    requests.put(meta_of(prefix), encode_meta(era=1, base=0)),
                    requests.put(head_of(prefix, 1), b""),
                    requests.put(sessions_of(prefix, 1) + session, b""),
                ],
            ),
        )
        era = await in_force(members, prefix)
        found = await members.ask("Range", requests.ranged(sessions_of(prefix, 1) + session))
        if era is not None and found.kvs:
            return era, found.kvs[0].mod_revision


async def in_force(members: Members, prefix: bytes) -> Era | None:
    """The present era; None in an etcd that holds nothing of ours."""
    while True:
        found = (await members.ask("Range", requests.ranged(meta_of(prefix)))).kvs
        if not found:
            return None
        meta = read_meta(prefix, found[0].value)
        heads = (await members.ask("Range", requests.ranged(head_of(prefix, meta.era), keys_only=True))).kvs
        if heads:
            return Era(prefix=prefix, number=meta.era, base=meta.base, created=heads[0].create_revision)
        again = (await members.ask("Range", requests.ranged(meta_of(prefix), keys_only=True))).kvs
        if again and again[0].mod_revision == found[0].mod_revision:
            raise Broken(
                f"etcd: {head_of(prefix, meta.era).decode()} is missing: the store's keys have been tampered with"
            )


def read_meta(prefix: bytes, value: bytes) -> Meta:
    """Raises Broken."""
    try:
        meta = msgspec.json.decode(value, type=Meta)
    except msgspec.DecodeError as error:
        raise Broken(f"etcd: {meta_of(prefix).decode()} is not ours; choose another prefix") from error
    if meta.format != FORMAT:
        raise Broken(f"etcd: {prefix.decode()} was written by another version (format {meta.format}); use that one")
    return meta
