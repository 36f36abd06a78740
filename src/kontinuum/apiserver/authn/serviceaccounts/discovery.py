"""``/.well-known/openid-configuration`` and ``/openid/v1/jwks``: how others check service accounts' tokens."""

from __future__ import annotations

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response

from kontinuum.api.machinery import status
from kontinuum.apiserver import replies
from kontinuum.apiserver.authn.serviceaccounts.issuer import DISCOVERY_PATH, JWKS_PATH, Issuer

PATHS = frozenset({DISCOVERY_PATH, JWKS_PATH})
CACHED = "public, max-age=3600"


def answer(issuer: Issuer | None, jwks_uri: str, request: BaseRequest, path: str, audit_id: str) -> Response:
    """Raises ApiError 404 where no tokens are issued, or for another method than GET."""
    if issuer is None or request.method not in ("GET", "HEAD"):
        raise status.no_such_path()
    if path == JWKS_PATH:
        made = replies.headers(audit_id, media="application/jwk-set+json")
        body = issuer.key_set()
    else:
        made = replies.headers(audit_id)
        body = issuer.configuration(jwks_uri or f"https://{_own_address(request)}{JWKS_PATH}")
    made["Cache-Control"] = CACHED
    return replies.small(body, made)


def _own_address(request: BaseRequest) -> str:
    """Where the client has reached us: not what it says about that, but what the connection says."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport is not None else None
    if not name:
        return request.host
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
