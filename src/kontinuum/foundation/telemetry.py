"""How a process tells what it does: structured logs on standard error, and numbers for Prometheus.

Logs: ``structlog.get_logger(__name__)`` everywhere; ``configure_logs`` once, at the start of a process.
Metrics: made once per process by name; making the same one again gives the first.
"""

from __future__ import annotations

import logging
import sys
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar

import orjson
import structlog

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets for durations, in seconds."""


def configure_logs(
    *, component: str, format: Format | None = None, level: Level = "info", stream: TextIO | None = None
) -> None:
    """Send this process's logs to ``stream`` (standard error); a terminal gets "console", anything else "json"."""
    target = stream or sys.stderr
    chosen = format or ("console" if target.isatty() else "json")
    renderer: list[Any]
    if chosen == "json":
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    else:
        renderer = [structlog.dev.ConsoleRenderer(colors=target.isatty())]
    threshold = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=target),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(component=component)
    # Libraries log with the standard library; one handler hands their words on in our form.
    handler = _ToStructlog()
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _to_json(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


_registry: CollectorRegistry | None = None
_made: dict[str, Any] = {}
M = TypeVar("M")


def counter(name: str, help: str, labels: Sequence[str] = ()) -> Counter:
    """A number that only grows; ``name`` ends with ``_total``."""
    from prometheus_client import Counter

    return _once(name, lambda: Counter(name, help, labels, registry=registry()), Counter)


def gauge(name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    """A number that goes up and down."""
    from prometheus_client import Gauge

    return _once(name, lambda: Gauge(name, help, labels, registry=registry()), Gauge)


def histogram(name: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS) -> Histogram:
    """A distribution; by default of durations in seconds (``name`` ends with ``_seconds``)."""
    from prometheus_client import Histogram

    return _once(name, lambda: Histogram(name, help, labels, buckets=buckets, registry=registry()), Histogram)


class Tally:
    """How many values fell into each bucket, and their sum: a histogram that costs a bisection where it is fed."""

    __slots__ = ("_counts", "_edges", "total")

    def __init__(self, edges: Sequence[float] = SECONDS) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._edges, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """What Prometheus wants: for each edge, as text, how many were not above it."""
        below, found = 0, []
        for edge, count in zip([*map(str, self._edges), "+Inf"], self._counts, strict=True):
            below += count
            found.append((edge, float(below)))
        return found


def registry() -> CollectorRegistry:
    """This process's registry. It is ours, not the library's global one, so that nothing registers itself on import."""
    global _registry
    if _registry is None:
        from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

        _registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=_registry)
    return _registry


def render() -> tuple[bytes, str]:
    """All metrics in Prometheus' text format, and its content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return generate_latest(registry()), CONTENT_TYPE_LATEST


def _once(name: str, make: Any, kind: type[M]) -> M:
    if name not in _made:
        _made[name] = make()
    metric = _made[name]
    if not isinstance(metric, kind):
        raise ValueError(f"metric {name} was made as a {type(metric).__name__}, not as a {kind.__name__}")
    return metric
