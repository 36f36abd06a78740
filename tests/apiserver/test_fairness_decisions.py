"""Seats, queues and flows, decided without a server: what each level is promised holds whatever the others do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinuum.api.kubernetes import flowcontrol as tables
from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.catalog import Served
from kontinuum.apiserver.fairness.level import Level, Seat
from kontinuum.apiserver.fairness.limits import Limits, limits_of
from kontinuum.apiserver.fairness.matching import matches, precedence
from kontinuum.apiserver.fairness.queues import Queues, Waiting
from kontinuum.apiserver.fairness.seats import Seats
from kontinuum.apiserver.fairness.sharding import deal, flow_hash
from kontinuum.apiserver.fairness.width import width_of
from kontinuum.apiserver.strategy import strategy_of
from kontinuum.apiserver.watchcache import WatchCache
from kontinuum.foundation.clock import RealClock

SPECS = {**tables.MANDATORY_LEVELS, **tables.SUGGESTED_LEVELS}
SCHEMAS = sorted(tables.objects({**tables.MANDATORY_SCHEMAS, **tables.SUGGESTED_SCHEMAS}), key=precedence)


def objects(specs: dict[str, Any]) -> dict[str, Any]:
    return {one["metadata"]["name"]: one for one in tables.objects(specs)}


def limited(shares: int, *, lendable: int = 0, borrowing: int | None = None, queues: int = 1) -> dict[str, Any]:
    queuing = {"queues": queues, "handSize": 1, "queueLengthLimit": 10}
    part: dict[str, Any] = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing} if queues else {"type": "Reject"},
    }
    return {"type": "Limited", "limited": part if borrowing is None else {**part, "borrowingLimitPercent": borrowing}}


def schema_of(user: str, *groups: str, verb: str = "list", **asked: str) -> str:
    attributes = Attributes(User(user, (*groups, "system:authenticated")), verb, **asked)
    return next(one["metadata"]["name"] for one in SCHEMAS if matches(one, attributes))


@pytest.mark.parametrize(
    ("user", "groups", "asked", "schema"),
    [
        ("admin", ("system:masters",), {"resource": "pods"}, "exempt"),
        ("jane", (), {"path": "/healthz", "verb": "get"}, "probes"),
        ("jane", (), {"path": "/version", "verb": "get"}, "global-default"),
        ("jane", (), {"resource": "pods", "namespace": "a"}, "global-default"),
        ("system:node:n", ("system:nodes",), {"resource": "nodes", "subresource": "status"}, "system-node-high"),
        ("system:node:n", ("system:nodes",), {"group": "coordination.k8s.io", "resource": "leases",
                                              "namespace": "kube-node-lease"}, "system-node-high"),
        ("system:node:n", ("system:nodes",), {"resource": "pods"}, "system-nodes"),
        ("system:kube-scheduler", (), {"group": "coordination.k8s.io", "resource": "leases", "verb": "update",
                                       "namespace": "kube-system"}, "system-leader-election"),
        ("system:kube-scheduler", (), {"resource": "pods"}, "kube-scheduler"),
        ("system:serviceaccount:kube-system:x", ("system:serviceaccounts",), {"resource": "pods"},
         "kube-system-service-accounts"),
        ("system:serviceaccount:team:x", ("system:serviceaccounts",), {"resource": "pods"}, "service-accounts"),
    ],
)  # fmt: skip
def test_requests_come_under_the_schemas_that_kubernetes_has_for_them(
    user: str, groups: tuple[str, ...], asked: dict[str, str], schema: str
) -> None:
    assert schema_of(user, *groups, **asked) == schema


def test_a_rule_for_cluster_wide_requests_alone_does_not_speak_of_namespaces() -> None:
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True}
    schema = {"spec": {"rules": [{"subjects": [{"kind": "User", "user": {"name": "*"}}], "resourceRules": [rule]}]}}
    assert matches(schema, Attributes(User("x"), "list", resource="pods"))
    assert not matches(schema, Attributes(User("x"), "list", resource="pods", namespace="a"))


def test_the_seats_of_a_server_are_shared_as_kubernetes_shares_them() -> None:
    limits = limits_of(SPECS, 600)
    assert limits["workload-low"] == Limits(245, 24, 600)
    assert limits["system"] == Limits(74, 50, 600)
    assert limits["catch-all"] == Limits(13, 13, 600)
    assert limits_of({"a": limited(1, borrowing=50), "b": limited(1)}, 10)["a"] == Limits(5, 5, 8)


@given(st.integers(0, 2**64 - 1), st.integers(1, 200), st.integers(1, 10))
def test_a_hand_has_no_queue_twice(value: int, queues: int, size: int) -> None:
    hand = deal(value, queues, size)
    assert len(set(hand)) == len(hand) == min(size, queues) and all(0 <= one < queues for one in hand)


def test_every_queue_is_dealt_about_as_often_as_every_other() -> None:
    dealt = [0] * 8
    for number in range(4000):
        for queue in deal(flow_hash("schema", f"user-{number}"), 8, 2):
            dealt[queue] += 1
    assert min(dealt) > 850 and max(dealt) < 1150


def waiting(loop: asyncio.AbstractEventLoop, user: str = "x", width: int = 1) -> Waiting:
    return Waiting(Attributes(User(user), "get", resource="pods"), "schema", user, width, 0.0, loop.create_future())


async def test_flows_are_served_in_turn_however_many_requests_one_of_them_has() -> None:
    loop = asyncio.get_running_loop()
    queues = Queues(64, 1, 1000)
    for user in ["flood"] * 20 + ["one", "two", "three"]:
        assert queues.put(waiting(loop, user))
    served = []
    while (head := queues.head()) is not None:
        queues.take(head)
        served.append(head.asked.user.name)
    assert set(served[:4]) == {"flood", "one", "two", "three"}


async def test_a_flow_whose_requests_take_long_is_served_less_often() -> None:
    loop = asyncio.get_running_loop()
    queues = Queues(64, 1, 1000)
    for user in ["slow"] * 50 + ["quick"] * 50:
        queues.put(waiting(loop, user))
    served = []
    for _ in range(30):
        head = queues.head()
        assert head is not None and head.queue is not None
        queues.take(head)
        name = head.asked.user.name
        head.queue.settle(1, 0.5 if name == "slow" else 0.005)
        served.append(name)
    assert served.count("slow") <= 2


async def test_the_widest_wait_is_where_the_fewest_seats_are_waited_for() -> None:
    loop = asyncio.get_running_loop()
    queues = Queues(8, 8, 1)
    for number in range(8):
        assert queues.put(waiting(loop, "flood", width=number + 1))
    assert sorted(len(queue.waiting) for queue in queues) == [1] * 8
    assert not queues.put(waiting(loop, "flood"))


ACTIONS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.booleans()), max_size=200)


@given(ACTIONS, st.integers(3, 12))
@settings(max_examples=200)
def test_no_seat_is_given_twice_and_no_level_waits_for_what_it_is_guaranteed(
    actions: list[tuple[str, int, bool]], total: int
) -> None:
    asyncio.run(_play(actions, total))


async def _play(actions: list[tuple[str, int, bool]], total: int) -> None:
    loop = asyncio.get_running_loop()
    seats = Seats(total, RealClock())
    seats.define(objects({"a": limited(3), "b": limited(2, lendable=50), "c": limited(1, lendable=100, queues=2)}))
    held: dict[str, list[Seat]] = {"a": [], "b": [], "c": []}
    queued: list[tuple[Level, Waiting]] = []
    for name, width, leaves in actions:
        level = seats.levels[name]
        width = min(width, level.widest)
        if leaves and held[name]:
            held[name].pop().leave()
        elif (seat := seats.enter(level, width)) is not None:
            held[name].append(seat)
        else:
            one = waiting(loop, name, width)
            if seats.wait(level, one):
                queued.append((level, one))
        for level_, one in list(queued):
            if one.is_admitted:
                queued.remove((level_, one))
                held[level_.name].append(seats.seat_of(level_, one))
        _check(seats, held, queued)


def _check(seats: Seats, held: dict[str, list[Seat]], queued: list[tuple[Level, Waiting]]) -> None:
    used = {name: sum(seat.width for seat in some) for name, some in held.items()}
    assert sum(used.values()) <= seats.total
    for name, level in seats.levels.items():
        assert level.seats == used[name] and level.executing == len(held[name])
        head = level.queues.head() if level.queues is not None else None
        if head is not None:
            assert level.seats + head.width > level.limits.guaranteed
    if queued and sum(used.values()) < seats.total:
        # Whatever is free is kept for somebody, or too narrow for those who wait.
        kept = sum(max(0, one.limits.guaranteed - one.seats) for one in seats.levels.values())
        widest = max(one.width for _, one in queued)
        full = all(level.seats + one.width > level.limits.most for level, one in queued)
        assert full or sum(used.values()) + kept + widest > seats.total


async def test_what_a_level_lends_comes_back_as_soon_as_a_request_ends() -> None:
    loop = asyncio.get_running_loop()
    seats = Seats(4, RealClock())
    seats.define(objects({"lender": limited(1, lendable=100), "borrower": limited(1, lendable=100)}))
    lender, borrower = seats.levels["lender"], seats.levels["borrower"]
    held = [seats.enter(borrower, 1) for _ in range(4)]
    assert all(held) and seats.enter(lender, 1) is None
    more, mine = waiting(loop, "borrower"), waiting(loop, "lender")
    assert seats.wait(borrower, more) and seats.wait(lender, mine)
    assert held[0] is not None
    held[0].leave()
    assert mine.is_admitted and not more.is_admitted


async def test_a_level_that_is_redefined_or_gone_forgets_nobody() -> None:
    loop = asyncio.get_running_loop()
    seats = Seats(2, RealClock())
    seats.define(objects({"a": limited(1), "b": limited(1)}))
    a = seats.levels["a"]
    held = seats.enter(a, 1)
    one, two = waiting(loop, "one"), waiting(loop, "two")
    assert held is not None and seats.wait(a, one) and seats.wait(a, two)
    seats.define(objects({"a": limited(1, queues=8), "b": limited(1)}))
    assert a.waiting == 2 and a.queues is not None and a.queues.number == 8
    seats.define(objects({"b": limited(1)}))
    assert "a" in seats.levels and not a.is_defined
    seats.define(objects({"a": limited(1, queues=0), "b": limited(1)}))
    assert not seats.wait(a, waiting(loop, "three"))
    held.leave()
    assert one.is_admitted
    seats.seat_of(a, one).leave()
    assert two.is_admitted
    seats.seat_of(a, two).leave()
    assert a.seats == 0 and a.executing == 0
    seats.define(objects({"b": limited(1)}))
    assert "a" not in seats.levels


@pytest.mark.parametrize(
    ("verb", "query", "namespace", "selector", "width"),
    [
        ("list", {}, "", "", 5), ("list", {}, "a", "", 4), ("list", {}, "b", "", 1), ("get", {}, "a", "", 1),
        ("list", {"limit": "10"}, "", "", 1), ("list", {"limit": "10"}, "", "x=y", 5),
        ("list", {"limit": "250"}, "", "", 3), ("list", {"limit": "-1"}, "", "", 5),
        ("list", {"limit": "9" * 50}, "", "", 5), ("watch", {}, "", "", 5),
        ("watch", {"resourceVersion": "0"}, "", "", 5), ("watch", {"resourceVersion": "7"}, "", "", 1),
    ],
)  # fmt: skip
def test_a_long_list_takes_several_seats(
    verb: str, query: dict[str, str], namespace: str, selector: str, width: int
) -> None:
    served = Served(CONFIGMAPS, KINDS[CONFIGMAPS], strategy_of(CONFIGMAPS), WatchCache(CONFIGMAPS))
    layout = served.layout
    for number in range(450):
        place = "a" if number < 400 else "b"
        obj = {"metadata": {"name": f"c{number}", "namespace": place}}
        served.cache.load(layout.key(place, f"c{number}"), layout.encode(obj), number + 1)
    asked = Attributes(User("x"), verb, resource="configmaps", namespace=namespace, label_selector=selector)
    assert width_of(asked, served, query, widest=10) == width
    assert width_of(asked, served, query, widest=2) <= 2


async def test_giving_a_seat_back_twice_does_no_harm() -> None:
    seats = Seats(2, RealClock())
    seats.define(objects({"a": limited(1)}))
    seat = seats.enter(seats.levels["a"], 1)
    assert seat is not None
    seat.leave()
    seat.leave()
    assert seats.levels["a"].seats == 0
