"""Schemathesis invents requests from our own OpenAPI documents: none fails, and what is answered is as documented."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PODS, Certificates, configmap, deployment, pod
from tests.apiserver.threaded import Threaded, threaded

# An environment that was made before this became a dependency has not got it; `make setup` brings it.
schemathesis = pytest.importorskip("schemathesis")
conformance = pytest.importorskip("schemathesis.specs.openapi.checks")

GROUPS = (
    "api/v1", "apis/apps/v1", "apis/batch/v1", "apis/autoscaling/v2", "apis/policy/v1", "apis/networking.k8s.io/v1",
    "apis/rbac.authorization.k8s.io/v1", "apis/storage.k8s.io/v1", "apis/coordination.k8s.io/v1",
    "apis/discovery.k8s.io/v1", "apis/scheduling.k8s.io/v1", "apis/authorization.k8s.io/v1",
)  # fmt: skip
EXAMPLES = 25
"""Of each group; every one is an operation of its own choice."""
CHECKS = (conformance.content_type_conformance, conformance.response_schema_conformance)
NEEDS_A_NODE = ("/log", "/exec", "/attach", "/portforward", "/proxy")
PARAMETERS = {"namespace": "default", "name": "web"}


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Threaded]:
    with threaded(certificates, request_timeout_seconds=10.0, watch_minimum_seconds=0.1) as server:
        for place, body in (
            (CONFIGMAPS, configmap("web", a="b")),
            (DEPLOYMENTS, deployment("web")),
            (PODS, pod("web")),
        ):
            server.call("POST", place, json.dumps(body).encode())
        yield server


@pytest.mark.parametrize("group", GROUPS)
def test_requests_invented_from_the_documents_are_answered_as_documented(
    server: Threaded, certificates: Certificates, group: str
) -> None:
    code, document = server.call("GET", f"/openapi/v3/{group}")
    assert code == 200
    schema = schemathesis.openapi.from_dict(json.loads(document))
    found = (result.ok() for result in schema.get_all_operations())
    operations = [one for one in found if not one.path.endswith(NEEDS_A_NODE) and "/watch/" not in one.path]
    assert operations

    codes: Counter[int] = Counter()

    @seed(1)
    @given(data=st.data())
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def invent(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy())
        for name in case.path_parameters or {}:
            case.path_parameters[name] = PARAMETERS.get(name, "x")
        case.query = {**(case.query or {}), "timeoutSeconds": 1, "dryRun": "All"}
        case.query.pop("watch", None)
        answer = case.call(
            base_url=server.address, verify=str(certificates.authority),
            cert=(str(certificates.admin.certificate), str(certificates.admin.key)),
        )  # fmt: skip
        codes[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, checks=CHECKS)

    invent()
    # The rest is refused: 404 for objects that are not there, 422 for what is written as documented but makes no sense.
    assert codes[200] + codes[201] > 0 and set(codes) <= {200, 201, 202, 400, 404, 405, 409, 413, 415, 422}, codes
