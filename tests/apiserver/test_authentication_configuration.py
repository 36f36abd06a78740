"""An AuthenticationConfiguration that makes no sense stops the server, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kontinuum.apiserver.authn.issuers.configuration import BadConfiguration
from kontinuum.apiserver.authn.issuers.following import ConfiguredIssuers
from kontinuum.foundation.clock import RealClock

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
ISSUER = {"url": "https://issuer.example.com", "audiences": ["a"]}
MAPPINGS = {"username": {"claim": "sub", "prefix": ""}}
OWN = "https://kubernetes.default.svc"


def refusal(tmp_path: Path, document: Any) -> str:
    file = tmp_path / "authentication.yaml"
    file.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    try:
        ConfiguredIssuers(file, RealClock(), api_audiences=(), disallowed=(OWN,))
    except BadConfiguration as error:
        assert str(error).startswith(f"{file}: ")
        return str(error).removeprefix(f"{file}: ")
    return ""


def one(issuer: Any = None, **more: Any) -> dict[str, Any]:
    return {**HEAD, "jwt": [{"issuer": {**ISSUER, **(issuer or {})}, "claimMappings": MAPPINGS, **more}]}


def username(**mapping: Any) -> dict[str, Any]:
    return one(claimMappings={"username": mapping})


def rule(**content: Any) -> dict[str, Any]:
    return one(claimValidationRules=[content])


def extra(key: str, expression: str = "claims.x") -> dict[str, Any]:
    return one(claimMappings={**MAPPINGS, "extra": [{"key": key, "valueExpression": expression}]})


GOOD = [
    HEAD,
    one(),
    {**one(), "apiVersion": "apiserver.config.k8s.io/v1beta1"},
    one({"audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny"}),
    one({"egressSelectorType": "cluster"}),
    username(expression="claims.username"),
    username(expression="claims.email_verified ? claims.email : claims.sub"),
    extra("example.com/tenant"),
    {**HEAD, "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]}},
]


@pytest.mark.parametrize("document", GOOD)
def test_a_file_as_kubernetes_takes_it_is_taken(tmp_path: Path, document: Any) -> None:
    assert refusal(tmp_path, document) == ""


BAD = [
    ("{", "it is no YAML"),
    ("[]", "expected apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration"),
    ({**HEAD, "kind": "Pod"}, "expected apiVersion"),
    ({**HEAD, "jwts": []}, "Object contains unknown field `jwts`"),
    (one({"uri": "x"}), "Object contains unknown field `uri` - at `$.jwt[0].issuer`"),
    (one({"url": ""}), "jwt[0].issuer.url: Required value: URL is required"),
    (one({"url": "http://a"}), 'jwt[0].issuer.url: Invalid value: "http://a": URL scheme must be https'),
    (one({"url": "https://a:b@c"}), "URL must not contain a username or password"),
    (one({"url": "https://a?b=c"}), "URL must not contain a query"),
    (one({"url": "https://a#b"}), "URL must not contain a fragment"),
    (one({"url": OWN}), f"URL must not overlap with disallowed issuers: [{OWN}]"),
    (one({"discoveryURL": "https://issuer.example.com/"}), "discoveryURL must be different from URL"),
    (one({"audiences": []}), "jwt[0].issuer.audiences: Required value: at least one"),
    (one({"audiences": [""]}), "jwt[0].issuer.audiences[0]: Required value: audience can't be empty"),
    (one({"audiences": ["a", "a"], "audienceMatchPolicy": "MatchAny"}), 'audiences[1]: Duplicate value: "a"'),
    (one({"audiences": ["a", "b"]}), "audienceMatchPolicy must be MatchAny for multiple audiences"),
    (one({"audienceMatchPolicy": "All"}), "audienceMatchPolicy must be empty or MatchAny for single audience"),
    (one({"certificateAuthority": "x"}), 'jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>"'),
    ({**HEAD, "jwt": [*one()["jwt"], *one()["jwt"]]}, "jwt[1].issuer.url: Duplicate value"),
    (username(), "jwt[0].claimMappings.username: Required value: claim or expression is required"),
    (username(claim="a"), "username.prefix: Required value: prefix is required when claim is set."),
    (username(claim="a", prefix="", expression="claims.a"), "claim and expression can't both be set"),
    (username(expression="claims.a", prefix=""), "prefix can't be set when expression is set"),
    (username(expression="claim.a"), 'expression: Invalid value: "claim.a": compilation failed: ERROR: <input>'),
    (username(expression="claims.email"), "claims.email_verified must be used in claimMappings.username.expression"),
    (rule(), "jwt[0].claimValidationRules[0]: Required value: claim or expression is required"),
    (rule(claim="a", expression="true"), "claim and expression can't both be set"),
    (rule(claim="a", message="b"), "message can't be set when claim is set"),
    (rule(expression="true", requiredValue="b"), "requiredValue can't be set when expression is set"),
    (rule(expression="1"), "must evaluate to bool"),
    (one(userValidationRules=[{}]), "jwt[0].userValidationRules[0].expression: Required value"),
    (one(userValidationRules=[{"expression": "user.name == ''"}]), "undefined field 'name'"),
    (extra(""), "jwt[0].claimMappings.extra[0].key: Required value"),
    (extra("Example.com/a"), "key must be lowercase"),
    (extra("tenant"), "must be a domain-prefixed path"),
    (extra("apps.k8s.io/a"), "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"),
    (extra("example.com/a", ""), "jwt[0].claimMappings.extra[0].valueExpression: Required value"),
    ({**HEAD, "anonymous": {"enabled": False, "conditions": [{"path": "/a"}]}}, "enabled should be set to true"),
    ({**HEAD, "anonymous": {}}, "Object missing required field `enabled` - at `$.anonymous`"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "problem"), BAD)
def test_what_makes_no_sense_is_told_with_its_place(tmp_path: Path, document: Any, problem: str) -> None:
    assert problem in refusal(tmp_path, document)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"authentication.yaml: reading it: .*No such file"):
        ConfiguredIssuers(tmp_path / "authentication.yaml", RealClock(), api_audiences=(), disallowed=())
