"""User namespaces of pods (``spec.hostUsers: false``): which of this machine's users a pod's users are.

Each such pod has 65536 users of the host to itself: user 0 inside is the first of them. Which they are is written into
the pod's directory before its sandbox is made, in the kubelet's words, and goes with the directory; what is taken is
what these files say, so that there is nothing that a restart could forget.

The range of all pods is that of the user ``kubelet`` in /etc/subuid and /etc/subgid; without one it begins at 65536, as
the kubelet's does. Source: https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/ and KEP-127.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.cri.messages import NUMBERS
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.files import write_atomic
from kontinuum.node.port import Config

LENGTH = 65536
FILE = "userns"
OWNER = "kubelet"
SUBORDINATES = (Path("/etc/subuid"), Path("/etc/subgid"))


class NoUsers(Retryable):
    """The pod can be given no users now; the message says why."""


class BadRange(NoUsers):
    """What /etc/subuid and /etc/subgid give to pods cannot be divided among them."""


class BadNote(NoUsers):
    """What stands in a pod's directory are no users: nobody knows which are free."""


class NoUsersLeft(NoUsers):
    """Every part of the range belongs to a pod."""


@dataclass(frozen=True, slots=True)
class Users:
    """The users of the host that a pod's users are."""

    first: int

    def as_cri(self) -> list[Config]:
        return [{"host_id": self.first, "container_id": 0, "length": LENGTH}]


def has_own(pod: Object) -> bool:
    return pod["spec"].get("hostUsers") is False


def unsupported(handler: str) -> str:
    """The kubelet's words for a runtime that cannot do it."""
    who = f'RuntimeClass handler "{handler}"' if handler else "runtime"
    return f"can't set `spec.hostUsers: false`, {who} does not support user namespaces"


def range_of(subuid: str, subgid: str, *, most_pods: int) -> range:
    """The first users that pods can have, from the two files' texts. Raises BadRange."""
    found = [_lines(text) for text in (subuid, subgid)]
    if not found[0] and not found[1]:
        return range(LENGTH, LENGTH * (most_pods + 1), LENGTH)
    if found[0] != found[1]:
        raise BadRange(f"{OWNER} has other numbers in /etc/subuid ({found[0]}) than in /etc/subgid ({found[1]})")
    if len(found[0]) > 1:
        raise BadRange(f"{OWNER} has {len(found[0])} ranges in /etc/subuid; it may have one")
    ((first, count),) = found[0]
    if first % LENGTH or count % LENGTH or first < LENGTH:
        raise BadRange(f"{OWNER}:{first}:{count} in /etc/subuid: both must be multiples of {LENGTH}, and not 0")
    if count // LENGTH < most_pods:
        raise BadRange(f"{OWNER}:{first}:{count} in /etc/subuid is not enough for {most_pods} pods (node.max_pods)")
    return range(first, first + count, LENGTH)


def mapped(config: Config, users: Users | None) -> Config:
    """A sandbox's or container's configuration whose users are these; without any, as it is."""
    if users is None:
        return config
    ids = users.as_cri()
    security = config["linux"]["security_context"]
    options = {
        **security["namespace_options"],
        "userns_options": {"mode": NUMBERS["POD"], "uids": ids, "gids": ids},
    }
    linux = {**config["linux"], "security_context": {**security, "namespace_options": options}}
    # Files belong to whom they would belong to without the namespace: the mount translates.
    mounts = [{**mount, "uidMappings": ids, "gidMappings": ids} for mount in config.get("mounts") or ()]
    return {**config, "linux": linux, **({"mounts": mounts} if mounts else {})}


class UserNamespaces:
    """Gives pods their users. ``pods`` is the directory of all pods' directories, by UID."""

    def __init__(self, pods: Path, *, most_pods: int, subordinates: tuple[Path, Path] = SUBORDINATES) -> None:
        self._pods = pods
        self._most_pods = most_pods
        self._subordinates = subordinates

    def of(self, uid: str) -> Users:
        """Those of the pod, always the same ones. Raises NoUsers, OSError.

        Without an await from the look to the note: no two pods are given the same.
        """
        path = self._pods / uid / FILE
        if path.exists():
            return _read(path)
        taken = {_read(other).first for other in self._pods.glob(f"*/{FILE}")}
        subuid, subgid = (place.read_text() if place.exists() else "" for place in self._subordinates)
        users = _free(range_of(subuid, subgid, most_pods=self._most_pods), taken)
        path.parent.mkdir(parents=True, exist_ok=True)
        line = {"hostId": users.first, "containerId": 0, "length": LENGTH}
        write_atomic(path, json.dumps({"uidMappings": [line], "gidMappings": [line]}))
        return users


def _free(firsts: Iterable[int], taken: set[int]) -> Users:
    for first in firsts:
        if first not in taken:
            return Users(first)
    raise NoUsersLeft("could not find an empty slot to allocate a user namespace")


def _read(path: Path) -> Users:
    text = path.read_text()
    try:
        said = json.loads(text)
        (line,) = said["uidMappings"]
        if said["gidMappings"] == [line] and (line["containerId"], line["length"]) == (0, LENGTH):
            return Users(int(line["hostId"]))
    except (KeyError, TypeError, ValueError):
        pass
    raise BadNote(f"{path}: {text!r} are no users of a pod; remove the file when that pod is gone")


def _lines(text: str) -> list[tuple[int, int]]:
    return list(_ranges(text.splitlines()))


def _ranges(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        name, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if name == OWNER:
            if not (first.isdecimal() and count.isdecimal()):
                raise BadRange(f"{line!r} is no line of /etc/subuid: NAME:FIRST:COUNT")
            yield int(first), int(count)
