"""Where a pod's volumes can be, decided for all nodes at once: pure functions of wishes, storage and snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.claims import class_of, is_made_for, size_of
from kontinuum.api.kubernetes.resources import CSIDRIVERS, CSISTORAGECAPACITIES
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.storage.state import BY_CLASS, Reservation, Storage
from kontinuum.scheduler.storage.wishes import Wishes

if TYPE_CHECKING:  # The snapshot holds our state.
    from kontinuum.scheduler.snapshot import Snapshot

NOT_PROVISIONED = ("", "kubernetes.io/no-provisioner")
TO_PROVISION = -1
UNBOUND_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"


@dataclass(frozen=True, slots=True)
class Choice:
    """What an unbound claim would be given on each node."""

    key: str
    volumes: list[str]
    column: NDArray[np.int64]
    """For each row the position in ``volumes``, or TO_PROVISION."""


@dataclass(slots=True)
class Survey:
    """Where a pod's claims can be; each mask has one entry a row."""

    reachable: Mask
    """All bound volumes can be reached."""
    bindable: Mask
    """Every unbound claim finds a volume or can be provisioned."""
    roomy: Mask
    """There is enough free storage for what is to be provisioned."""
    complete: bool = True
    """Every bound claim's volume exists."""
    choices: list[Choice] = field(default_factory=list)

    @property
    def fits(self) -> Mask:
        return self.reachable & self.bindable & self.roomy & self.complete


def refusal(wishes: Wishes, storage: Storage) -> str:
    """Why the pod can be on no node at all, in Kubernetes' words; "" if it is not so."""
    for claimed in wishes.claims:
        claim = storage.claim(wishes.key(claimed))
        if problem := _problem(wishes, claimed.claim, claim, is_ephemeral=claimed.is_ephemeral):
            return problem
    for claimed in wishes.claims:
        claim = storage.claim(wishes.key(claimed))
        if claim is not None and not binding.is_bound(claim) and not _is_ours_to_bind(claim, storage):
            return UNBOUND_IMMEDIATE
    return ""


def survey(wishes: Wishes, storage: Storage, snapshot: Snapshot) -> Survey:
    """Look at every node; all claims exist and are bound, or the scheduler's to bind (see ``refusal``)."""
    rows = len(snapshot.alive)
    result = Survey(np.ones(rows, np.bool_), np.ones(rows, np.bool_), np.ones(rows, np.bool_))
    unbound: list[tuple[int, str, Object]] = []
    for key in dict.fromkeys(wishes.key(claimed) for claimed in wishes.claims):
        claim = storage.claim(key)
        if claim is None:
            result.complete = False
        elif not binding.is_bound(claim):
            unbound.append((quantity.value(size_of(claim)), key, claim))
        elif (volume := storage.volume(binding.volume_of(claim))) is None:
            result.complete = False
        else:
            result.reachable &= reach(volume, snapshot)
    taken: dict[str, Mask] = {}
    # The smallest first, so that a small claim does not take what only a large one needs.
    for _, key, claim in sorted(unbound, key=lambda one: one[:2]):
        _choose(key, claim, storage, snapshot, taken, result)
    return result


def plan(wishes: Wishes, storage: Storage, snapshot: Snapshot, node: str) -> Reservation:
    """What to reserve for the pod on a node that fits."""
    row = snapshot.row_of[node]
    volumes, provisions = [], []
    for choice in survey(wishes, storage, snapshot).choices:
        position = int(choice.column[row])
        if position == TO_PROVISION:
            provisions.append(choice.key)
        else:
            volumes.append((choice.volumes[position], choice.key))
    return Reservation(node, tuple(volumes), tuple(provisions))


def reach(volume: Object, snapshot: Snapshot) -> Mask:
    """The nodes that can reach a volume: its node affinity, which looks at labels alone."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    mask = np.ones_like(snapshot.alive) if required is None else np.zeros_like(snapshot.alive)
    for term in (required or {}).get("nodeSelectorTerms") or ():
        if term.get("matchExpressions") and not term.get("matchFields"):
            mask |= _all_match(term["matchExpressions"], snapshot)
    return mask


def identity(key: str, storage: Storage) -> tuple[str, str] | None:
    """The CSI driver and handle of a claim's volume; of one that is yet to be made, the driver that will make it."""
    claim = storage.claim(key)
    if claim is None:
        return None
    if name := binding.volume_of(claim):
        return identity_of_volume(storage.volume(name))
    provisioner = (storage.storage_class(claim) or {}).get("provisioner", "")
    return (provisioner, key) if provisioner else None


def identity_of_volume(volume: Object | None) -> tuple[str, str] | None:
    source = ((volume or {}).get("spec") or {}).get("csi")
    return (source.get("driver", ""), source.get("volumeHandle", "")) if source else None


