"""The TLS socket: client certificates are asked for but not demanded, because tokens are an alternative."""

from __future__ import annotations

import ssl

from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.errors import Refused


class ListenRefused(Refused):
    """The settings do not allow to listen: a bad address, or certificates that cannot be used."""


def tls_context(settings: ServerSettings) -> ssl.SSLContext:
    """Raises ListenRefused if the certificates cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Who a connection's client is does not change while it lasts, and is looked at once (``authn.certificates``).
    context.options |= ssl.OP_NO_RENEGOTIATION
    load_certificates(context, settings)
    # HTTP/1.1 alone: clients that offer HTTP/2 fall back, and watches need no multiplexing.
    context.set_alpn_protocols(["http/1.1"])
    return context


def load_certificates(context: ssl.SSLContext, settings: ServerSettings) -> None:
    """Read the settings' certificates into ``context``, also again. Raises ListenRefused if they cannot be used."""
    if settings.certificate is None or settings.key is None:
        raise ListenRefused("certificate and key must be set: the API is served over TLS only")
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        # Whose certificate it is, a client's or a front proxy's, ``authn`` tells apart afterwards.
        for authorities in (settings.client_ca, settings.front_proxy_ca):
            if authorities is not None:
                context.load_verify_locations(authorities)
                context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise ListenRefused(f"reading the server's certificates: {error}") from error
