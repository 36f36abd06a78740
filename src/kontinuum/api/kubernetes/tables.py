"""How values look in a table that the server prints: ages, lists, counts. As ``kubectl get`` shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kontinuum.foundation.clock import parse_rfc3339

UNKNOWN, NONE = "<unknown>", "<none>"


def age(timestamp: str | None, now: float) -> str:
    """The time since ``timestamp`` (RFC 3339) in kubectl's short form; ``now`` is in seconds since the epoch."""
    return human_duration(now - parse_rfc3339(timestamp)) if timestamp else UNKNOWN


def human_duration(seconds: float) -> str:
    """``75s``, ``5m3s``, ``3h20m``, ``2d5h``, ``40d``, ``2y10d`` (k8s.io/apimachinery ``util/duration``)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days, years = whole // 60, whole // 3600, whole // 86400, whole // (86400 * 365)
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 365 * 8:
        return _two(years, "y", days % 365, "d")
    return f"{years}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def joined(values: Iterable[Any], empty: str = NONE) -> str:
    return ",".join(str(value) for value in values) or empty


def format_labels(labels: dict[str, str] | None) -> str:
    """``a=1,b=2``, sorted; ``<none>`` without any."""
    return joined(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def containers_and_images(spec: dict[str, Any]) -> tuple[str, str]:
    """The two wide columns of everything that has a pod template."""
    containers = spec.get("containers") or []
    return (
        ",".join(one.get("name", "") for one in containers),
        ",".join(one.get("image", "") for one in containers),
    )


def row(obj: dict[str, Any], now: float, *between: Any) -> list[Any]:
    """The cells of most kinds: the name first, the age last; ``now`` is in seconds since the epoch."""
    metadata = obj["metadata"]
    return [metadata.get("name", ""), *between, age(metadata.get("creationTimestamp"), now)]


def some(values: list[Any], most: int = 3, empty: str = "<unset>") -> str:
    """``a,b,c + 2 more...``"""
    text = ",".join(str(one) for one in values[:most])
    return f"{text} + {len(values) - most} more..." if len(values) > most else text or empty
