"""Images are pulled when the policy says so, with the credentials that fit, and used by who may."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.world import World, container, play, pod, state, waiting

from kontinuum.api.kubernetes.resources import SECRETS
from kontinuum.api.machinery.objects import Object
from kontinuum.images.references import parse
from kontinuum.node.images import pull_trouble
from kontinuum.node.pull_records import Access, PullRecords, Record, may_use, must_verify, with_pull
from kontinuum.node.pull_secrets import PullSecret, pull_secrets
from kontinuum.node.settings import VerificationPolicy

IMAGE = "registry.test/team/app:1"


def secret(name: str, auths: Any, *, kind: str = ".dockerconfigjson") -> Object:
    content = {"auths": auths} if kind == ".dockerconfigjson" else auths
    data = {kind: base64.b64encode(json.dumps(content).encode()).decode()}
    metadata = {"name": name, "namespace": "default", "uid": f"uid of {name}"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


@pytest.mark.parametrize(
    ("key", "image", "fits"),
    [
        ("registry.test", IMAGE, True), ("https://registry.test/v2/", IMAGE, True),
        ("registry.test/team", IMAGE, True), ("registry.test/tea", IMAGE, False),
        ("registry.test/team/app", IMAGE, True), ("*.test", IMAGE, True), ("*", IMAGE, False),
        ("registry.test:5000", IMAGE, False), ("*.test:5000", "registry.test:5000/app:1", True),
        ("registry.test", "sub.registry.test/app:1", False), ("https://index.docker.io/v1/", "app:1", True),
        ("docker.io", "app", True), ("docker.io/library", "app", True), ("docker.io/other", "app", False),
    ],
)  # fmt: skip
def test_a_key_fits_a_registry_or_a_part_of_it(key: str, image: str, fits: bool) -> None:
    found = pull_secrets([secret("s", {key: {"username": "u", "password": "p"}})], parse(image))
    assert bool(found) == fits


def test_the_most_specific_credentials_come_first_and_secrets_in_the_pods_order() -> None:
    both = secret("b", {"registry.test": {"username": "any"}, "registry.test/team": {"username": "team"}})
    old = secret("a", {"registry.test": {"auth": "eDp5"}}, kind=".dockercfg")
    broken = {"metadata": {"name": "c", "namespace": "default"}, "data": {".dockerconfigjson": "!"}}
    found = pull_secrets([old, broken, both], parse(IMAGE))
    assert [one.auth["username"] or one.auth["auth"] for one in found] == ["eDp5", "team", "any"]


@given(st.binary() | st.text().map(lambda text: base64.b64encode(text.encode())))
def test_no_secret_makes_the_node_stumble(content: bytes) -> None:
    bad = {"metadata": {"name": "c", "namespace": "d"}, "data": {".dockerconfigjson": content.decode("latin-1")}}
    assert pull_secrets([bad], parse(IMAGE)) == []


SHOWN = PullSecret("default", "s", "u", {"password": "p"})


@pytest.mark.parametrize(
    ("policy", "listed", "pulled_here", "asked"),
    [
        ("NeverVerify", False, True, False), ("AlwaysVerify", True, False, True),
        ("NeverVerifyPreloadedImages", False, False, False), ("NeverVerifyPreloadedImages", False, True, True),
        ("NeverVerifyAllowlistedImages", False, False, True), ("NeverVerifyAllowlistedImages", True, False, False),
        ("NeverVerifyAllowlistedImages", True, True, True),
    ],
)  # fmt: skip
def test_credentials_are_asked_for_as_the_policy_says(
    policy: VerificationPolicy, listed: bool, pulled_here: bool, asked: bool
) -> None:
    allowed = ["registry.test/team/*"] if listed else ["registry.test/tea/*", "registry.test/team"]
    assert must_verify(policy, allowed, parse(IMAGE), pulled_here=pulled_here) == asked


def test_who_has_shown_a_secret_may_use_the_image_and_nobody_else(tmp_path: Path) -> None:
    image, other = parse(IMAGE), parse("registry.test/team/app2:1")
    renewed = PullSecret("default", "s", "u", {"password": "new"})
    same = PullSecret("elsewhere", "t", "v", {"password": "p"})
    stranger = PullSecret("elsewhere", "t", "v", {"password": "q"})
    record = with_pull(Record("id"), image, SHOWN)
    assert may_use(record, image, [SHOWN]) and may_use(record, image, [renewed]) and may_use(record, image, [same])
    assert not may_use(record, image, [stranger]) and not may_use(record, image, [])
    assert not may_use(record, other, [SHOWN]) and not may_use(None, image, [SHOWN])
    # Once it came without any, everybody may, whoever comes later with one.
    opened = with_pull(with_pull(record, image, None), image, SHOWN)
    assert opened.access[image.name] == Access(everybody=True) and may_use(opened, image, [])
    many = record
    for number in range(300):
        many = with_pull(many, image, PullSecret("n", str(number), "", {"password": str(number)}))
    assert len(many.access[image.name].secrets) == 100
    records = PullRecords(tmp_path)
    assert not records.was_pulled_here(image, "id")
    records.begin(image)
    assert records.was_pulled_here(image, "id")
    records.note(image, "id", SHOWN)
    records.end(image)
    assert records.was_pulled_here(image, "id") and records.find("id") == record
    assert PullRecords(tmp_path).find("id") == record
    records.keep_only(["other"])
    assert records.find("id") is None and not records.was_pulled_here(image, "id")


def test_an_image_counts_as_pulled_here_while_anybody_pulls_it(tmp_path: Path) -> None:
    """Who fails without credentials must not make it look preloaded just when somebody else's pull has brought it."""
    image, records = parse(IMAGE), PullRecords(tmp_path)
    records.begin(image)
    records.begin(image)
    records.end(image)
    assert records.was_pulled_here(image, "id")
    records.end(image)
    assert not records.was_pulled_here(image, "id")


