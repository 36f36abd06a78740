"""Protobuf classes for etcd's API version 3, built at import from the compact table beside this file.

``rpc.txt`` lists the messages and fields that we use, in the form of ``foundation.protobuf_table``; a test holds every
number in it against the descriptors embedded in the installed etcd. (etcd3aio 0.3 was tried: it carries 300 KB of
generated code, of which this is two percent, and registers it under names that other packages use too.)
"""

from __future__ import annotations

from importlib import resources

from kontinuum.foundation import protobuf_table

PACKAGE = "etcdserverpb"


def read_table() -> str:
    return resources.files(__package__).joinpath("rpc.txt").read_text()


_PROTOCOL = protobuf_table.load(PACKAGE, read_table())
MESSAGES, NUMBERS, CALLS = _PROTOCOL.messages, _PROTOCOL.numbers, _PROTOCOL.calls
"""Message classes, enum values and calls by their names in etcd's API."""
