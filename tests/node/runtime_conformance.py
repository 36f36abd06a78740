"""What every container runtime behind ``node.port`` must do: run against the fake (quick) and containerd (machine).

A ``Subject`` brings the runtime and knows how to make one kind of process; the claims are the same for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import pytest

from kontinuum.node.observed import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID, Container, ContainerState
from kontinuum.node.port import Config, ContainerRuntime, NotThere, RuntimeFailed

UID = "conformance-uid"


class Subject(Protocol):
    runtime: ContainerRuntime

    def sandbox(self, attempt: int = 0) -> Config: ...

    def container(self, kind: str, attempt: int = 0) -> Config:
        """``kind``: ``lasting`` runs until asked to end, ``failing`` ends with 3, ``absent`` cannot be started,
        ``stubborn`` must be killed."""
        ...

    async def wait_deaf(self, kind: str) -> None:
        """Returns when the container of this kind ignores being asked: one that has only just been started does not
        yet, and ends like any other."""
        ...


def identity() -> dict[str, str]:
    return {POD_UID: UID, POD_NAME: "p", POD_NAMESPACE: "default"}


def container_labels(name: str) -> dict[str, str]:
    return {**identity(), CONTAINER_NAME: name}


async def started(subject: Subject, kind: str) -> tuple[str, str]:
    """Ids of a new sandbox and a container of ``kind`` that was started in it."""
    sandbox_config = subject.sandbox()
    sandbox = await subject.runtime.run_sandbox(sandbox_config, "")
    container = await subject.runtime.create_container(sandbox, subject.container(kind), sandbox_config)
    await subject.runtime.start_container(container)
    return sandbox, container


async def seen(subject: Subject, container_id: str) -> Container:
    observed = await subject.runtime.observe(UID)
    return next(one for one in observed.containers if one.id == container_id)


async def ended(subject: Subject, container_id: str) -> Container:
    async with asyncio.timeout(20):
        while (found := await seen(subject, container_id)).state is not ContainerState.EXITED:
            await asyncio.sleep(0.05)
    return found


async def a_pod_that_was_never_made_is_empty(subject: Subject) -> None:
    assert (await subject.runtime.observe("unknown")).is_empty
    assert await subject.runtime.fingerprints() == {}


async def a_running_container_is_seen_with_its_sandbox_and_address(subject: Subject) -> None:
    sandbox, container = await started(subject, "lasting")
    observed = await subject.runtime.observe(UID)
    assert observed.sandbox is not None
    assert (observed.sandbox.id, observed.sandbox.is_ready, observed.sandbox.pod_uid) == (sandbox, True, UID)
    assert observed.sandbox.ips
    assert (await seen(subject, container)).is_running
    assert (await seen(subject, container)).started_at > 0


async def an_end_is_seen_with_code_and_reason(subject: Subject) -> None:
    _, container = await started(subject, "failing")
    found = await ended(subject, container)
    assert (found.exit_code, found.reason) == (3, "Error")
    assert found.finished_at >= found.started_at
    [listed] = [one for one in await subject.runtime.known_containers() if one.id == container]
    assert (listed.pod_uid, listed.is_dead, listed.created_at > 0) == (UID, True, True)
    assert listed.image_id in {one.id for one in await subject.runtime.present_images()}


async def a_start_that_fails_is_told_and_leaves_an_ended_container(subject: Subject) -> None:
    with pytest.raises(RuntimeFailed):
        await started(subject, "absent")
    found = (await subject.runtime.observe(UID)).containers[0]
    assert (found.state, found.exit_code, found.reason) == (ContainerState.EXITED, 128, "StartError")


async def grace_is_given_and_then_no_more(subject: Subject) -> None:
    _, container = await started(subject, "stubborn")
    await subject.wait_deaf("stubborn")
    await subject.runtime.stop_container(container, 1)
    assert (await ended(subject, container)).exit_code == 137


async def stopping_and_removing_again_is_harmless(subject: Subject) -> None:
    sandbox, container = await started(subject, "lasting")
    for _ in range(2):
        await subject.runtime.stop_container(container, 0)
    for _ in range(2):
        await subject.runtime.stop_sandbox(sandbox)
    for _ in range(2):
        await subject.runtime.remove_container(container)
    for _ in range(2):
        await subject.runtime.remove_sandbox(sandbox)
    assert (await subject.runtime.observe(UID)).is_empty


async def a_stopped_sandbox_takes_its_containers_with_it_and_no_new_ones(subject: Subject) -> None:
    sandbox, container = await started(subject, "lasting")
    await subject.runtime.stop_sandbox(sandbox)
    assert (await ended(subject, container)).exit_code == 137
    # containerd 2 still makes one, and starts it no more.
    with pytest.raises((NotThere, RuntimeFailed)):
        late = await subject.runtime.create_container(sandbox, subject.container("lasting", 1), subject.sandbox())
        await subject.runtime.start_container(late)


async def the_name_of_an_attempt_is_taken_once(subject: Subject) -> None:
    sandbox, _ = await started(subject, "lasting")
    with pytest.raises(RuntimeFailed):
        await subject.runtime.create_container(sandbox, subject.container("lasting"), subject.sandbox())
    with pytest.raises(RuntimeFailed):
        await subject.runtime.run_sandbox(subject.sandbox(), "")


async def an_absent_container_cannot_be_started(subject: Subject) -> None:
    with pytest.raises(NotThere):
        await subject.runtime.start_container("0" * 64)


async def an_absent_image_is_none(subject: Subject) -> None:
    assert await subject.runtime.image("localhost/absent:1") is None
    await subject.runtime.remove_image(f"sha256:{'0' * 64}")


async def an_image_is_listed_by_the_name_it_was_asked_for_by(subject: Subject) -> None:
    reference = subject.container("lasting")["image"]["image"]
    listed = [one for one in await subject.runtime.present_images() if reference in one.names]
    assert len(listed) == 1 and listed[0].size > 0


async def a_fingerprint_changes_with_every_state(subject: Subject) -> None:
    sandbox, container = await started(subject, "lasting")
    fingerprints = [(await subject.runtime.fingerprints())[UID]]
    await subject.runtime.stop_container(container, 0)
    fingerprints.append((await subject.runtime.fingerprints())[UID])
    await subject.runtime.stop_sandbox(sandbox)
    fingerprints.append((await subject.runtime.fingerprints())[UID])
    assert len(set(fingerprints)) == 3
    assert {(one.namespace, one.name) for one in fingerprints} == {("default", "p")}


async def what_a_container_uses_is_told_while_it_runs(subject: Subject) -> None:
    _, container = await started(subject, "lasting")
    used = [one for one in await subject.runtime.usage() if one.id == container]
    assert [(one.pod_uid, one.namespace, one.pod) for one in used] == [(UID, "default", "p")]
    assert used[0].cpu_nanoseconds >= 0 and used[0].memory_bytes > 0 and used[0].time > 0
    sandbox = (await subject.runtime.observe(UID)).sandbox
    assert sandbox is not None
    held = await subject.runtime.memory(sandbox)
    assert list(held) == [used[0].container] and held[used[0].container] > 0
    assert await subject.runtime.memory(replace(sandbox, id="another")) == {}
    await subject.runtime.stop_container(container, 0)
    assert container not in [one.id for one in await subject.runtime.usage()]
    assert await subject.runtime.memory(sandbox) == {}


Claim = Callable[[Subject], Awaitable[None]]
CLAIMS: tuple[Claim, ...] = (
    a_pod_that_was_never_made_is_empty,
    a_running_container_is_seen_with_its_sandbox_and_address,
    an_end_is_seen_with_code_and_reason,
    a_start_that_fails_is_told_and_leaves_an_ended_container,
    grace_is_given_and_then_no_more,
    stopping_and_removing_again_is_harmless,
    a_stopped_sandbox_takes_its_containers_with_it_and_no_new_ones,
    the_name_of_an_attempt_is_taken_once,
    an_absent_container_cannot_be_started,
    an_absent_image_is_none,
    an_image_is_listed_by_the_name_it_was_asked_for_by,
    a_fingerprint_changes_with_every_state,
    what_a_container_uses_is_told_while_it_runs,
)
