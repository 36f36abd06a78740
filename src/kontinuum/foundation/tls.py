"""TLS with other people's servers: what Go's ``crypto/x509`` accepts, no more and no less.

Users' webhooks and extension servers were set up for Kubernetes, so their certificates have to pass here as well:
self-made authorities without the extensions that OpenSSL's strict mode (Python's default from 3.13 on) asks for, and
bundles that name the server's own certificate or an intermediate one instead of a root.
"""

from __future__ import annotations

import ssl


def trusting(bundle: str | None = None) -> ssl.SSLContext:
    """A client's context that trusts the certificates in ``bundle`` (PEM), or the system's if there is none.

    Raises ssl.SSLError for a bundle without certificates.
    """
    context = ssl.create_default_context(cadata=bundle)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Go has not read names from the common name since 1.15.
    context.hostname_checks_common_name = False
    return context
