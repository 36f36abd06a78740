"""Limits of a pod's network traffic: the annotations ``kubernetes.io/ingress-bandwidth`` and ``egress-bandwidth``.

CNI's plug-in makes the queues, with as large a burst as containerd asks it for: 512 Mbit, so that a transfer below
64 MB would know no limit at all. The same queues with a small burst hold for short transfers too. What a pod receives
leaves the host by the pod's wire; what it sends is led from there to a device of the plug-in's, because a queue is for
what leaves a device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, annotations_of
from kontinuum.foundation import process
from kontinuum.foundation.errors import Refused
from kontinuum.node import pods

INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
BURST_SECONDS = 0.02
"""What may pass at once: longer than the kernel's clock needs to refill the bucket, far shorter than a transfer."""
SMALLEST_BURST = 16 * 1024
"""Bytes; some full packets."""
SMALLEST, LARGEST = 10**3, 10**15
"""Bits a second; what is beyond is taken for a mistake (kubernetes ``pkg/util/bandwidth``)."""
LONGEST_WAIT = "50ms"
"""How long a packet may be queued before it is dropped, so that senders notice."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bits a second; 0 means no limit."""

    ingress: int = 0
    egress: int = 0


class Unreasonable(Refused):
    """An annotation is no number of bits that a limit can be. The message is the kubelet's and containerd's."""


def limits_of(pod: Object) -> Limits:
    """What the pod's annotations say. Raises Unreasonable."""
    annotations = {} if pods.is_host_network(pod) else annotations_of(pod)
    return Limits(_bits(annotations.get(INGRESS)), _bits(annotations.get(EGRESS)))


def _bits(text: str | None) -> int:
    if text is None:
        return 0
    try:
        bits = quantity.value(text)
    except quantity.InvalidQuantity as error:
        raise Unreasonable(f"reading pod bandwidth annotations: {error}") from error
    if bits < SMALLEST:
        raise Unreasonable("reading pod bandwidth annotations: resource is unreasonably small (< 1kbit)")
    if bits > LARGEST:
        raise Unreasonable("reading pod bandwidth annotations: resource is unreasonably large (> 1Pbit)")
    return bits


def queue(device: str, bits: int) -> list[str]:
    """tc's words for the limit on what leaves ``device``."""
    burst = max(SMALLEST_BURST, int(bits / 8 * BURST_SECONDS))
    words = f"qdisc replace dev {device} root tbf rate {bits}bit burst {burst} latency {LONGEST_WAIT}"
    return words.split()


async def hold(pod: Object, ips: Sequence[str]) -> None:
    """Make the pod's limits hold. Safe to repeat. Raises process.ProgramFailed."""
    try:
        limits = limits_of(pod)
    except Unreasonable:
        return  # Written since the pod was made, which keeps what it has.
    if not ips or limits == Limits():
        return
    [route] = await _json("ip", "-json", "route", "get", ips[0])
    wire = route["dev"]
    if limits.ingress:
        await process.run("tc", *queue(wire, limits.ingress))
    if limits.egress:
        for device in devices_behind(await _json("tc", "-json", "filter", "show", "dev", wire, "parent", "ffff:")):
            await process.run("tc", *queue(device, limits.egress))


def devices_behind(filters: Any) -> list[str]:
    """The devices to which a wire's incoming traffic is led, from tc's JSON."""
    actions = [action for one in filters for action in (one.get("options") or {}).get("actions") or ()]
    return [action["to_dev"] for action in actions if action.get("kind") == "mirred" and action.get("to_dev")]


async def _json(*command: str) -> Any:
    return json.loads((await process.run(*command)).stdout or b"[]")
