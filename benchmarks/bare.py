"""An API server without what a comparison might leave out: authentication, authorization, admission, managedFields.

It exists to show what these cost (``python -m benchmarks.api --bare``); nobody could use it for anything else.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop

from kontinuum.apiserver import app, ownership
from kontinuum.apiserver.admission.chain import Chain
from kontinuum.apiserver.authn.assemble import Identity, identity_of
from kontinuum.apiserver.authn.authenticator import Authenticator
from kontinuum.apiserver.authn.objects import Objects
from kontinuum.apiserver.authn.port import Request
from kontinuum.apiserver.authn.users import User, authenticated
from kontinuum.apiserver.authz.authorizer import AlwaysAllow
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.cli import settings as composing
from kontinuum.cli.preparation import prepare
from kontinuum.cli.stores import open_store
from kontinuum.foundation.clock import Clock, RealClock

SOMEBODY = authenticated("somebody", ("system:masters",))


class BareServer(app.ApiServer):
    """The same server, with these four taken out of it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._context.admission = Chain([])
        self._context.authorizer = AlwaysAllow()

    async def start(self) -> None:
        with patch.object(app, "identity_of", _anybody):
            await super().start()


class Anybody(Authenticator):
    """Looks at nothing of a request."""

    async def __call__(self, request: Request, path: str) -> User:
        return SOMEBODY


def _anybody(settings: ServerSettings, clock: Clock, objects: Objects) -> Identity:
    identity = identity_of(settings, clock, objects)
    return replace(identity, authenticate=Anybody(identity.authenticate.tokens))


def _owned_by_nobody(*_: object, **__: object) -> None:
    pass


async def serve(data_dir: Path, listen: str) -> None:
    """Until somebody ends the process."""
    settings = composing.load(data_dir=data_dir, listen=listen, environment=os.environ)
    prepare(settings, RealClock())
    ownership.track = _owned_by_nobody
    store = await open_store(settings)
    await BareServer(store, settings.server, RealClock()).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--listen", required=True)
    asked = parser.parse_args()
    uvloop.run(serve(asked.data_dir, asked.listen))
