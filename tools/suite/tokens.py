"""What clusters did for service accounts until Kubernetes 1.24: each gets a Secret with a token, and a reference to it.

    python -m tools.suite.tokens KUBECONFIG

The suite is older than that, and waits in every namespace for the Secret before it begins. A later cluster leaves this
to whoever wants it, so that it is the suite's own business; it is done by an ordinary client, beside the tests.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kontinuum.api.kubernetes.resources import SECRETS, SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client import kubeconfig
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.client.transport.http import HttpTransport
from kontinuum.foundation.clock import RealClock


async def give(client: Client, account: Object) -> None:
    """A Secret for ``account``, which the cluster fills with a token; nothing if the account is gone by now."""
    namespace, name = namespace_of(account), name_of(account)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "generateName": f"{name}-token-",
            "namespace": namespace,
            "annotations": {"kubernetes.io/service-account.name": name},
        },
    }
    try:
        made = await client.create(SECRETS, secret)
        await client.patch(SERVICEACCOUNTS, name, {"secrets": [{"name": name_of(made)}]}, namespace=namespace)
    except ApiError as error:
        if error.code not in (403, 404, 409):
            raise


async def serve(config: Path) -> None:
    """Give every account its token, until cancelled."""
    transport = HttpTransport(kubeconfig.load(config), user_agent="suite-tokens")
    client = Client(transport)
    accounts = Informer(client, SERVICEACCOUNTS, clock=RealClock())
    waiting: asyncio.Queue[Object] = asyncio.Queue()

    def look(change: Change, account: Object, before: Object | None) -> None:
        if change == "added" and not account.get("secrets"):
            waiting.put_nowait(account)

    accounts.add_handler(look)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(accounts.run())
            while True:
                tasks.create_task(give(client, await waiting.get()))
    finally:
        await transport.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