def _problem(wishes: Wishes, name: str, claim: Object | None, *, is_ephemeral: bool) -> str:
    if claim is None:
        if is_ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if (claim.get("status") or {}).get("phase") == "Lost":
        lost = binding.volume_of(claim)
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{lost}"'
    if "deletionTimestamp" in claim["metadata"]:
        return f'persistentvolumeclaim "{name}" is being deleted'
    pod = {"metadata": {"name": wishes.pod, "namespace": wishes.namespace, "uid": wishes.uid}}
    if is_ephemeral and not is_made_for(claim, pod):
        where = f"{namespace_of(claim)}/{name}"
        return f"PVC {where} was not created for pod {wishes.namespace}/{wishes.pod} (pod is not owner)"
    return ""


def _is_ours_to_bind(claim: Object, storage: Storage) -> bool:
    return not binding.volume_of(claim) and binding.is_delayed(claim, storage.storage_class(claim))


def _choose(
    key: str, claim: Object, storage: Storage, snapshot: Snapshot, taken: dict[str, Mask], result: Survey
) -> None:
    """Find for one claim, on each node, the best volume that is left, or see whether one can be made there."""
    column = np.full(len(snapshot.alive), TO_PROVISION, np.int64)
    names: list[str] = []
    selected = annotations_of(claim).get(binding.SELECTED_NODE)
    if selected:
        only = np.zeros_like(snapshot.alive)
        if selected in snapshot.row_of:
            only[snapshot.row_of[selected]] = True
        result.bindable &= only
    else:
        for volume in binding.matches(claim, storage.offers(claim, key)):
            name = name_of(volume)
            given = (column == TO_PROVISION) & reach(volume, snapshot)
            if name in taken:
                given &= ~taken[name]
            column[given] = len(names)
            names.append(name)
            taken[name] = taken.get(name, np.zeros_like(snapshot.alive)) | given
            if not (column == TO_PROVISION).any():
                break
    result.choices.append(Choice(key, names, column))
    to_make = column == TO_PROVISION
    storage_class = storage.storage_class(claim)
    if storage_class is None or storage_class.get("provisioner", "") in NOT_PROVISIONED:
        result.bindable &= ~to_make
        return
    allowed = _allowed(storage_class, snapshot)
    result.bindable &= ~to_make | allowed
    result.roomy &= ~(to_make & allowed) | _has_room(claim, storage_class, storage, snapshot)


def _allowed(storage_class: Object, snapshot: Snapshot) -> Mask:
    """The nodes in the topologies where the class may make volumes; no terms allow all."""
    terms = storage_class.get("allowedTopologies") or ()
    mask = np.zeros_like(snapshot.alive) if terms else np.ones_like(snapshot.alive)
    for term in terms:
        here = np.ones_like(snapshot.alive)
        for one in term.get("matchLabelExpressions") or ():
            here &= snapshot.labels.equals_any(one["key"], one.get("values") or ())
        mask |= here
    return mask


def _has_room(claim: Object, storage_class: Object, storage: Storage, snapshot: Snapshot) -> Mask:
    """Where the driver has enough left, if it says so at all (KEP-1472)."""
    driver = storage.get(CSIDRIVERS, storage_class["provisioner"])
    if driver is None or not (driver.get("spec") or {}).get("storageCapacity"):
        return np.ones_like(snapshot.alive)
    wanted = quantity.value(size_of(claim))
    mask = np.zeros_like(snapshot.alive)
    for capacity in storage.shelves[CSISTORAGECAPACITIES].by_index(BY_CLASS, class_of(claim)):
        limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        topology = capacity.get("nodeTopology")
        if limit is not None and topology is not None and quantity.value(limit) >= wanted:
            equal = [{"key": key, "operator": "In", "values": [value]}
                     for key, value in (topology.get("matchLabels") or {}).items()]  # fmt: skip
            mask |= _all_match([*equal, *(topology.get("matchExpressions") or ())], snapshot)
    return mask


def _all_match(expressions: Iterable[Object], snapshot: Snapshot) -> Mask:
    mask = np.ones_like(snapshot.alive)
    for one in expressions:
        key, values = one["key"], list(one.get("values") or ())
        match one["operator"]:
            case "In":
                mask &= snapshot.labels.equals_any(key, values)
            case "NotIn":
                mask &= ~snapshot.labels.equals_any(key, values)
            case "Exists":
                mask &= snapshot.labels.has(key)
            case "DoesNotExist":
                mask &= ~snapshot.labels.has(key)
            case "Gt" | "Lt":
                mask &= snapshot.labels.compares(key, one["operator"], values[0])
    return mask
