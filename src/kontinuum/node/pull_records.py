"""Who may use an image that lies here: whoever showed credentials for it, not whoever knows its name.

Without this a pod could run another tenant's private image just because it was pulled before (KEP-2535). For every
image that this node has pulled a file says with which Secrets, or that anybody may; before the pull another says that
it was begun. An image without either was there before us (imported, preloaded): the operator says who may use that.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from kontinuum.foundation.files import make_directory, write_atomic
from kontinuum.images.references import Reference
from kontinuum.node.pull_secrets import PullSecret
from kontinuum.node.settings import VerificationPolicy

MOST_SECRETS = 100
"""Of each repository; namespaces come and go, and the file must not grow for ever."""


class Shown(msgspec.Struct, frozen=True):
    """A Secret with which the registry let us in."""

    namespace: str
    name: str
    uid: str
    hash: str


class Access(msgspec.Struct, frozen=True):
    """Who may use an image under one of its names."""

    everybody: bool = False
    secrets: tuple[Shown, ...] = ()


class Record(msgspec.Struct, frozen=True):
    """What is known of one image, by ``registry/repository``."""

    image: str
    access: dict[str, Access] = {}


def must_verify(policy: VerificationPolicy, allowed: Iterable[str], image: Reference, *, pulled_here: bool) -> bool:
    """Whether a pod has to show credentials for an image that is present.

    ``allowed``: repositories, or all below one with ``/*`` at its end.
    """
    match policy:
        case "NeverVerify":
            return False
        case "AlwaysVerify":
            return True
        case "NeverVerifyPreloadedImages":
            return pulled_here
        case "NeverVerifyAllowlistedImages":
            listed = any(
                image.name == one or (one.endswith("/*") and image.name.startswith(one[:-1])) for one in allowed
            )
            return pulled_here or not listed


def may_use(record: Record | None, image: Reference, secrets: Iterable[PullSecret]) -> bool:
    """Whether what was shown before is enough: the same credentials, or the same Secret though it has changed."""
    access = record.access.get(image.name) if record else None
    if access is None:
        return False
    mine = list(secrets)
    hashes, places = {one.hash for one in mine}, {(one.namespace, one.name, one.uid) for one in mine}
    return access.everybody or any(
        one.hash in hashes or (one.namespace, one.name, one.uid) in places for one in access.secrets
    )


def with_pull(record: Record, image: Reference, secret: PullSecret | None) -> Record:
    """``record`` after another pull that went well, with ``secret`` or without any."""
    before = record.access.get(image.name, Access())
    if secret is None:
        after = Access(everybody=True)
    elif before.everybody:
        after = before
    else:
        shown = Shown(secret.namespace, secret.name, secret.uid, secret.hash)
        others = [one for one in before.secrets if (one.namespace, one.name) != (shown.namespace, shown.name)]
        after = Access(secrets=(*others[-MOST_SECRETS + 1 :], shown))
    return Record(record.image, {**record.access, image.name: after})


class PullRecords:
    """The files."""

    def __init__(self, directory: Path) -> None:
        self._pulled = directory / "pulled"
        self._begun = directory / "begun"
        self._under_way: Counter[str] = Counter()
        """How many pulls of an image are: it counts as pulled here as long as one is, whoever else has failed."""
        self._unended: set[str] = set()
        """Images whose pull a process before this one began, and of which it did not live to say how that ended."""

    def begin(self, image: Reference) -> None:
        """A pull begins: from now on the image counts as pulled here. Raises OSError."""
        name = str(image)
        if not self._under_way[name]:
            make_directory(self._begun)
            file = self._begun / _file_of(name)
            if file.exists():
                self._unended.add(name)
            write_atomic(file, name)
        self._under_way[name] += 1

    def end(self, image: Reference) -> None:
        """It has ended, and if it ended well that was noted."""
        name = str(image)
        self._under_way[name] -= 1
        if not self._under_way[name]:
            del self._under_way[name]
            if name not in self._unended:
                (self._begun / _file_of(name)).unlink(missing_ok=True)

    def note(self, image: Reference, image_id: str, secret: PullSecret | None) -> None:
        """A pull ends well. Raises OSError."""
        self._unended.discard(str(image))
        make_directory(self._pulled)
        before = self.find(image_id) or Record(image_id)
        after = with_pull(before, image, secret)
        if after != before:
            write_atomic(self._pulled / _file_of(image_id), msgspec.json.encode(after))

    def find(self, image_id: str) -> Record | None:
        """A file that cannot be read says nothing, and then nobody may use the image without showing credentials."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode((self._pulled / _file_of(image_id)).read_bytes(), type=Record)
        return None

    def was_pulled_here(self, image: Reference, image_id: str) -> bool:
        return (self._pulled / _file_of(image_id)).exists() or (self._begun / _file_of(str(image))).exists()

    def keep_only(self, image_ids: Collection[str]) -> None:
        """Forget images that are gone."""
        kept = {_file_of(one) for one in image_ids}
        for file in self._pulled.iterdir() if self._pulled.is_dir() else ():
            if file.name not in kept:
                file.unlink(missing_ok=True)


def _file_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
