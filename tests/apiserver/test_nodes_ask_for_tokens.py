"""A node is given the tokens that its own pods name, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.apiserver.people import serving_people
from tests.apiserver.serving import PODS, Answer, Api, Certificates, pod

from kontinuum.foundation import jwt

TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"
NODE = "system:node:n1"


async def ask(node: Api, bound: Any, **spec: Any) -> Answer:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": bound["metadata"]["uid"]}
    return await node.create(TOKEN, {"spec": {"boundObjectRef": reference, **spec}})


async def test_a_node_asks_for_what_its_pods_volumes_name(certificates: Certificates, tmp_path: Path) -> None:
    key = tmp_path / "sa.key"
    jwt.ensure_key(key)
    people = {NODE: ("system:nodes",)}
    async with serving_people(certificates, tmp_path, people, service_account_key=key) as everybody:
        vault = {
            "name": "vault",
            "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]},
        }
        created = await everybody.admin.create(PODS, pod("p", nodeName="n1", volumes=[vault]))
        assert created.code == 201, created.body
        node = everybody.as_user(NODE)
        own = await ask(node, created.body)
        assert own.code == 201 and own.body["spec"]["audiences"], own.body
        assert (await ask(node, created.body, audiences=["vault"])).code == 201
        refused = await ask(node, created.body, audiences=["other"])
        assert refused.code == 403 and 'audience "other" not found in pod spec volume' in refused.body["message"]
