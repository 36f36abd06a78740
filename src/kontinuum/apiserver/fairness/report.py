"""What there is to know about seats and queues: metrics, and the tables below ``/debug/api_priority_and_fairness/``.

The tables are Kubernetes' own. Requests that found a seat at once have never been in a queue and are in none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from kontinuum.apiserver.fairness.fairness import CANCELLED, TIME_OUT, Fairness
from kontinuum.apiserver.fairness.level import Level
from kontinuum.foundation.clock import rfc3339

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX = "/debug/api_priority_and_fairness/"
Row = tuple[object, ...]


def families(fairness: Fairness) -> Iterator[Metric]:
    """Under Kubernetes' names."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    both = ("priority_level", "flow_schema")
    dispatched = CounterMetricFamily("apiserver_flowcontrol_dispatched_requests_total", "Requests begun.", labels=both)
    totals = fairness.dispatched.copy()
    for flow in fairness.flows:
        totals[flow.level.name, flow.schema] += flow.dispatched
    for labels, number in totals.items():
        dispatched.add_metric(labels, number)
    yield dispatched
    rejected = CounterMetricFamily(
        "apiserver_flowcontrol_rejected_requests_total", "Requests turned away.", labels=(*both, "reason")
    )
    levels = fairness.seats.levels.values()
    for level in levels:
        for (schema, reason), number in level.rejected.items():
            rejected.add_metric((level.name, schema, reason), number)
    yield rejected
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(f"apiserver_flowcontrol_{name}", text, labels=("priority_level",))
        for level in levels:
            gauge.add_metric((level.name,), value(level))
        yield gauge
    waits = HistogramMetricFamily(
        "apiserver_flowcontrol_request_wait_duration_seconds", "Time in a queue.", labels=(*both, "execute")
    )
    for key, tally in fairness.waits.items():
        waits.add_metric(key, tally.cumulative(), tally.total)
    yield waits


_GAUGES: tuple[tuple[str, str, Callable[[Level], float]], ...] = (
    ("current_inqueue_requests", "Requests that wait.", lambda level: level.waiting),
    ("current_executing_requests", "Requests being answered.", lambda level: level.executing),
    ("current_executing_seats", "Seats in use.", lambda level: level.seats),
    ("nominal_limit_seats", "Seats that are a level's share.", lambda level: level.limits.nominal),
    ("lower_limit_seats", "Seats that are never lent.", lambda level: level.limits.guaranteed),
    ("upper_limit_seats", "Seats with all that may be borrowed.", lambda level: level.limits.most),
)


def dump(fairness: Fairness, path: str, query: Mapping[str, str]) -> str | None:
    """The table at a path below ``PREFIX``, None if there is no such one."""
    levels = sorted(fairness.seats.levels.values(), key=lambda level: level.name)
    match path.removeprefix(PREFIX):
        case "dump_priority_levels":
            return _table(_LEVELS, map(_level_row, levels))
        case "dump_queues":
            return _table(_QUEUES, (row for level in levels for row in _queue_rows(level)))
        case "dump_requests":
            details = query.get("includeRequestDetails", "") not in ("", "0")
            names = (*_REQUESTS, *_DETAILS) if details else _REQUESTS
            now = fairness.now()
            return _table(names, (row for level in levels for row in _request_rows(level, now, details=details)))
    return None


_LEVELS = (
    "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
    "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
)  # fmt: skip
_QUEUES = (
    "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
    "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
)  # fmt: skip
_REQUESTS = (
    "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
    "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
)  # fmt: skip
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")


def _level_row(level: Level) -> Row:
    refused: dict[str, int] = {}
    for (_, reason), number in level.rejected.items():
        refused[reason] = refused.get(reason, 0) + number
    late, gone = refused.pop(TIME_OUT, 0), refused.pop(CANCELLED, 0)
    active = sum(1 for queue in level.queues or () if queue.waiting)
    return (
        level.name, active, not level.executing and not level.waiting, not level.is_defined, level.waiting,
        level.executing, level.dispatched, sum(refused.values()), late, gone,
    )  # fmt: skip


def _queue_rows(level: Level) -> Iterator[Row]:
    for queue in level.queues or ():
        work = queue.seats_waiting
        yield (
            level.name, queue.index, len(queue.waiting), queue.executing, queue.seats_used, f"{queue.tag:.8f}ss",
            work, work, f"{work:.8f}ss",
        )  # fmt: skip


def _request_rows(level: Level, now: tuple[float, float], *, details: bool) -> Iterator[Row]:
    monotonic, epoch = now
    for queue in level.queues or ():
        for position, one in enumerate(queue.waiting):
            arrived = rfc3339(epoch - (monotonic - one.arrived))
            row: Row = (
                level.name, one.schema, queue.index, position, one.distinguisher, arrived, one.width, 0, "0s", "",
            )  # fmt: skip
            asked = one.asked
            more = (
                asked.user.name, asked.verb, asked.path, asked.namespace, asked.name, asked.version, asked.resource,
                asked.subresource,
            )  # fmt: skip
            yield (*row, *more) if details else row


def _table(names: tuple[str, ...], rows: Iterator[Row]) -> str:
    """Columns as Go's ``tabwriter`` sets them for Kubernetes: separated by a comma and padded."""
    texts = [names, *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in texts) + 1 for column in range(len(names))]
    return "".join(
        " ".join(f"{cell},".ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + f" {row[-1]}\n"
        for row in texts
    )


def _cell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