def test_a_pull_that_a_killed_process_began_is_remembered_until_one_ends_well(tmp_path: Path) -> None:
    image = parse(IMAGE)
    PullRecords(tmp_path).begin(image)
    records = PullRecords(tmp_path)
    records.begin(image)
    records.end(image)
    assert records.was_pulled_here(image, "id"), "the image may be here, and nobody knows who may have it"
    records.begin(image)
    records.note(image, "id", SHOWN)
    records.end(image)
    assert records.was_pulled_here(image, "id") and not records.was_pulled_here(image, "another")


def test_the_runtimes_own_words_become_the_reason() -> None:
    found = pull_trouble("a:1", RuntimeError("RegistryUnavailable: no route"))
    assert (found.reason, str(found)) == (
        "RegistryUnavailable", "image pull failed for a:1 because the registry is unavailable: no route",
    )  # fmt: skip
    assert pull_trouble("a:1", RuntimeError("x")).reason == "ErrImagePull"


def messages(world: World, reason: str) -> list[str]:
    return [message for told, message in world.events.told if told == reason]


def test_images_are_pulled_a_few_at_a_time_and_the_waiting_is_told(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.registry = {f"docker.io/library/app{number}:1": 10.0 for number in range(6)}
        for number in range(6):
            await world.create(pod(f"p{number}", containers=[container("app", image=f"app{number}:1")]))
        for number in range(6):
            await world.wait(lambda one: "running" in state(one), f"p{number}", seconds=120)
        assert world.runtime.most_pulling == 4
        pulled = messages(world, "Pulled")
        told = [re.findall(r" in (\d+)[.\d]*s \((\d+)[.\d]*s including", one)[0] for one in pulled]
        assert sorted(told) == [("10", "10")] * 4 + [("10", "20")] * 2, pulled

    play(tmp_path, story)


def test_each_secret_that_fits_is_tried_and_none_only_if_none_fits(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.registry, world.runtime.passwords = {IMAGE: 0.1}, {IMAGE: "right"}
        for name, password in (("first", "wrong"), ("second", "right")):
            await world.client.create(SECRETS, secret(name, {"registry.test": {"password": password}}))
        names = [{"name": name} for name in ("missing", "first", "second")]
        await world.create(pod("good", containers=[container("app", image=IMAGE)], imagePullSecrets=names))
        await world.wait(lambda one: "running" in state(one), "good")
        assert world.runtime.calls.count("pull") == 2
        await world.create(pod("bad", containers=[container("app", image=IMAGE)], imagePullSecrets=names[:2]))
        status = await world.wait(lambda one: waiting(one) == "ErrImagePull", "bad")
        assert "401 Unauthorized" in state(status)["waiting"]["message"]

    play(tmp_path, story)


def test_a_private_image_that_is_here_is_not_given_to_a_pod_without_its_secret(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.registry, world.runtime.passwords = {IMAGE: 0.1}, {IMAGE: "right"}
        await world.client.create(SECRETS, secret("mine", {"registry.test": {"password": "right"}}))
        mine = [{"name": "mine"}]
        image = {"image": IMAGE}
        await world.create(pod("owner", containers=[container("app", **image)], imagePullSecrets=mine))
        await world.wait(lambda one: "running" in state(one), "owner")
        await world.create(pod("thief", containers=[container("app", **image)]))
        await world.wait(lambda one: waiting(one) in ("ErrImagePull", "ImagePullBackOff"), "thief")
        await world.create(pod("sneak", containers=[container("app", **image, imagePullPolicy="Never")]))
        status = await world.wait(lambda one: waiting(one) == "ErrImageNeverPull", "sneak")
        assert "none of the secrets" in state(status)["waiting"]["message"]
        pulls = world.runtime.calls.count("pull")
        await world.create(pod("again", containers=[container("app", **image)], imagePullSecrets=mine))
        await world.wait(lambda one: "running" in state(one), "again")
        assert world.runtime.calls.count("pull") == pulls
        # What was here before us is everybody's, as it always was.
        await world.create(pod("plain", containers=[container("app", imagePullPolicy="Never")]))
        await world.wait(lambda one: "running" in state(one), "plain")
        assert messages(world, "Pulled")[-1] == (
            'Container image "app:1" already present on machine and can be accessed by the pod'
        )

    play(tmp_path, story)


def test_always_means_that_the_registry_is_asked_every_time(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.registry = {"docker.io/library/app:1": 0.1}
        for number in range(2):
            await world.create(pod(f"p{number}", containers=[container("app", imagePullPolicy="Always")]))
            await world.wait(lambda one: "running" in state(one), f"p{number}")
        assert world.runtime.calls.count("pull") == 2

    play(tmp_path, story)
