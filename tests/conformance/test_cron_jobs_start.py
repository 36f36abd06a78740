"""CronJobs as kubectl sees them: a real server completes the Jobs that they start."""

from __future__ import annotations

import json

from tests.conformance.cluster import Kubectl

POD = {"restartPolicy": "Never", "containers": [{"name": "tick", "image": "localhost/work:1"}]}
CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "tick"},
    "spec": {
        "schedule": "@every 1s",
        # No node ends its pod: there is never a second Job, however long this takes.
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"template": {"spec": POD}}},
    },
}


def test_a_cron_job_starts_a_job_that_the_server_completes_and_takes_its_jobs_along(kubectl: Kubectl) -> None:
    kubectl("create", "--filename=-", stdin=json.dumps(CRON_JOB))
    kubectl.eventually("tick tick", "get", "jobs,pods", "--output=jsonpath={.items[*].spec..containers[*].name}")
    kubectl.eventually("Job", "get", "cronjob", "tick", "--output=jsonpath={.status.active[*].kind}")
    kubectl("patch", "cronjob", "tick", "--patch", '{"spec":{"suspend":true}}')
    cron_job = json.loads(kubectl("get", "cronjob", "tick", "--output=json"))
    [active] = cron_job["status"]["active"]
    job = json.loads(kubectl("get", "job", active["name"], "--output=json"))
    assert job["metadata"]["uid"] == active["uid"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == cron_job["metadata"]["uid"]
    assert job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] == active["uid"]
    message = "--output=jsonpath={.items[?(@.reason=='SuccessfulCreate')].message}"
    kubectl.eventually(
        f"Created job {active['name']}", "get", "events", "--field-selector=involvedObject.kind=CronJob", message
    )
    kubectl("create", "job", "by-hand", "--from=cronjob/tick")
    kubectl("delete", "cronjob", "tick")
    kubectl.eventually("", "get", "jobs,pods", "--output=name")
