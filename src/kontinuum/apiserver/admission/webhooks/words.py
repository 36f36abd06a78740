"""What went wrong with a call, in the words of Go's HTTP client and of Kubernetes' REST client."""

from __future__ import annotations

import errno
import os
import ssl

import orjson
from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientOSError,
    ClientPayloadError,
    ClientResponseError,
    ServerDisconnectedError,
)

EXCERPT = 500
"""Characters that are shown of an answer that is none."""
ISSUER_UNKNOWN = frozenset({18, 19, 20, 21})
"""OpenSSL's verify codes for a certificate whose signers are not known (``X509_V_ERR_*``)."""
NOT_VALID_NOW = frozenset({9, 10})
OTHER_NAME = frozenset({62, 64})
NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
"""OpenSSL's reasons for an answer that is no TLS at all."""
BY_CODE = {
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def refusal(code: int, content: bytes) -> str:
    """An answer other than 200. A Status speaks for itself."""
    text = content.decode(errors="replace").strip()
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status" and isinstance(found.get("message"), str):
        return str(found["message"])
    if code in BY_CODE:
        return BY_CODE[code]
    excerpt = text[:EXCERPT] or "unknown"
    if code == 403:
        return excerpt
    if code >= 500:
        return f'an error on the server ("{excerpt}") has prevented the request from succeeding'
    if code == 400:
        return "the server rejected our request for an unknown reason"
    return f"the server responded with the status code {code} but did not return more information"


def reason_of(error: Exception) -> str:
    """Why no answer came."""
    if isinstance(error, ClientConnectorCertificateError) and isinstance(error.certificate_error, Exception):
        return _of_certificate(error.certificate_error)
    if isinstance(error, ClientConnectorDNSError):
        return f"dial tcp: lookup {error.host}: no such host"
    if isinstance(error, ClientConnectorSSLError):  # OpenSSL's numbers are no errnos.
        return _of_handshake(error.os_error)
    if isinstance(error, ClientConnectorError):
        problem = _of_system(error.os_error)
        return f"dial tcp {error.host}:{error.port}: connect: {problem}" if problem else str(error.os_error)
    if isinstance(error, ServerDisconnectedError):
        return "EOF"
    if isinstance(error, ClientPayloadError):
        return "unexpected EOF"
    if isinstance(error, ClientResponseError):
        return f"net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error.message}"
    if isinstance(error, ClientOSError):
        problem = _of_system(error)
        return f"read: {problem}" if problem else str(error)
    return str(error) or type(error).__name__


def _of_system(error: OSError) -> str:
    """As Go spells an errno; "" for none."""
    if error.errno is None or error.errno not in errno.errorcode:
        return ""
    return os.strerror(error.errno).lower()


def _of_handshake(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    if reason in NO_TLS:
        return "http: server gave HTTP response to HTTPS client"
    return f"tls: {reason.lower().replace('_', ' ')}" if reason else str(error)


def _of_certificate(error: Exception) -> str:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    problem = str(error)
    if code in ISSUER_UNKNOWN:
        problem = "certificate signed by unknown authority"
    elif code in NOT_VALID_NOW:
        problem = "certificate has expired or is not yet valid"
    elif code in OTHER_NAME and isinstance(error, ssl.SSLCertVerificationError):
        problem = f"certificate is not valid for the name: {error.verify_message}"
    return f"tls: failed to verify certificate: x509: {problem}"
