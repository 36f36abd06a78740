"""From a kubeconfig to a client, in one call."""

from __future__ import annotations

from kontinuum.client.kubeconfig import Connection
from kontinuum.client.rest import Client
from kontinuum.client.transport.http import HttpTransport


def connect(connection: Connection, *, user_agent: str = "kontinuum") -> Client:
    """A client of the server that ``connection`` names. Nothing is opened before the first request."""
    return Client(HttpTransport(connection, user_agent=user_agent))
