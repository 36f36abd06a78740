"""Bootstrap tokens: ``abcdef.0123456789abcdef``, a Secret in kube-system while they are good. Pure.

A machine that knows nothing but a token finds the cluster's authority in ``kube-public/cluster-info``, and believes it
because it is signed with the token's secret (kubeadm's "token-based discovery").
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode, urlsafe_b64encode

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import rfc3339

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"
TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
"""A token's id and its secret part."""
GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
"""The groups that a token may put its bearer in."""
JOINING_GROUP = "system:bootstrappers:kubeadm:default-node-token"
"""Who may ask for a node's certificate: kubeadm's name for it, so that its tokens work here and ours there."""
INFO_NAMESPACE, INFO = "kube-public", "cluster-info"
INFO_PATH = f"/api/v1/namespaces/{INFO_NAMESPACE}/configmaps/{INFO}"
KUBECONFIG = "kubeconfig"
SIGNATURE = "jws-kubeconfig-"
"""Followed by a token's id: the key of ``cluster-info`` under which its signature stands."""


def secret_of(token: str, *, expires: float | None, description: str = "") -> Object:
    """The Secret that makes ``token`` good, until ``expires`` (seconds since the epoch). Raises ValueError."""
    found = TOKEN.fullmatch(token)
    if found is None:
        raise ValueError(f'"{token}" is not a token: six letters or digits, a full stop, and sixteen more')
    data = {
        "token-id": found[1],
        "token-secret": found[2],
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": JOINING_GROUP,
    }
    if expires is not None:
        data["expiration"] = rfc3339(expires)
    if description:
        data["description"] = description
    return {
        "metadata": {"name": secret_name(found[1]), "namespace": NAMESPACE},
        "type": TYPE,
        "data": {key: b64encode(value.encode()).decode() for key, value in data.items()},
    }


def secret_name(token_id: str) -> str:
    return f"bootstrap-token-{token_id}"


def info(server: str, authority: bytes) -> Object:
    """The ConfigMap ``cluster-info``: where API servers are, and whose certificates (PEM) they show."""
    cluster = {"server": server, "certificate-authority-data": b64encode(authority).decode()}
    content = {"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "", "cluster": cluster}]}
    return {
        "metadata": {"name": INFO, "namespace": INFO_NAMESPACE},
        "data": {KUBECONFIG: orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()},
    }


def clusters_of(found: Object) -> list[tuple[str, bytes]]:
    """Address and authorities (PEM) of each cluster that ``cluster-info`` names; what cannot be read names none."""
    from kontinuum.api.machinery import yaml_documents  # kubeadm's is YAML; most who know tokens never read it

    try:
        content, _ = yaml_documents.decode(str((found.get("data") or {}).get(KUBECONFIG) or "{}").encode())
        named = [one["cluster"] for one in content.get("clusters") or ()]
        return [(one["server"], b64decode(one.get("certificate-authority-data") or "")) for one in named]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def signature(content: str, token_id: str, secret: str) -> str:
    """A JSON Web Signature (RFC 7515, HS256) that leaves its content out."""
    header = _encoded(f'{{"alg":"HS256","kid":"{token_id}"}}'.encode())
    digest = hmac.new(secret.encode(), f"{header}.{_encoded(content.encode())}".encode(), hashlib.sha256).digest()
    return f"{header}..{_encoded(digest)}"


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
