"""The fake API server keeps the promises of a real one, so that what passes against it means something."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, NAMESPACES, PODS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.errors import Unreachable
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.foundation import virtual_time


def scenario(main: Callable[[FakeApi, Client], Awaitable[None]]) -> None:
    async def run() -> None:
        api = FakeApi()
        await main(api, api.client())

    virtual_time.run(run)


def pod(name: str, **metadata: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default", **metadata}, "spec": {"containers": []}}


def test_a_stale_update_is_a_conflict() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        old = await client.create(PODS, pod("p"))
        await client.patch(PODS, "p", {"metadata": {"labels": {"a": "b"}}}, namespace="default")
        with pytest.raises(ApiError) as caught:
            await client.update(PODS, old)
        assert caught.value.is_conflict

    scenario(main)


def test_the_status_is_written_only_through_its_subresource() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        obj = await client.create(DEPLOYMENTS, {**pod("d"), "status": {"replicas": 5}})
        assert obj["status"] == {}
        obj["status"], obj["spec"] = {"replicas": 3}, {"replicas": 9}
        through_object = await client.update(DEPLOYMENTS, obj)
        assert (through_object["status"], through_object["spec"]) == ({}, {"replicas": 9})
        through_object["status"], through_object["spec"] = {"replicas": 3}, {"replicas": 1}
        through_status = await client.update(DEPLOYMENTS, through_object, subresource="status")
        assert (through_status["status"], through_status["spec"]) == ({"replicas": 3}, {"replicas": 9})

    scenario(main)


def test_the_generation_rises_with_the_spec_alone() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        obj = await client.create(DEPLOYMENTS, pod("d"))
        assert obj["metadata"]["generation"] == 1
        await client.patch(DEPLOYMENTS, "d", {"metadata": {"labels": {"x": "y"}}}, namespace="default")
        await client.patch(DEPLOYMENTS, "d", {"status": {"replicas": 1}}, namespace="default", subresource="status")
        obj = await client.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 2}}, namespace="default")
        assert obj["metadata"]["generation"] == 2

    scenario(main)


def test_a_write_that_changes_nothing_makes_no_new_version() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        obj = await client.create(PODS, pod("p"))
        same = await client.patch(PODS, "p", {"spec": {"containers": []}}, namespace="default")
        assert same["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]

    scenario(main)


def test_a_finalizer_holds_an_object_until_it_is_taken_away() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        await client.create(DEPLOYMENTS, pod("d", finalizers=["mine"]))
        held = await client.delete(DEPLOYMENTS, "d", namespace="default")
        assert "deletionTimestamp" in held["metadata"]
        await client.patch(DEPLOYMENTS, "d", {"metadata": {"finalizers": None}}, namespace="default")
        with pytest.raises(ApiError, match=r"deployments\.apps .d. not found"):
            await client.get(DEPLOYMENTS, "d", namespace="default")

    scenario(main)


def test_a_pod_on_a_node_is_given_time_and_one_that_waits_for_a_node_is_not() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        await client.create(PODS, pod("placed"))
        await client.create(PODS, pod("waiting"))
        binding = {"target": {"name": "n1"}}
        await client.create(PODS, binding, namespace="default", name="placed", subresource="binding")
        placed = await client.delete(PODS, "placed", namespace="default")
        assert placed["metadata"]["deletionGracePeriodSeconds"] == 30
        assert (await client.delete(PODS, "waiting", namespace="default"))["status"] == "Success"
        await client.delete(PODS, "placed", namespace="default", grace_seconds=0)
        assert (await client.list(PODS)).items == []

    scenario(main)


def test_a_namespace_that_is_going_away_takes_nothing_new() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        await client.create(NAMESPACES, {"metadata": {"name": "n"}})
        going = await client.delete(NAMESPACES, "n")
        assert going["status"]["phase"] == "Terminating"
        with pytest.raises(ApiError) as caught:
            await client.create(PODS, pod("p", namespace="n"))
        assert caught.value.is_namespace_terminating
        await client.update(NAMESPACES, {**going, "spec": {"finalizers": []}}, subresource="finalize")
        with pytest.raises(ApiError) as caught:
            await client.get(NAMESPACES, "n")
        assert caught.value.is_not_found

    scenario(main)


def test_a_selecting_watch_shows_objects_appear_and_disappear_as_they_begin_and_cease_to_match() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        await client.create(PODS, pod("p"))
        version = str(api.storage.revision)
        for label in ("yes", "no"):
            await client.patch(PODS, "p", {"metadata": {"labels": {"a": label}}}, namespace="default")
        stream = client.watch(PODS, labels="a=yes", resource_version=version, bookmarks=False)
        assert [event.type async for event in stream] == ["ADDED", "DELETED"]

    scenario(main)


def test_a_watch_from_forgotten_history_is_expired() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        await client.create(PODS, pod("p"))
        api.compact()
        with pytest.raises(ApiError) as caught:
            async for _ in client.watch(PODS, resource_version="1"):
                pass
        assert caught.value.is_expired

    scenario(main)


def test_a_lost_answer_hides_a_write_that_was_carried_out() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        faults = Faults()
        faults.lose_answer(1)
        with pytest.raises(Unreachable):
            await Client(api.channel(faults)).create(PODS, pod("p"))
        assert name_of(await client.get(PODS, "p", namespace="default")) == "p"

    scenario(main)


def test_an_idle_watch_is_shown_bookmarks() -> None:
    async def main(api: FakeApi, client: Client) -> None:
        stream = client.watch(PODS, resource_version="1", timeout_seconds=100)
        async with contextlib.aclosing(stream):
            event = await anext(stream)
        assert event.type == "BOOKMARK"
        assert 60 <= asyncio.get_running_loop().time() < 60.1

    scenario(main)
