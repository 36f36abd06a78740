"""The audit log says who has done what, as much of it as the policy wants, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from tests.apiserver.serving import CONFIGMAPS, PODS, Api, Certificates, configmap, pod, serving

from kontinuum.apiserver.audit.log import BATCH, MOST_WAITING, Log, LogRefused
from kontinuum.apiserver.audit.policy import BadPolicy, Level, policy_of, read_policy
from kontinuum.apiserver.audit.settings import AuditSettings
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.store.memory.store import MemoryStore


def policy(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}


@contextlib.asynccontextmanager
async def audited(
    certificates: Certificates, directory: Path, *rules: dict[str, Any], mode: str = "batch", **more: Any
) -> AsyncIterator[tuple[Api, Path]]:
    """A server, and the file that its events go to."""
    file, log = directory / "policy.yaml", directory / "audit.log"
    file.write_text(yaml.safe_dump(policy(*rules, **more)))
    settings = AuditSettings(policy=file, log=log, mode=mode)  # type: ignore[arg-type]
    async with serving(MemoryStore(), certificates, audit=settings) as api:
        yield api, log


async def events(log: Path, number: int = 1, **wanted: Any) -> list[dict[str, Any]]:
    """The events with the given fields, as soon as there are so many."""
    async with asyncio.timeout(20):
        while True:
            # The last line may be half written.
            found = [orjson.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]
            found = [one for one in found if all(one.get(key) == value for key, value in wanted.items())]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.05)


async def test_an_event_says_who_did_what_and_what_came_of_it(certificates: Certificates, tmp_path: Path) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata"}) as (api, log):
        made = await api.create(f"{CONFIGMAPS}?fieldManager=me", configmap("c", a="secret"), user_agent="curl/1")
        (received,) = await events(log, auditID=made.headers["Audit-Id"], stage="RequestReceived")
        (complete,) = await events(log, auditID=made.headers["Audit-Id"], stage="ResponseComplete")
        assert received["requestReceivedTimestamp"] <= received["stageTimestamp"] <= complete["stageTimestamp"]
        assert {**complete, "requestReceivedTimestamp": "", "stageTimestamp": ""} == {
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
            "auditID": made.headers["Audit-Id"], "stage": "ResponseComplete",
            "requestURI": f"{CONFIGMAPS}?fieldManager=me", "verb": "create", "user": complete["user"],
            "sourceIPs": ["127.0.0.1"], "userAgent": "curl/1",
            "objectRef": {"resource": "configmaps", "namespace": "default", "name": "c", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201}, "requestReceivedTimestamp": "", "stageTimestamp": "",
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": complete["annotations"]["authorization.k8s.io/reason"],
            },
        }  # fmt: skip
        assert complete["user"]["username"] == "kubernetes-admin" and "responseStatus" not in received


async def test_what_is_sent_and_answered_is_told_at_the_levels_for_it(
    certificates: Certificates, tmp_path: Path
) -> None:
    rules = (
        {"level": "Request", "verbs": ["create", "patch"]}, {"level": "RequestResponse", "verbs": ["get", "list"]},
        {"level": "None"},
    )  # fmt: skip
    async with audited(certificates, tmp_path, *rules, omitManagedFields=True) as (api, log):
        await api.create(CONFIGMAPS, configmap("c", a="b"))
        (made,) = await events(log, verb="create", stage="ResponseComplete", requestURI=CONFIGMAPS)
        assert made["requestObject"]["data"] == {"a": "b"} and "responseObject" not in made
        await api.patch(f"{CONFIGMAPS}/c", {"data": {"a": "c"}})
        await api.call("PATCH", f"{CONFIGMAPS}/c?fieldManager=x", b"data: {x: 'y'}\napiVersion: v1\nkind: ConfigMap\n",
                       content_type="application/apply-patch+yaml")  # fmt: skip
        patched = await events(log, 2, verb="patch", stage="ResponseComplete")
        assert [one["requestObject"]["data"] for one in patched] == [{"a": "c"}, {"x": "y"}]
        await api.get(f"{CONFIGMAPS}/c")
        (read,) = await events(log, verb="get", stage="ResponseComplete", requestURI=f"{CONFIGMAPS}/c")
        assert read["responseObject"]["data"] == {"a": "c", "x": "y"} and "requestObject" not in read
        assert "managedFields" not in read["responseObject"]["metadata"]
        await api.delete(f"{CONFIGMAPS}/c")
    assert not await events(log, 0, verb="delete")


async def test_a_long_list_is_told_as_it_was_answered(certificates: Certificates, tmp_path: Path) -> None:
    async with audited(certificates, tmp_path, {"level": "RequestResponse", "verbs": ["list"]}) as (api, log):
        for number in range(8):
            await api.create(CONFIGMAPS, configmap(f"c{number}", x="y" * 200_000))
        for encoding in ("gzip", "identity"):
            answer = await api.get(CONFIGMAPS, accept_encoding=encoding)
            (event,) = await events(log, auditID=answer.headers["Audit-Id"], stage="ResponseComplete")
            assert event["responseObject"] == answer.body


async def test_refusals_are_told_with_their_reason(certificates: Certificates, tmp_path: Path) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata"}) as (api, log):
        await api.get(f"{CONFIGMAPS}/missing")
        (event,) = await events(log, requestURI=f"{CONFIGMAPS}/missing", stage="ResponseComplete")
        assert event["responseStatus"] == {
            "metadata": {}, "status": "Failure", "message": 'configmaps "missing" not found', "reason": "NotFound",
            "details": {"name": "missing", "kind": "configmaps"}, "code": 404,
        }  # fmt: skip
        await api.get(PODS, Impersonate_User="jane")
        (event,) = await events(log, requestURI=PODS, stage="ResponseComplete")
        assert event["user"]["username"] == "kubernetes-admin"
        assert event["impersonatedUser"] == {"username": "jane", "groups": ["system:authenticated"]}
        assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
        assert event["responseStatus"]["code"] == 403
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": "Bearer wrong"}
            async with session.get(f"{api.address}/api/v1/nodes", ssl=False, headers=headers) as answer:
                assert answer.status == 401
        (event,) = await events(log, requestURI="/api/v1/nodes")
        assert (event["stage"], event["responseStatus"]["code"]) == ("ResponseStarted", 401)


async def test_a_watch_is_told_when_it_begins_and_when_it_ends(certificates: Certificates, tmp_path: Path) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"]) as (api, log):
        async with api.watch(CONFIGMAPS, "timeoutSeconds=1") as watch:
            (event,) = await events(log, verb="watch")
            assert (event["stage"], event["responseStatus"]["code"]) == ("ResponseStarted", 200)
            await watch.rest()
        assert [one["stage"] for one in await events(log, 2, verb="watch")] == ["ResponseStarted", "ResponseComplete"]


async def test_what_admission_notes_is_told(certificates: Certificates, tmp_path: Path) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata", "verbs": ["create"]}) as (api, log):
        labels = {"pod-security.kubernetes.io/enforce": "baseline"}
        await api.create("/api/v1/namespaces", {"metadata": {"name": "safe", "labels": labels}})
        await api.create("/api/v1/namespaces/safe/serviceaccounts", {"metadata": {"name": "default"}})
        pods = "/api/v1/namespaces/safe/pods"
        assert (await api.create(pods, pod("p"))).code == 201
        (event,) = await events(log, requestURI=pods, stage="ResponseComplete")
        assert event["annotations"]["pod-security.kubernetes.io/enforce-policy"] == "baseline:latest"


async def test_proxies_and_the_own_audit_id_of_a_client_are_told(certificates: Certificates, tmp_path: Path) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata"}) as (api, log):
        await api.get("/version", audit_id="mine", x_forwarded_for="10.0.0.1, 10.0.0.2", x_real_ip="10.0.0.3")
        event = (await events(log, 2, auditID="mine"))[1]
        assert event["sourceIPs"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "127.0.0.1"]
        assert (event["verb"], event["requestURI"]) == ("get", "/version") and "objectRef" not in event


async def test_an_unexpected_failure_is_a_panic(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata"}) as (api, log):
        monkeypatch.setattr("kontinuum.apiserver.handler.verb_of", lambda call: 1 / 0)
        assert (await api.get(PODS)).code == 500
        (event,) = await events(log, requestURI=PODS, stage="Panic")
        assert event["responseStatus"]["reason"] == "InternalError"


async def test_in_blocking_mode_the_event_is_there_before_the_answer(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata"}, mode="blocking") as (api, log):
        answer = await api.get("/version")
        stages = [one["stage"] for one in await events(log, 0, auditID=answer.headers["Audit-Id"])]
        assert stages == ["RequestReceived", "ResponseComplete"]


async def test_events_are_counted(certificates: Certificates, tmp_path: Path) -> None:
    async with audited(certificates, tmp_path, {"level": "Metadata"}, mode="blocking") as (api, _):
        text = (await api.get("/metrics")).body
        line = next(line for line in text.splitlines() if line.startswith("apiserver_audit_event_total "))
        assert float(line.split()[1]) > 0


def level_of(rules: dict[str, Any], user: str = "jane", *groups: str, **asked: str) -> Level:
    verb = asked.pop("verb", "get")
    return policy_of(rules).wanted(Attributes(User(user, groups), verb, **asked)).level


@pytest.mark.parametrize(
    ("rule", "asked", "matches"),
    [
        ({"users": ["jane"]}, {"resource": "pods"}, True), ({"users": ["joe"]}, {"resource": "pods"}, False),
        ({"userGroups": ["team"]}, {"resource": "pods"}, True), ({"userGroups": ["x"]}, {"resource": "pods"}, False),
        ({"verbs": ["list"]}, {"resource": "pods"}, False), ({"namespaces": ["a"]}, {"resource": "pods"}, False),
        ({"namespaces": [""]}, {"resource": "nodes"}, True),
        ({"namespaces": ["a"]}, {"resource": "pods", "namespace": "a"}, True),
        ({"namespaces": ["a"]}, {"path": "/version"}, False),
        ({"resources": [{"group": ""}]}, {"resource": "pods"}, True),
        ({"resources": [{"group": "apps"}]}, {"resource": "pods"}, False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, {"resource": "pods", "subresource": "log"}, False),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, {"resource": "pods", "subresource": "log"}, True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, {"resource": "pods", "subresource": "log"}, True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, {"resource": "pods"}, False),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, {"resource": "pods", "subresource": "log"}, True),
        ({"resources": [{"group": "", "resources": ["*"]}]}, {"resource": "pods", "subresource": "log"}, True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["a"]}]},
         {"resource": "pods", "name": "a"}, True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["a"]}]},
         {"resource": "pods", "name": "b"}, False),
        ({"nonResourceURLs": ["/healthz*"]}, {"path": "/healthz/etcd"}, True),
        ({"nonResourceURLs": ["/healthz"]}, {"path": "/healthz/etcd"}, False),
        ({"nonResourceURLs": ["*"]}, {"resource": "pods"}, False),
    ],
)  # fmt: skip
def test_a_rule_matches_as_in_kubernetes(rule: dict[str, Any], asked: dict[str, str], matches: bool) -> None:
    assert level_of(policy({"level": "Metadata", **rule}), "jane", "team", **asked) == (1 if matches else 0)


def test_the_first_rule_that_matches_decides() -> None:
    rules = policy({"level": "None", "users": ["jane"]}, {"level": "Request", "omitStages": ["Panic"]},
                   omitStages=["RequestReceived"], omitManagedFields=True)  # fmt: skip
    assert level_of(rules, "jane", resource="pods") is Level.NONE
    wanted = policy_of(rules).wanted(Attributes(User("joe"), "get", resource="pods"))
    assert wanted == (Level.REQUEST, {"RequestReceived", "Panic"}, True)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "it is no object"), ({"kind": "Policy"}, "expected a Policy of audit.k8s.io/v1"),
        (policy(), "loaded illegal policy with 0 rules"),
        (policy({"level": "All"}), 'rules[0].level: Unsupported value: "All"'),
        (policy({"level": "None", "omitStages": ["Begin"]}), "omitStages: Invalid value"),
        (policy({"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["a"]}), "cannot apply to both"),
        (policy({"level": "None", "nonResourceURLs": ["a"]}), "must begin with a '/'"),
        (policy({"level": "None", "nonResourceURLs": ["/a*b"]}), "must be the final character"),
        (policy({"level": "None", "resources": [{"group": "apps/v1"}]}), "without a version"),
        (policy({"level": "None", "resources": [{"group": "", "resourceNames": ["a"]}]}), "requires at least one"),
        (policy({"level": "None", "colour": "red"}), "rules[0].colour: unknown field"),
        (policy({"level": "None", "users": "jane"}), "rules[0].users: expected a list"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_meant_is_refused(document: Any, problem: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        policy_of(document)
    assert problem in str(refused.value)


def test_a_policy_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPolicy, match="reading the audit policy"):
        read_policy(tmp_path / "missing.yaml")
    (tmp_path / "policy.yaml").write_text("rules: [")
    with pytest.raises(BadPolicy, match="line 2"):
        read_policy(tmp_path / "policy.yaml")


def test_policy_and_log_belong_together() -> None:
    with pytest.raises(ValueError, match="together"):
        AuditSettings(log=Path("/x"))


async def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(LogRefused, match="No such file or directory"):
        Log(AuditSettings(), tmp_path / "nowhere" / "audit.log")


def line(text: bytes = b"x" * 1023 + b"\n") -> Any:
    return lambda: text


async def test_the_file_is_renamed_when_it_is_large_and_old_ones_are_removed(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    old = tmp_path / "audit-2020-01-01T00-00-00.000.log"
    old.write_text("old")
    os.utime(old, (time.time() - 10 * 86400,) * 2)
    settings = AuditSettings(
        policy=file, log=file, mode="blocking", maximum_megabytes=1, maximum_backups=2, maximum_age_days=5
    )
    log = Log(settings, file)
    for _ in range(5):
        await log.append(line(b"x" * 700_000))
        await asyncio.sleep(0.002)
    await log.close()
    backups = sorted(one.name for one in tmp_path.iterdir() if one != file)
    assert len(backups) == 2 and old.name not in backups and file.stat().st_size == 700_000


async def test_in_batch_mode_events_are_dropped_and_counted_when_the_disk_does_not_keep_up(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    log = Log(AuditSettings(policy=file, log=file), file)
    gate = threading.Event()
    await log.append(lambda: gate.wait() and b"first\n")
    for _ in range(MOST_WAITING + 2 * BATCH):
        await log.append(line(b"x\n"))
    assert log.dropped > BATCH
    gate.set()
    await log.close()
    assert len(file.read_bytes().splitlines()) == MOST_WAITING + 2 * BATCH + 1 - log.dropped


async def test_a_blocking_log_that_cannot_be_written_fails_the_request(tmp_path: Path) -> None:
    settings = AuditSettings(policy=tmp_path, log=Path("/dev/full"), mode="blocking")
    log = Log(settings, Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        await log.append(line())
    assert log.failed == 0 or log.failed == 1
    await log.close()
